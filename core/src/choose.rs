//! From a request to ranks and a strategy: the rules of the vLLM-Omni guide.

use crate::{Notice, Notices, PlanError, Strategy, vae_parallel_size};

/// What the user asked for and what there is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// Ranks that shall decode.
    pub vae_patch_parallel_size: u32,
    /// Ranks that exist; [`DitParallel::size`](crate::DitParallel::size) where a transformer ran
    /// on them before.
    pub group_size: u32,
    /// Whether tiling was asked for.
    pub use_tiling: bool,
    /// Whether the model has a parallel decode.
    pub parallel_supported: bool,
}

/// What will be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Resolved {
    /// Ranks that there are for the decode, from 1 to the group's size. Of these as many decode as
    /// get a piece: [`Plan::busy_ranks`](crate::Plan::busy_ranks).
    pub ranks: u32,
    /// Whether tiling is on.
    pub use_tiling: bool,
    /// What differs from the request.
    pub notices: Notices,
}

impl Request {
    /// Applies the guide's three rules. A model without parallel decode ignores the size and
    /// decodes on one rank. Otherwise the size is clamped to the group, and if more than one rank
    /// is left, tiling is on.
    ///
    /// # Errors
    /// [`PlanError::Zero`] if the size or the group is 0.
    pub fn resolve(&self) -> Result<Resolved, PlanError> {
        let requested = self.vae_patch_parallel_size;
        let (clamped, clamp_notice) = vae_parallel_size(requested, self.group_size)?;
        let mut notices = Notices::new();
        if !self.parallel_supported {
            if requested > 1 {
                notices.push(Notice::ParallelUnsupported { requested });
            }
            return Ok(Resolved { ranks: 1, use_tiling: self.use_tiling, notices });
        }
        if let Some(notice) = clamp_notice {
            notices.push(notice);
        }
        if clamped > 1 && !self.use_tiling {
            notices.push(Notice::TilingSwitchedOn { ranks: clamped });
        }
        Ok(Resolved { ranks: clamped, use_tiling: self.use_tiling || clamped > 1, notices })
    }
}

/// The strategy `auto`: tiled if tiling is on and the latents exceed the tile on either axis
/// (`triggers`, see [`Tiling::triggers`](crate::Tiling::triggers)); else patch if several ranks
/// decode; else whole.
pub const fn choose_strategy(ranks: u32, use_tiling: bool, triggers: bool) -> Strategy {
    if use_tiling && triggers {
        Strategy::Tiled
    } else if ranks > 1 {
        Strategy::Patch
    } else {
        Strategy::Whole
    }
}
