//! What is chosen by the memory that is allowed: frames of latents at a time, and shards.

use halovae_core::{Plan, ShardGrid, Size};
use halovae_engine::shard::{Fit, FitError};

/// How a decoder is asked for its shards: the latents, bytes, the grid if there is no choice of it, and
/// frames of latents at a time.
pub(crate) type FitShards<'a> =
    dyn Fn(Size, u64, Option<ShardGrid>, u32) -> Result<Fit, FitError> + 'a;

/// What decodes, and what it may take.
pub(crate) struct Allowed<'a> {
    /// Bytes, if they are bounded.
    pub(crate) max_memory: Option<u64>,
    /// Whether the caller gave the grid of shards.
    pub(crate) is_grid_given: bool,
    /// How many frames of latents are best decoded at a time by a plan.
    pub(crate) choose_chunk: &'a dyn Fn(&Plan) -> u32,
    /// The shards that fit.
    pub(crate) fit_shards: &'a FitShards<'a>,
}

/// What was chosen.
pub(crate) struct Chosen {
    /// Frames of latents at a time.
    pub(crate) chunk: u32,
    /// The shards, where memory is bounded.
    pub(crate) fit: Option<Fit>,
}

impl Allowed<'_> {
    /// Chooses for a plan: as many frames at a time as the decoder would have, or one, where no shards
    /// of so many fit.
    ///
    /// # Errors
    /// That the memory is too little.
    pub(crate) fn choose(&self, plan: &Plan) -> Result<Chosen, FitError> {
        let chunk = (self.choose_chunk)(plan);
        match self.fit(plan, chunk) {
            Err(FitError::Memory { .. }) if chunk > 1 => {
                Ok(Chosen { chunk: 1, fit: self.fit(plan, 1)? })
            }
            fit => Ok(Chosen { chunk, fit: fit? }),
        }
    }

    fn fit(&self, plan: &Plan, chunk: u32) -> Result<Option<Fit>, FitError> {
        let (Some(bytes), &Plan::Sharded(grid)) = (self.max_memory, plan) else { return Ok(None) };
        let given = self.is_grid_given.then_some(grid);
        (self.fit_shards)(grid.latents(), bytes, given, chunk).map(Some)
    }
}
