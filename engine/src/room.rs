//! What decodes in the memory that a rank had, where something else did not.

use halovae_core::{AxisTiling, Direction, Plan, Size, TileGrid, Tiling};

use crate::flow::Flow;
pub use crate::group::{Room, WHERE_NOTHING_FITS};
use crate::program::{MemoryModel, Program, peak_bytes};
use crate::shard::{self, Budget};
use crate::stitch::stitching_bytes;

/// The smallest tile that is worth a try, in latent cells along each side.
const LEAST_TILE: u32 = 8;

/// What the host holds besides values, workspace and finished pieces while it decodes: rounding of
/// allocations, an encoder's buffers.
const HOST_BYTES: u64 = 4 << 20;

/// What was tried, or will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried {
    /// The latents of an image.
    pub(crate) latents: Size,
    /// The largest window of them that is decoded at once.
    pub(crate) window: Size,
    /// Ranks of the group.
    pub(crate) ranks: u32,
    /// Ranks of this process.
    pub(crate) together: u32,
    /// Ranks of this process on one device.
    pub(crate) sharing: u32,
    /// Whether the device's memory is the host's.
    pub(crate) on_host: bool,
    /// Frames of latents that are decoded at a time.
    pub(crate) chunk: u32,
}

impl Room {
    /// What does with `bytes` for all ranks of this process on a device: their values and workspace,
    /// and where the memory is the host's, what stitching takes.
    pub(crate) fn new(
        program: &Program,
        model: &dyn MemoryModel,
        bytes: u64,
        tried: &Tried,
    ) -> Self {
        let Tried { latents, window, ranks, together, sharing, chunk, .. } = *tried;
        let largest = window.height.max(window.width);
        let fits = |side: u32| {
            let [height, width] = [latents.height, latents.width].map(|extent| side.min(extent));
            let values = peak_bytes(program, Size { height, width, ..latents }, chunk, model);
            // An estimate may be a little below what is taken.
            let values = values.saturating_add(values / 16).saturating_mul(sharing.into());
            let beside = tried.beside(program, side);
            beside.is_some_and(|beside| values.saturating_add(beside) <= bytes)
        };
        let tile = largest_below(largest, fits).map(|side| match side {
            0..LEAST_TILE => side,
            _ => side / LEAST_TILE * LEAST_TILE,
        });
        let tile = tile.filter(|&side| side >= LEAST_TILE);
        let held = bytes / u64::from(sharing.max(1));
        let weights = model.prepared_weight_bytes(program);
        // In whole MiB, as the flag takes it.
        let budget = held.saturating_mul(together.into()).saturating_add(weights) >> 20 << 20;
        let within = Budget { ranks, together, bytes: budget, chunk };
        let fit = shard::fit(program, model, latents, within, None);
        Self {
            held,
            tile: tile.and_then(|side| side.checked_mul(program.scale())),
            sharded: fit.is_ok().then_some(budget),
        }
    }
}

impl Tried {
    /// What a decode in tiles of `side` cells takes of the device's memory beside values and
    /// workspace, in the process that stitches, whichever failed; `None` if there are no such tiles.
    fn beside(&self, program: &Program, side: u32) -> Option<u64> {
        if !self.on_host {
            return Some(0);
        }
        let scale = program.scale();
        let axis = AxisTiling::Stride {
            tile_sample_min_size: side.checked_mul(scale)?,
            tile_sample_stride: (side - side / 4).checked_mul(scale)?,
        };
        let tiling = Tiling::new(axis, axis, program.out_scale());
        let grid = TileGrid::new(Direction::Decode, self.latents, &tiling).ok()?;
        let plan = Plan::tiled(grid);
        let frames = Flow::new(program, self.latents.frames, self.chunk).most_finished();
        let stitching = stitching_bytes(&plan, program.out_channels(), self.ranks, frames);
        Some(stitching.saturating_add(HOST_BYTES))
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
