//! How many ranks decode, and which of them has which piece.

use core::ops::Range;

use crate::error::nonzero;
use crate::{Plan, PlanError, RankLoad, ShardGrid, WorkModel, largest_first, piece_costs};

impl Plan {
    /// How many of `ranks` ranks decode `images` images by this plan: the first ones, and no more
    /// than there are pieces. Pieces of all images are shared out together, but a shard has the
    /// same rank in all of them.
    pub fn busy_ranks(&self, images: u32, ranks: u32) -> u32 {
        let images = match self {
            Self::Sharded(_) => images.min(1),
            Self::Whole(_) | Self::Tiled(_) | Self::Patch(_) => images,
        };
        let busy = self.piece_count().saturating_mul(images.into()).min(ranks.into());
        // No more than `ranks`.
        busy as u32
    }

    /// Writes which of `loads.len()` ranks has each piece of each image, image by image: patches
    /// go round from rank 0 on, shards that follow each other share a rank, and other pieces go by
    /// size to the least loaded rank. No rank but the [`busy_ranks`](Self::busy_ranks) gets any.
    ///
    /// `costs` and `order` are scratch.
    ///
    /// # Errors
    /// [`PlanError::LengthMismatch`] if a slice does not hold one element for each piece of each of
    /// `images` images, [`PlanError::Zero`] without ranks, [`PlanError::TooMany`] if a length
    /// exceeds `u32`.
    pub fn share_out(
        &self,
        images: u32,
        owners: &mut [u32],
        costs: &mut [u64],
        order: &mut [u32],
        loads: &mut [RankLoad],
    ) -> Result<(), PlanError> {
        let pieces = self.piece_count();
        let expected = pieces.saturating_mul(images.into());
        let lengths = [("owners", owners.len()), ("costs", costs.len()), ("order", order.len())];
        for (name, len) in lengths {
            if len as u64 != expected {
                return Err(PlanError::LengthMismatch { name, len: len as u64, expected });
            }
        }
        let ranks = u32::try_from(loads.len())
            .map_err(|_| PlanError::TooMany { name: "loads", len: loads.len() as u64 })?;
        nonzero("ranks", ranks)?;
        match self {
            Self::Whole(_) | Self::Tiled(_) => {
                // There are no more pieces than elements, which a slice can hold.
                for costs in costs.chunks_exact_mut(pieces as usize) {
                    piece_costs(self, &WorkModel::default(), costs)?;
                }
                largest_first(costs, owners, order, loads).map(drop)
            }
            Self::Patch(_) => crate::round_robin(owners, ranks),
            Self::Sharded(grid) => {
                let shards = (0..grid.len()).cycle();
                owners.iter_mut().zip(shards).for_each(|(owner, shard)| {
                    *owner = grid.owner(ranks, shard);
                });
                Ok(())
            }
        }
    }
}

/// `ranks` ranks take even shares of the shards that follow each other, so that neighbours share a
/// rank; without enough shards the last ranks take none.
impl ShardGrid {
    /// The shards of a rank.
    pub fn shards_of(&self, ranks: u32, rank: u32) -> Range<u32> {
        let ranks = self.sharing(ranks);
        let start = |rank: u32| {
            let share = u64::from(rank.min(ranks)) * u64::from(self.len()) / u64::from(ranks);
            // No more than the shards there are.
            share as u32
        };
        start(rank)..start(rank.saturating_add(1))
    }

    /// The rank that has a shard.
    pub fn owner(&self, ranks: u32, shard: u32) -> u32 {
        // The inverse of `shards_of`: the last rank whose share begins at or before the shard.
        let next = (u64::from(shard) + 1) * u64::from(self.sharing(ranks));
        (next.div_ceil(u64::from(self.len())) - 1) as u32
    }

    fn sharing(&self, ranks: u32) -> u32 {
        Plan::sharded(*self).busy_ranks(1, ranks.max(1))
    }
}
