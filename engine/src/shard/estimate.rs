//! What a sharded decode takes, known without running it.

use std::collections::HashMap;

use halovae_core::{Margins, ShardGrid};

use super::cut::Cut;
use super::pass::{HaloExchange, UncutError, exchanged_layers};
use crate::program::{Liveness, MemoryModel, Op, Program, ValueId, ValueKind};
use crate::tensor::Shape;

/// The most bytes of values and workspace that a rank holds on its device at once, weights not
/// counted, if at most `limit` bytes of values wait there (no limit: all of them).
///
/// It follows the run step by step with sizes in the place of values.
pub fn peak_bytes(
    program: &Program,
    cut: &Cut,
    rank: u32,
    model: &dyn MemoryModel,
    limit: Option<u64>,
) -> u64 {
    let mut walk = Walk {
        program,
        cut,
        model,
        limit: limit.map_or(u128::MAX, u128::from),
        liveness: Liveness::new(program),
        parked: HashMap::new(),
        here: 0,
        peak: 0,
        kept_workspace: 0,
    };
    let shards = cut.shards_of(rank);
    for shard in shards.clone() {
        walk.put(program.input(), shard, walk.bytes(program.input(), shard));
    }
    for segment in cut.segments() {
        for shard in shards.clone() {
            if segment.is_attention {
                walk.attention(segment.ops.start, rank, shard);
            } else {
                walk.shard(segment.ops.clone(), &segment.halos, shard);
            }
        }
        if segment.is_attention {
            walk.after_attention(segment.ops.start, rank);
        }
    }
    u64::try_from(walk.peak).unwrap_or(u64::MAX)
}

struct Walk<'a> {
    program: &'a Program,
    cut: &'a Cut,
    model: &'a dyn MemoryModel,
    // A value's bytes stop at u64::MAX; their sums must not, or freeing one would underflow.
    limit: u128,
    liveness: Liveness,
    /// Bytes of the memory of a value that waits on the device; `None` if it waits in the file.
    parked: HashMap<(ValueId, u32), Option<u128>>,
    here: u128,
    peak: u128,
    /// Workspace that stays for later ops.
    kept_workspace: u128,
}

impl Walk<'_> {
    fn bytes(&self, id: ValueId, shard: u32) -> u128 {
        self.model.value_bytes(self.cut.shape(self.program, id, shard)).into()
    }

    fn put(&mut self, id: ValueId, shard: u32, bytes: u128) {
        let here = self.here + bytes <= self.limit;
        self.parked.insert((id, shard), here.then_some(bytes));
        // It was on the device before it was put.
        self.reach(self.here + bytes);
        if here {
            self.here += bytes;
        }
    }

    fn remove(&mut self, id: ValueId, shard: u32) {
        if let Some(Some(bytes)) = self.parked.remove(&(id, shard)) {
            self.here -= bytes;
        }
    }

    fn reach(&mut self, bytes: u128) {
        self.peak = self.peak.max(bytes);
    }

    /// Bytes of a copy that is loaded to be read, if the value is in the file.
    fn loan(&self, id: ValueId, shard: u32) -> u128 {
        match self.parked.get(&(id, shard)) {
            Some(None) => self.bytes(id, shard),
            _ => 0,
        }
    }

    fn workspace(&mut self, op: &Op, shard: u32) -> u128 {
        let shapes = |id: ValueId| self.cut.shape(self.program, id, shard);
        let needed = self.model.workspace_bytes(self.program, op, &shapes).into();
        if !self.model.keeps_workspace() {
            return needed;
        }
        self.kept_workspace = self.kept_workspace.max(needed);
        self.kept_workspace
    }

    fn shard(&mut self, ops: std::ops::Range<usize>, halos: &[HaloExchange], shard: u32) {
        let program = self.program;
        // Values of this shard that are neither parked nor lent.
        let mut own: HashMap<ValueId, u128> = HashMap::new();
        for index in ops.clone() {
            let op = &program.ops()[index];
            let mut lent = 0;
            for id in op.inputs().filter(|&id| !is_stats(program, id)) {
                if own.contains_key(&id) {
                    continue;
                }
                if ops.clone().any(|at| self.liveness.dies_at(id, at)) {
                    let here = self.parked.get(&(id, shard)).copied().flatten();
                    own.insert(id, here.unwrap_or_else(|| self.bytes(id, shard)));
                    self.remove(id, shard);
                } else {
                    lent += self.loan(id, shard);
                }
            }
            let halo = halos.iter().find(|halo| halo.op == index);
            let halo =
                halo.map_or(0, |halo| halo_bytes(program, self.cut, halo, shard, self.model));
            let reused = self.model.in_place(program, op).filter(|&id| {
                own.contains_key(&id) && self.liveness.dies_at(id, index) && op.count_reads(id) == 1
            });
            let of_output = match reused {
                Some(id) => own[&id],
                None => self.bytes(op.output(), shard),
            };
            let output = match (reused, is_stats(program, op.output())) {
                (None, false) => of_output,
                _ => 0,
            };
            let held: u128 = own.values().sum();
            let workspace = self.workspace(op, shard);
            self.reach(self.here + held + lent + halo + output + workspace);
            own.retain(|&id, _| !self.liveness.dies_at(id, index));
            if !is_stats(program, op.output()) && op.output() != program.output() {
                own.insert(op.output(), of_output);
            }
        }
        let mut made: Vec<(ValueId, u128)> = own.into_iter().collect();
        made.sort_unstable();
        for (id, bytes) in made {
            self.put(id, shard, bytes);
        }
    }

    fn attention(&mut self, index: usize, rank: u32, shard: u32) {
        let program = self.program;
        let op = &program.ops()[index];
        let Op::Attention { q, k, v, output, .. } = *op else { return };
        let shards = self.cut.shards_of(rank);
        let state = |walk: &Self, shard: u32| {
            let sums = walk.bytes(output, shard);
            let part = walk.cut.part(program, output, shard);
            sums + 8 * u128::from(part.area())
        };
        let both = |walk: &Self, of: u32| {
            let most = |shards: std::ops::Range<u32>| {
                shards.map(|s| walk.bytes(k, s) + walk.bytes(v, s)).sum::<u128>()
            };
            most(walk.cut.shards_of(of))
        };
        let ranks = self.cut.ranks();
        let mut extra = self.loan(q, shard);
        if ranks > 1 {
            // All of the rank's shards have begun before the last visitor comes.
            extra += shards.map(|shard| state(self, shard)).sum::<u128>();
            let visitors = (0..ranks).filter(|&other| other != rank);
            extra += visitors.map(|other| both(self, other)).max().unwrap_or(0);
        } else {
            extra += state(self, shard);
            let lent = |other| self.loan(k, other) + self.loan(v, other);
            extra += shards.map(lent).max().unwrap_or(0);
        }
        let workspace = self.workspace(op, shard);
        self.reach(self.here + extra + workspace);
        if self.liveness.dies_at(q, index) {
            self.remove(q, shard);
        }
        self.put(output, shard, self.bytes(output, shard));
    }

    fn after_attention(&mut self, index: usize, rank: u32) {
        let Op::Attention { k, v, .. } = self.program.ops()[index] else { return };
        for shard in self.cut.shards_of(rank) {
            for id in [k, v] {
                if self.liveness.dies_at(id, index) {
                    self.remove(id, shard);
                }
            }
        }
    }
}

fn is_stats(program: &Program, id: ValueId) -> bool {
    matches!(program.value(id).kind, ValueKind::Stats { .. })
}

/// Bytes of a shard's halo for a conv.
fn halo_bytes(
    program: &Program,
    cut: &Cut,
    exchange: &HaloExchange,
    shard: u32,
    model: &dyn MemoryModel,
) -> u128 {
    let (channels, scale) = program.features(exchange.value);
    let part = cut.part(program, exchange.value, shard);
    let Margins { top, bottom, left, right, .. } = cut.grid().margins(shard, scale, exchange.reach);
    let wide = left as usize + part.width as usize + right as usize;
    let strips = [(top as usize, wide), (bottom as usize, wide)]
        .into_iter()
        .chain([(part.height as usize, left as usize), (part.height as usize, right as usize)]);
    let bytes = |(height, width)| {
        let strip = Shape::new(1, height, width, channels as usize);
        u128::from(model.value_bytes(strip.over(part.frames as usize)))
    };
    strips.map(bytes).sum()
}

/// What ranks tell each other in one decode, finished pieces not counted.
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
    /// Traffic of one image on a group with one rank for each shard.
    ///
    /// # Errors
    /// [`UncutError`].
    pub fn new(program: &Program, grid: ShardGrid) -> Result<Self, UncutError> {
        let cut = Cut::new(program, grid, grid.len())?;
        let layers = exchanged_layers(program)?;
        let ranks = u64::from(grid.len());
        let mut traffic = Self::default();
        if ranks == 1 {
            return Ok(traffic);
        }
        traffic.halo_bytes = grid.halo_bytes(&layers);
        traffic.halo_exchanges = layers.len() as u32;
        for segment in cut.segments() {
            let groups: u64 =
                segment.statistics.iter().map(|&id| u64::from(program.groups(id))).sum();
            if groups > 0 {
                // Everybody's to rank 0, and the merged ones back.
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
