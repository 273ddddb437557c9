//! What ranks of a sharded decode exchange, known without running it.

use halovae_core::{LayerHalo, ShardGrid};
use serde::Serialize;

use super::cut::Cut;
use super::pass::{Segment, UncutError};
use super::rounds::{Round, Rounds};
use crate::program::{Op, Program, ValueId};

/// What ranks exchange in one decode, finished pieces not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Bytes of halos over all ranks.
    pub halo_bytes: u64,
    /// Bytes of keys and values over all ranks.
    pub attention_bytes: u64,
    /// Bytes of statistics over all ranks.
    pub statistics_bytes: u64,
    /// Halo exchanges, each one batch of messages between neighbours.
    pub halo_exchanges: u32,
    /// Merges of statistics, each a gather and a broadcast.
    pub reductions: u32,
    /// Steps of the rings in which keys and values go round; slices of a video go round beside each
    /// other.
    pub ring_steps: u32,
}

impl Traffic {
    /// Traffic of one image or video on a group with one rank for each shard, if at most `chunk` frames
    /// of latents are decoded at a time. Chunks change the number of exchanges, not their bytes.
    ///
    /// # Errors
    /// [`UncutError`].
    pub fn new(program: &Program, grid: ShardGrid, chunk: u32) -> Result<Self, UncutError> {
        let cut = Cut::new(program, grid, grid.len())?;
        let mut traffic = Self::default();
        if grid.len() == 1 {
            return Ok(traffic);
        }
        let halos = cut.segments().iter().flat_map(|segment| &segment.halos);
        let layers: Vec<LayerHalo> = halos.map(|halo| halo.layer(program)).collect();
        traffic.halo_bytes = grid.halo_bytes(&layers);
        for round in Rounds::new(program, &cut, chunk) {
            cut.segments().iter().for_each(|segment| traffic.add(program, &cut, segment, &round));
        }
        Ok(traffic)
    }

    /// What a segment exchanges in one round.
    fn add(&mut self, program: &Program, cut: &Cut, segment: &Segment, round: &Round) {
        let grid = cut.grid();
        let fetches = |op: usize| round.has(op) && !round.halo(op).fresh.is_empty();
        let fetched = segment.halos.iter().filter(|halo| fetches(halo.op)).count();
        self.halo_exchanges = self.halo_exchanges.saturating_add(fetched as u32);
        let others = u64::from(grid.len() - 1);
        let made = segment.statistics.iter().filter(|&&id| {
            segment.ops.clone().any(|op| round.has(op) && program.ops()[op].output() == id)
        });
        let groups: u64 = made.map(|&id| u64::from(program.groups(id))).sum();
        if groups > 0 {
            // Those of all ranks to rank 0, and the merged ones back.
            self.statistics_bytes = self.statistics_bytes.saturating_add(2 * 8 * groups * others);
            self.reductions = self.reductions.saturating_add(1);
        }
        let op = segment.ops.start;
        if let Some(&Op::Attention { k, v, .. }) = program.ops().get(op)
            && round.has(op)
        {
            let steps = (0..grid.slices()).filter_map(|slice| round.step(slice, op));
            let frames = steps.map(|step| step.outputs.end - step.outputs.start).sum::<u64>();
            let cells = grid.latents().area().saturating_mul(frames);
            let of = |id: ValueId| {
                let (channels, scale) = program.features(id);
                let space = u64::from(scale.space);
                let cells = cells.saturating_mul(space).saturating_mul(space);
                cells.saturating_mul(4 * u64::from(channels))
            };
            // Once to each other shard of the same frames.
            let others = grid.rows() * grid.cols() - 1;
            let bytes = of(k).saturating_add(of(v)).saturating_mul(u64::from(others));
            self.attention_bytes = self.attention_bytes.saturating_add(bytes);
            self.ring_steps = self.ring_steps.saturating_add(others);
        }
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.halo_bytes.saturating_add(self.attention_bytes).saturating_add(self.statistics_bytes)
    }

    /// All collective steps.
    pub fn collectives(&self) -> u32 {
        self.halo_exchanges.saturating_add(self.reductions).saturating_add(self.ring_steps)
    }
}
