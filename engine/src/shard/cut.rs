//! A program cut over a grid of shards, and the shards shared out over ranks.

use std::collections::BTreeMap;
use std::ops::Range;

use halovae_core::{Margins, Plan, Region, Scale, ShardGrid, Transfer};

use super::pass::{HaloExchange, Segment, TimeReach, UncutError, segments};
use crate::program::{Program, Timeline, ValueId, ValueKind};
use crate::tensor::Shape;

/// Which rank computes which part of every value. All ranks make the same one.
#[derive(Clone, Debug)]
pub struct Cut {
    grid: ShardGrid,
    ranks: u32,
    segments: Vec<Segment>,
}

impl Cut {
    /// Cuts `program` over the shards of `grid`. Of `ranks` ranks each takes an even share of the
    /// shards that follow each other; without enough shards the last ranks take none.
    ///
    /// # Errors
    /// [`UncutError`].
    pub fn new(program: &Program, grid: ShardGrid, ranks: u32) -> Result<Self, UncutError> {
        let timelines: Vec<Timeline> = match grid.slices() {
            1 => Vec::new(),
            slices => (0..slices).map(|slice| timeline(program, &grid, slice)).collect(),
        };
        let time = TimeReach::new(program, &timelines);
        let cut = Self {
            grid,
            ranks: Plan::sharded(grid).busy_ranks(1, ranks.max(1)),
            segments: segments(program, &time)?,
        };
        cut.check_slices(program, &time)?;
        Ok(cut)
    }

    /// Checks that what slices read beyond their frames is what they are given: an op is given frames
    /// of the slices beside, if it reads one operand tap by tap.
    fn check_slices(&self, program: &Program, time: &TimeReach) -> Result<(), UncutError> {
        let slices = self.grid.slices();
        for (index, op) in program.ops().iter().enumerate() {
            for (operand, (id, _)) in op.reads().enumerate() {
                let [past, future] = time.of(index, operand);
                if [past, future] == [0, 0] {
                    continue;
                }
                let reach = Margins { past, future, ..Margins::NONE };
                let is_lent = operand == 0
                    && op.by_tap().is_some()
                    && self.grid.fits(program.features(id).1, reach);
                if !is_lent {
                    return Err(UncutError::Slices { slices, op: program.op_name(op).to_owned() });
                }
            }
        }
        Ok(())
    }

    /// Where a slice of the video stands before anything is computed.
    pub(super) fn timeline(&self, program: &Program, slice: u32) -> Timeline {
        timeline(program, &self.grid, slice)
    }

    /// The frames of a feature map that a slice of the video has.
    pub(super) fn band(&self, program: &Program, value: ValueId, slice: u32) -> Range<u64> {
        band(program, &self.grid, value, slice)
    }

    /// The slice of the video that a shard is of.
    pub(super) fn slice_of(&self, shard: u32) -> u32 {
        shard / (self.grid.rows() * self.grid.cols())
    }

    /// The ranks that have shards of a slice of the video, and what shards of it each of them has.
    pub(super) fn ring(&self, slice: u32) -> Vec<(u32, Range<u32>)> {
        let of_slice = self.grid.rows() * self.grid.cols();
        let shards = slice * of_slice..(slice + 1) * of_slice;
        let ranks = self.owner(shards.start)..=self.owner(shards.end - 1);
        ranks.map(|rank| (rank, common(self.shards_of(rank), &shards))).collect()
    }

    /// The shards.
    pub fn grid(&self) -> &ShardGrid {
        &self.grid
    }

    /// Ranks that have shards: the first ones.
    pub fn ranks(&self) -> u32 {
        self.ranks
    }

    /// The stretches between exchanges.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The halo that an op fetches, if it fetches one.
    pub(super) fn halo_of(&self, op: usize) -> Option<&HaloExchange> {
        let segment = self.segments.partition_point(|segment| segment.ops.end <= op);
        self.segments.get(segment)?.halos.iter().find(|halo| halo.op == op)
    }

    /// The shards of a rank.
    pub fn shards_of(&self, rank: u32) -> Range<u32> {
        self.grid.shards_of(self.ranks, rank)
    }

    /// The rank that has a shard.
    pub fn owner(&self, shard: u32) -> u32 {
        self.grid.owner(self.ranks, shard)
    }

    /// The part of a feature map that a shard owns, in the map's own cells.
    pub fn part(&self, program: &Program, value: ValueId, shard: u32) -> Region {
        let (_, scale) = program.features(value);
        self.grid.part(shard, scale)
    }

    /// The extents of what a shard holds of a value, for one sample.
    pub fn shape(&self, program: &Program, value: ValueId, shard: u32) -> Shape {
        match program.value(value).kind {
            ValueKind::Features { channels, .. } => {
                let part = self.part(program, value, shard);
                Shape::sample(part.size(), channels as usize)
            }
            ValueKind::Stats { groups } => Shape::new(1, groups as usize, 1, 2),
        }
    }

    /// What a rank's shards receive for one halo, those of its own shards included: the ranks that
    /// own it, in their order, and of each what its message has, in that order.
    pub fn received(&self, rank: u32, scale: Scale, reach: Margins) -> Vec<(u32, Vec<Transfer>)> {
        let shards = self.shards_of(rank);
        let transfers = shards.flat_map(|shard| self.grid.received(shard, scale, reach));
        self.by_rank(transfers, |transfer| transfer.from)
    }

    /// What a rank's shards send for one halo: the same from the other side.
    pub fn sent(&self, rank: u32, scale: Scale, reach: Margins) -> Vec<(u32, Vec<Transfer>)> {
        let shards = self.shards_of(rank);
        let transfers = shards.flat_map(|shard| self.grid.sent(shard, scale, reach));
        self.by_rank(transfers, |transfer| transfer.to)
    }

    fn by_rank(
        &self,
        transfers: impl Iterator<Item = Transfer>,
        other: impl Fn(&Transfer) -> u32,
    ) -> Vec<(u32, Vec<Transfer>)> {
        let mut by_rank: BTreeMap<u32, Vec<Transfer>> = BTreeMap::new();
        for transfer in transfers {
            by_rank.entry(self.owner(other(&transfer))).or_default().push(transfer);
        }
        for message in by_rank.values_mut() {
            message.sort_unstable_by_key(|transfer| (transfer.to, transfer.from));
        }
        by_rank.into_iter().collect()
    }
}

fn common(of_rank: Range<u32>, of_slice: &Range<u32>) -> Range<u32> {
    of_rank.start.max(of_slice.start)..of_rank.end.min(of_slice.end)
}

fn timeline(program: &Program, grid: &ShardGrid, slice: u32) -> Timeline {
    Timeline::of_slice(program, grid.latents().frames, |id| band(program, grid, id, slice))
}

fn band(program: &Program, grid: &ShardGrid, value: ValueId, slice: u32) -> Range<u64> {
    let (_, scale) = program.features(value);
    let Region { first, frames, .. } = grid.part(slice * grid.rows() * grid.cols(), scale);
    first.into()..u64::from(first) + u64::from(frames)
}

#[cfg(test)]
mod tests {
    use halovae_core::Size;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each message is the same from both sides, and all of them together are what shards fetch.
        #[test]
        fn what_one_rank_sends_another_receives(
            rows in 1u32..7, cols in 1u32..7, ranks in 1u32..40, reach in 0u32..3,
        ) {
            let grid = ShardGrid::new(Size::new(23, 17), rows, cols, 8).unwrap();
            let cut = Cut { grid, ranks: ranks.min(grid.len()), segments: Vec::new() };
            let reach = Margins::of_frame([reach, 1, 2, reach]);
            let mut received = 0;
            for to in 0..cut.ranks() {
                for (from, message) in cut.received(to, 2.into(), reach) {
                    let sent = cut.sent(from, 2.into(), reach);
                    let same = sent.into_iter().find(|&(rank, _)| rank == to);
                    prop_assert_eq!(same.map(|(_, message)| message), Some(message.clone()));
                    for transfer in &message {
                        prop_assert_eq!(cut.owner(transfer.from), from);
                        prop_assert_eq!(cut.owner(transfer.to), to);
                    }
                    received += message.len();
                }
            }
            let of_shards = (0..grid.len()).flat_map(|shard| grid.received(shard, 2, reach));
            prop_assert_eq!(received, of_shards.count());
        }
    }
}
