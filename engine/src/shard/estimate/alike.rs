//! Shards of a rank that take the same.

use std::collections::HashMap;
use std::ops::Range;

use halovae_core::{Margins, Size};

use crate::shard::cut::Cut;

/// Which shards of a rank are followed, and which of them the others are like. Of those that are alike
/// these are the first and the last: where workspace stays, the last has the most of it.
#[derive(Clone, Debug)]
pub(super) struct Alike {
    shards: Range<u32>,
    /// By shard, the one that it is like: itself if it is followed.
    to: Vec<u32>,
}

impl Alike {
    /// All are followed.
    pub(super) fn none(cut: &Cut, rank: u32) -> Self {
        let shards = cut.shards_of(rank);
        Self { to: shards.clone().collect(), shards }
    }

    /// Shards are alike that are of the same slice and size, with others on the same sides.
    pub(super) fn new(cut: &Cut, rank: u32) -> Self {
        let grid = cut.grid();
        let shards = cut.shards_of(rank);
        let kind = |shard: u32| -> (u32, Size, Margins) {
            let sides = grid.margins(shard, 1, Margins::of_frame([1; 4]));
            (cut.slice_of(shard), grid.part(shard, 1).size(), sides)
        };
        let mut ends: HashMap<_, [u32; 2]> = HashMap::new();
        for shard in shards.clone() {
            ends.entry(kind(shard)).or_insert([shard; 2])[1] = shard;
        }
        let to = shards.clone().map(|shard| match ends[&kind(shard)] {
            [first, _] if first == shard => shard,
            [_, last] => last,
        });
        Self { to: to.collect(), shards }
    }

    /// Those that are followed.
    pub(super) fn walked(&self) -> Vec<u32> {
        self.shards.clone().filter(|&shard| self.to(shard) == shard).collect()
    }

    /// The one that a shard is like; of other ranks' shards each stands for itself.
    pub(super) fn to(&self, shard: u32) -> u32 {
        let of_rank = self.shards.contains(&shard).then(|| shard - self.shards.start);
        of_rank.map_or(shard, |index| self.to[index as usize])
    }
}
