//! A program cut over a grid of shards, and the shards shared out over ranks.

use std::ops::Range;

use halovae_core::{Margins, Rect, ShardGrid, Transfer};

use super::pass::{Segment, UncutError, segments};
use crate::program::{Program, ValueId, ValueKind};
use crate::tensor::Shape;

/// Who computes which part of every value. All ranks make the same one.
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
        Ok(Self { grid, ranks: ranks.clamp(1, grid.len()), segments: segments(program)? })
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

    /// The shards of a rank.
    pub fn shards_of(&self, rank: u32) -> Range<u32> {
        shards_of(&self.grid, self.ranks, rank)
    }

    /// The rank that has a shard.
    pub fn owner(&self, shard: u32) -> u32 {
        owner(&self.grid, self.ranks, shard)
    }

    /// The part of a feature map that a shard owns, in the map's own cells.
    pub fn part(&self, program: &Program, value: ValueId, shard: u32) -> Rect {
        let (_, scale) = program.features(value);
        self.grid.part(shard, scale)
    }

    /// The extents of what a shard holds of a value, for one sample.
    pub fn shape(&self, program: &Program, value: ValueId, shard: u32) -> Shape {
        match program.value(value).kind {
            ValueKind::Features { channels, .. } => {
                let part = self.part(program, value, shard);
                Shape::new(1, part.height as usize, part.width as usize, channels as usize)
            }
            ValueKind::Stats { groups } => Shape::new(1, groups as usize, 1, 2),
        }
    }

    /// What travels from one rank's shards to another's for one halo, in the order in which it lies
    /// in their message.
    pub fn transfers(
        &self,
        from: u32,
        to: u32,
        scale: u32,
        reach: Margins,
    ) -> impl Iterator<Item = Transfer> + '_ {
        self.shards_of(to)
            .flat_map(move |shard| self.grid.received(shard, scale, reach))
            .filter(move |transfer| self.owner(transfer.from) == from)
    }
}

/// The shards of a rank, if `ranks` ranks share them.
pub(crate) fn shards_of(grid: &ShardGrid, ranks: u32, rank: u32) -> Range<u32> {
    let start = |rank: u32| {
        let share = u64::from(rank.min(ranks)) * u64::from(grid.len()) / u64::from(ranks);
        // No more than the shards there are.
        share as u32
    };
    start(rank)..start(rank.saturating_add(1))
}

/// The rank that has a shard.
pub(crate) fn owner(grid: &ShardGrid, ranks: u32, shard: u32) -> u32 {
    // The inverse of `shards_of`: the last rank whose share begins at or before the shard.
    let next = (u64::from(shard) + 1) * u64::from(ranks);
    (next.div_ceil(u64::from(grid.len())) - 1) as u32
}

#[cfg(test)]
mod tests {
    use halovae_core::Size;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_shard_has_one_rank_and_every_rank_an_even_share(
            rows in 1u32..9, cols in 1u32..9, ranks in 1u32..80,
        ) {
            let grid = ShardGrid::new(Size::new(64, 64), rows, cols, 8).unwrap();
            let ranks = ranks.min(grid.len());
            let mut owned = 0;
            for rank in 0..ranks {
                let shards = shards_of(&grid, ranks, rank);
                prop_assert_eq!(shards.start, owned);
                owned = shards.end;
                for shard in shards.clone() {
                    prop_assert_eq!(owner(&grid, ranks, shard), rank);
                }
                let fair = grid.len() as f64 / f64::from(ranks);
                prop_assert!((shards.len() as f64 - fair).abs() < 1.0);
            }
            prop_assert_eq!(owned, grid.len());
        }
    }
}
