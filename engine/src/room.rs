//! What decodes in the memory that a rank had, where something else did not.

use std::fmt;

use halovae_core::Size;
use serde::{Deserialize, Serialize};

use crate::format_bytes;
use crate::program::{Analysis, MemoryModel, Program};
use crate::shard;

/// The smallest tile that is worth a try, in latent cells along each side.
const LEAST_TILE: u32 = 8;

/// The memory that a rank had, and what would do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes of values and workspace that it held at most.
    pub held: u64,
    /// The side in pixels of the largest square tile that decodes in that.
    pub tile: Option<u32>,
    /// Bytes over all ranks of a process, weights included and in whole MiB, in which a sharded decode
    /// does.
    pub sharded: Option<u64>,
}

/// What a rank tried.
pub(crate) struct Tried {
    /// The latents of an image.
    pub(crate) latents: Size,
    /// The largest window of them that was decoded at once.
    pub(crate) window: Size,
    /// Ranks of the group, and those of this process.
    pub(crate) ranks: [u32; 2],
}

impl Room {
    /// What does with `held` bytes of values and workspace a rank.
    pub(crate) fn new(
        program: &Program,
        model: &dyn MemoryModel,
        held: u64,
        tried: &Tried,
    ) -> Self {
        let Tried { latents, window, ranks: [ranks, together] } = *tried;
        let largest = window.height.max(window.width);
        let fits = |side: u32| {
            let tile = Size::new(side.min(latents.height), side.min(latents.width));
            let bytes = Analysis::new(program, tile, model).peak_live_bytes;
            // An estimate may be a little below what is taken.
            bytes.saturating_add(bytes / 16) <= held
        };
        let tile = largest_below(largest, fits).map(|side| match side {
            0..LEAST_TILE => side,
            _ => side / LEAST_TILE * LEAST_TILE,
        });
        let tile = tile.filter(|&side| side >= LEAST_TILE);
        let weights = model.prepared_weight_bytes(program);
        // In whole MiB, as people say it.
        let budget = held.saturating_mul(together.into()).saturating_add(weights) >> 20 << 20;
        let fit = shard::fit(program, model, latents, ranks, together, budget, None);
        Self {
            held,
            tile: tile.and_then(|side| side.checked_mul(program.scale())),
            sharded: fit.is_ok().then_some(budget),
        }
    }
}

/// The largest number below `end` of which `fits` holds, if it holds of all smaller ones.
fn largest_below(end: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut low, mut high) = (0, end);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    (low > 0).then_some(low)
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = format_bytes(self.held);
        match (self.tile, self.sharded) {
            (None, None) => f.write_str("use smaller tiles or more ranks"),
            (Some(tile), None) => {
                write!(f, "in the {held} that it had, tiles of {tile} x {tile} pixels decode")
            }
            (None, Some(bytes)) => {
                write!(f, "a sharded decode that is limited to {} would do", format_bytes(bytes))
            }
            (Some(tile), Some(bytes)) => write!(
                f,
                "in the {held} that it had, tiles of {tile} x {tile} pixels decode, and exactly does \
                 a sharded decode that is limited to {}",
                format_bytes(bytes)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_is_found() {
        for end in 0..40 {
            for limit in 0..45 {
                let expected = (1..end).rev().find(|&side| side <= limit);
                assert_eq!(largest_below(end, |side| side <= limit), expected, "{end}, {limit}");
            }
        }
    }
}
