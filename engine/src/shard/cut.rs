//! A program cut over a grid of shards, and the shards shared out over ranks.

use std::ops::Range;

use halovae_core::{Margins, Plan, Rect, ShardGrid, Transfer};

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
        Ok(Self {
            grid,
            ranks: Plan::sharded(grid).busy_ranks(1, ranks.max(1)),
            segments: segments(program)?,
        })
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
        self.grid.shards_of(self.ranks, rank)
    }

    /// The rank that has a shard.
    pub fn owner(&self, shard: u32) -> u32 {
        self.grid.owner(self.ranks, shard)
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
