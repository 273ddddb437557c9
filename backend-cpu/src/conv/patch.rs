//! The input of a block of outputs, with the prologue applied and the padding in place.

use super::halo::Strips;
use crate::prologue::{Activate, Pointwise};
use crate::simd::Table;

/// A rectangle of one image, perhaps reaching over its edges, and where it goes.
pub(crate) struct Patch<'a> {
    /// First value of the image's first wanted channel.
    pub src: *const f32,
    /// Rows and columns of the image as stored.
    pub size: [usize; 2],
    /// Channels of a stored pixel.
    pub src_channels: usize,
    /// What lies around the image, and which frame and first channel are wanted of it.
    pub around: Option<(&'a Strips<'a>, [usize; 2])>,
    /// Nearest upsampling between what is stored and what the rectangle is cut from.
    pub scale: usize,
    /// Top left corner and size of the rectangle.
    pub origin: [isize; 2],
    pub extent: [usize; 2],
    /// Channels that are wanted.
    pub channels: usize,
    /// From the image's first pixel on.
    pub map: Pointwise,
    pub dst: *mut f32,
    /// Floats of a pixel in `dst`: at least `channels`.
    pub dst_pixel: usize,
    /// Whether each pixel in `dst` has room for whole vectors.
    pub whole: bool,
}

/// Stored pixels beside each other.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    /// The first column, and the column behind the last.
    pub columns: [isize; 2],
    pub values: *const f32,
    /// Factors of the positions, or null.
    pub factors: *const f32,
}

impl Beside {
    /// No pixels.
    pub(super) const NONE: Self =
        Self { columns: [0; 2], values: std::ptr::null(), factors: std::ptr::null() };
}

impl Patch<'_> {
    /// The stored pixels of a row, from left to right without a gap; those that do not exist have
    /// no columns.
    fn runs(&self, row: isize) -> [Beside; 3] {
        let [height, width] = self.size.map(|n| n as isize);
        let mut runs = [Beside::NONE; 3];
        if (0..height).contains(&row) {
            runs[1] = Beside {
                columns: [0, width],
                values: self.src.wrapping_offset(row * width * self.src_channels as isize),
                factors: self.map.at_pixel((row * width) as usize).position,
            };
        }
        if let Some((strips, [frame, channel])) = self.around {
            strips.add_runs(&mut runs, row, self.size, self.src_channels, frame, channel);
        }
        runs
    }
}

/// Fills the patch. What is stored nowhere becomes zero: padding is applied after the prologue.
///
/// # Safety
///
/// `src` is valid for the image, `dst` for `extent` pixels of `dst_pixel` floats; strips have the
/// image's batch and channels.
pub(crate) unsafe fn fill(table: &Table, p: &Patch) {
    let [rows, columns] = p.extent;
    let scale = p.scale as isize;
    let row_len = columns * p.dst_pixel;
    for row in 0..rows {
        let dst = p.dst.wrapping_add(row * row_len);
        let y = p.origin[0] + row as isize;
        // Columns of the patch that are written.
        let mut done = 0;
        for Beside { columns: [start, end], values, factors } in p.runs(y.div_euclid(scale)) {
            let map = p.map.with_positions(factors);
            let column = |cell: isize| {
                (cell * scale - p.origin[1]).clamp(done as isize, columns as isize) as usize
            };
            let (left, right) = (column(start), column(end));
            if start == end || left == right {
                continue;
            }
            // SAFETY: `done <= left <= right <= columns` floats of this row belong to `dst`, and
            // the columns from `left` to `right` are stored pixels `start..end`.
            unsafe {
                dst.add(done * p.dst_pixel).write_bytes(0, (left - done) * p.dst_pixel);
                let cell =
                    |x: usize| ((p.origin[1] + x as isize).div_euclid(scale) - start) as usize;
                let mut part = Activate {
                    src: values.add(cell(left) * p.src_channels),
                    src_pixel: p.src_channels,
                    dst: dst.add(left * p.dst_pixel),
                    dst_pixel: p.dst_pixel,
                    pixels: right - left,
                    channels: p.channels,
                    map: map.at_pixel(cell(left)),
                    whole: p.whole,
                };
                if p.scale == 1 {
                    (table.activate)(&part);
                } else {
                    part.pixels = 1;
                    for x in left..right {
                        part.src = values.add(cell(x) * p.src_channels);
                        part.map = map.at_pixel(cell(x));
                        part.dst = dst.add(x * p.dst_pixel);
                        (table.activate)(&part);
                    }
                }
            }
            done = right;
        }
        // SAFETY: the rest of this row.
        unsafe { dst.add(done * p.dst_pixel).write_bytes(0, (columns - done) * p.dst_pixel) };
    }
}
