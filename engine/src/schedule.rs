//! Which rank decodes which piece of which image.

use halovae_core::{Plan, PlanError, RankLoad, Size};

/// One piece of one image, and the rank that decodes it.
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
    /// Shares out the pieces of `images` images over `ranks` ranks, as [`Plan::share_out`] does.
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
        let (mut owners, mut order) = (vec![0; items.len()], vec![0; items.len()]);
        let mut costs = vec![0; items.len()];
        let mut loads = vec![RankLoad::default(); ranks as usize];
        plan.share_out(images, &mut owners, &mut costs, &mut order, &mut loads)?;
        items.iter_mut().zip(owners).for_each(|(item, owner)| item.owner = owner);
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
