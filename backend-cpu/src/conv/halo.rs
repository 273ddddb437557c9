//! What lies around an image that is a part of a larger one.

use super::Margins;
use super::patch::Run;
use crate::error::{KernelError, check};

/// Whether a patch of an image of `size` reads its margins: one that starts at `origin` and has
/// `extent` pixels, both counted after upsampling by `scale`.
pub(super) fn touches(
    margins: &Margins,
    size: [usize; 2],
    scale: usize,
    origin: [isize; 2],
    extent: [usize; 2],
) -> bool {
    let axis = |axis: usize, before: usize, behind: usize| {
        let end = origin[axis] + extent[axis] as isize;
        (before > 0 && origin[axis] < 0) || (behind > 0 && end > (size[axis] * scale) as isize)
    };
    axis(0, margins.top, margins.bottom) || axis(1, margins.left, margins.right)
}

/// The values of the margins; a strip without rows or columns is empty.
#[derive(Clone, Copy, Debug)]
pub struct Strips<'a> {
    /// Their extents.
    pub margins: Margins,
    /// Above and below `[n][rows][left + width + right][channels]`, left and right
    /// `[n][height][columns][channels]`.
    pub values: halovae_core::Margins<&'a [f32]>,
}

impl Strips<'_> {
    /// Whether the slices fit an image of `[n, height, width]`.
    pub(super) fn check(
        &self,
        [n, height, width]: [usize; 3],
        channels: usize,
    ) -> Result<(), KernelError> {
        let Margins { top, bottom, left, right, .. } = self.margins;
        let row = n * (left + width + right) * channels;
        check("halo above", top * row, self.values.top.len())?;
        check("halo below", bottom * row, self.values.bottom.len())?;
        check("halo to the left", n * height * left * channels, self.values.left.len())?;
        check("halo to the right", n * height * right * channels, self.values.right.len())
    }

    /// Puts the stored pixels around row `row` of batch item `item` into their places beside the
    /// image's own, from channel `channel` on.
    pub(super) fn add_runs(
        &self,
        runs: &mut [Run; 3],
        row: isize,
        [height, width]: [usize; 2],
        channels: usize,
        item: usize,
        channel: usize,
    ) {
        let Margins { top, bottom, left, right, .. } = self.margins;
        let (w, l, r) = (width as isize, left as isize, right as isize);
        let at = |strip: &[f32], rows: usize, row: isize, columns: usize| {
            let pixel = (item * rows + row as usize) * columns;
            strip.as_ptr().wrapping_add(pixel * channels + channel)
        };
        let (up, down) = (row + top as isize, row - height as isize);
        if (0..height as isize).contains(&row) {
            runs[0] = (-l, 0, at(self.values.left, height, row, left));
            runs[2] = (w, w + r, at(self.values.right, height, row, right));
        } else if (0..top as isize).contains(&up) {
            runs[1] = (-l, w + r, at(self.values.top, top, up, left + width + right));
        } else if (0..bottom as isize).contains(&down) {
            runs[1] = (-l, w + r, at(self.values.bottom, bottom, down, left + width + right));
        }
    }
}

/// What is done once strips are there.
pub type Resume<'a> = dyn FnMut(&Strips) + 'a;

/// Strips that come when everything that does not need them is done.
pub struct LateStrips<'a> {
    /// The extents of what will come.
    pub margins: Margins,
    /// Waits for the strips and passes them on, once.
    pub fetch: &'a mut dyn FnMut(&mut Resume) -> Result<(), KernelError>,
}
