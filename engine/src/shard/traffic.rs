//! What ranks of a sharded decode exchange, known without running it.

use halovae_core::ShardGrid;

use super::cut::Cut;
use super::pass::{UncutError, exchanged_layers};
use super::rounds::Rounds;
use crate::program::{Op, Program, ValueId};

/// What ranks exchange in one decode, finished pieces not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Steps of the ring in which keys and values go round.
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
        let layers = exchanged_layers(program)?;
        let ranks = u64::from(grid.len());
        let mut traffic = Self::default();
        if ranks == 1 {
            return Ok(traffic);
        }
        traffic.halo_bytes = grid.halo_bytes(&layers);
        for (round, segment) in Rounds::new(program, &cut, chunk)
            .flat_map(|round| cut.segments().iter().map(move |segment| (round.clone(), segment)))
        {
            let fetches = |op: usize| round.has(op) && !round.halo(op).fresh.is_empty();
            let fetched = segment.halos.iter().filter(|halo| fetches(halo.op)).count();
            traffic.halo_exchanges = traffic.halo_exchanges.saturating_add(fetched as u32);
            let made = segment.statistics.iter().filter(|&&id| {
                segment.ops.clone().any(|op| round.has(op) && program.ops()[op].output() == id)
            });
            let groups: u64 = made.map(|&id| u64::from(program.groups(id))).sum();
            if groups > 0 {
                // Those of all ranks to rank 0, and the merged ones back.
                let bytes = 2 * 8 * groups * (ranks - 1);
                traffic.statistics_bytes = traffic.statistics_bytes.saturating_add(bytes);
                traffic.reductions += 1;
            }
            if let Op::Attention { k, v, .. } = program.ops()[segment.ops.start] {
                let cells = grid.latents().area();
                let of = |id: ValueId| {
                    let (channels, scale) = program.features(id);
                    let cells = cells
                        .saturating_mul(u64::from(scale.space))
                        .saturating_mul(scale.space.into());
                    cells.saturating_mul(4 * u64::from(channels))
                };
                let once = of(k).saturating_add(of(v));
                traffic.attention_bytes =
                    traffic.attention_bytes.saturating_add(once.saturating_mul(ranks - 1));
                traffic.ring_steps = traffic.ring_steps.saturating_add(grid.len() - 1);
            }
        }
        Ok(traffic)
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
