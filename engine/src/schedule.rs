//! Which rank decodes which piece of which image.

use halovae_core::{Plan, PlanError, RankLoad, Size, largest_first};

use crate::group::Tag;
use crate::shard;

/// The tag of a finished piece: its index. Other messages have the highest bit set.
pub(crate) fn piece_tag(index: u64) -> Tag {
    Tag(index)
}

/// Whether a message of that tag is a finished piece.
pub(crate) fn is_piece(tag: Tag) -> bool {
    tag.0 >> 63 == 0
}

/// One piece of one image, and who decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its place among all items: image by image, in the order of the plan's pieces.
    pub index: u64,
    /// The image of the batch.
    pub image: u32,
    /// The piece of the plan.
    pub piece: u64,
    /// The rank.
    pub owner: u32,
    /// Its window of the latents.
    pub window: Size,
}

/// The items of a decode. Every rank makes the same one.
#[derive(Clone, Debug)]
pub struct Schedule {
    items: Vec<Item>,
    images: u32,
}

impl Schedule {
    /// Shares out the pieces of `images` images over `ranks` ranks: a patch goes to the rank that
    /// the grid names (each image starting where the last one ended), a shard to the rank that has
    /// it in every image, any other piece by size to the least loaded rank.
    ///
    /// # Errors
    /// [`PlanError`] if there are no ranks.
    pub fn new(plan: &Plan, images: u32, ranks: u32) -> Result<Self, PlanError> {
        let mut items = Vec::new();
        for image in 0..images {
            for piece in plan.pieces() {
                let index = items.len() as u64;
                let window = piece.input.size();
                items.push(Item { index, image, piece: piece.index, owner: 0, window });
            }
        }
        let costs: Vec<u64> = items
            .iter()
            .map(|item| u64::from(item.window.height) * u64::from(item.window.width))
            .collect();
        let mut owners = vec![0; items.len()];
        let mut order = vec![0; items.len()];
        let mut loads = vec![RankLoad::default(); ranks as usize];
        largest_first(&costs, &mut owners, &mut order, &mut loads)?;
        for (item, owner) in items.iter_mut().zip(owners) {
            item.owner = match plan {
                Plan::Patch(grid) => {
                    let rank = grid.patch(item.piece).map_or(0, |patch| u64::from(patch.rank));
                    let shift = u64::from(item.image) * u64::from(grid.ranks());
                    ((rank + shift) % u64::from(ranks)) as u32
                }
                // Shards that follow each other, so that neighbours share a rank.
                Plan::Sharded(grid) => {
                    shard::owner(grid, ranks.clamp(1, grid.len()), item.piece as u32)
                }
                Plan::Whole(_) | Plan::Tiled(_) => owner,
            };
        }
        Ok(Self { items, images })
    }

    /// How many images there are.
    pub fn images(&self) -> u32 {
        self.images
    }

    /// All items, in the order of their index.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// One item.
    ///
    /// # Panics
    /// If there is no such image or piece.
    pub fn item(&self, image: u32, piece: u64) -> Item {
        let pieces = self.items.len() as u64 / u64::from(self.images);
        self.items[(u64::from(image) * pieces + piece) as usize]
    }

    /// What a rank decodes, in the order in which it does so.
    pub fn items_of(&self, rank: u32) -> impl Iterator<Item = Item> + '_ {
        self.items.iter().copied().filter(move |item| item.owner == rank)
    }

    /// The different window sizes that a rank decodes.
    pub fn windows_of(&self, rank: u32) -> Vec<Size> {
        let mut windows: Vec<Size> = self.items_of(rank).map(|item| item.window).collect();
        windows.sort_unstable_by_key(|window| (window.height, window.width));
        windows.dedup();
        windows
    }
}
