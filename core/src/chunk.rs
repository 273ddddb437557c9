//! Chunks of frames: how much of a video goes through the VAE at a time.

use core::ops::Range;

use crate::error::nonzero;
use crate::{PlanError, TimeScale};

/// The frames of the latents in chunks of the same length, the last one perhaps shorter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Chunks {
    frames: u32,
    longest: u32,
}

#[expect(clippy::len_without_is_empty, reason = "there is at least one chunk")]
impl Chunks {
    /// Chunks of `longest` frames of `frames`, or of all if these are fewer.
    ///
    /// # Errors
    /// [`PlanError::Zero`].
    pub fn new(frames: u32, longest: u32) -> Result<Self, PlanError> {
        nonzero("latent frames", frames)?;
        nonzero("frames of a chunk", longest)?;
        Ok(Self { frames, longest: longest.min(frames) })
    }

    /// The longest chunks that need no more than `limit` bytes, where `bytes` tells what chunks of a
    /// length need and never decreases.
    ///
    /// # Errors
    /// [`PlanError::Zero`], and [`PlanError::ChunkTooLarge`] where one frame needs more.
    pub fn fit(frames: u32, limit: u64, bytes: impl Fn(u32) -> u64) -> Result<Self, PlanError> {
        let all = Self::new(frames, frames)?;
        let fits = |longest| bytes(longest) <= limit;
        if fits(frames) {
            return Ok(all);
        }
        let needed = bytes(1);
        if needed > limit {
            return Err(PlanError::ChunkTooLarge { needed, limit });
        }
        let (mut longest, mut too_long) = (1, frames);
        while too_long - longest > 1 {
            let middle = longest + (too_long - longest) / 2;
            *(if fits(middle) { &mut longest } else { &mut too_long }) = middle;
        }
        Ok(Self { frames, longest })
    }

    /// The frames of the latents.
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Frames of the longest chunk, which every one has but perhaps the last.
    pub const fn longest(&self) -> u32 {
        self.longest
    }

    /// How many chunks there are.
    pub const fn len(&self) -> u32 {
        self.frames.div_ceil(self.longest)
    }

    /// The latent frames of chunk `index`.
    pub fn get(&self, index: u32) -> Option<Range<u32>> {
        let start = index.checked_mul(self.longest).filter(|&start| start < self.frames)?;
        Some(start..start.saturating_add(self.longest).min(self.frames))
    }

    /// The frames of a layer that lie on chunk `index`: those of the output that are finished with
    /// it, in a VAE in which no frame depends on later ones. One that looks ahead gives them later,
    /// by as many frames as it looks ahead. Empty where the chunk has none, such as the first frame
    /// of a layer that begins behind it; `None` also where the layer's frames leave `u32`.
    pub fn finished(&self, index: u32, time: TimeScale) -> Option<Range<u32>> {
        let Range { start, end } = self.get(index)?;
        Some(time.at(start)?..time.at(end)?)
    }

    /// The latent frames of each chunk, in order.
    pub fn iter(self) -> impl Iterator<Item = Range<u32>> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}
