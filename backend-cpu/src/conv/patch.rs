//! The input of a block of outputs, with the prologue applied and the padding in place.

use crate::elementwise::{Activate, Pointwise};
use crate::simd::Table;

/// A rectangle of one image, perhaps reaching over its edges, and where it goes.
pub(crate) struct Patch {
    /// First value of the image's first wanted channel.
    pub src: *const f32,
    /// Rows and columns of the image as stored.
    pub size: [usize; 2],
    /// Channels of a stored pixel.
    pub src_channels: usize,
    /// Nearest upsampling between what is stored and what the rectangle is cut from.
    pub scale: usize,
    /// Top left corner and size of the rectangle.
    pub origin: [isize; 2],
    pub extent: [usize; 2],
    /// Channels that are wanted.
    pub channels: usize,
    pub map: Pointwise,
    pub dst: *mut f32,
    /// Floats of a pixel in `dst`: at least `channels`.
    pub dst_pixel: usize,
    /// Whether each pixel in `dst` has room for whole vectors.
    pub whole: bool,
}

/// Fills the patch. What lies outside of the image becomes zero: padding is applied after the
/// prologue.
///
/// # Safety
///
/// `src` is valid for the image, `dst` for `extent` pixels of `dst_pixel` floats.
pub(crate) unsafe fn fill(table: &Table, p: &Patch) {
    let [height, width] = p.size.map(|n| (n * p.scale) as isize);
    let [rows, columns] = p.extent;
    let row_len = columns * p.dst_pixel;
    let left = (-p.origin[1]).clamp(0, columns as isize) as usize;
    let right = (width - p.origin[1]).clamp(left as isize, columns as isize) as usize;
    for row in 0..rows {
        let dst = p.dst.wrapping_add(row * row_len);
        let y = p.origin[0] + row as isize;
        // SAFETY: `row_len` floats of this row belong to `dst`, `left <= right <= columns`, and the
        // columns between them are columns of the image.
        unsafe {
            if y < 0 || y >= height || left == right {
                dst.write_bytes(0, row_len);
                continue;
            }
            dst.write_bytes(0, left * p.dst_pixel);
            dst.add(right * p.dst_pixel).write_bytes(0, (columns - right) * p.dst_pixel);
            let first = (p.origin[1] + left as isize) as usize;
            let line = p.src.add(y as usize / p.scale * p.size[1] * p.src_channels);
            let mut part = Activate {
                src: line.add(first / p.scale * p.src_channels),
                src_pixel: p.src_channels,
                dst: dst.add(left * p.dst_pixel),
                dst_pixel: p.dst_pixel,
                pixels: right - left,
                channels: p.channels,
                map: p.map,
                whole: p.whole,
            };
            if p.scale == 1 {
                (table.activate)(&part);
                continue;
            }
            part.pixels = 1;
            for x in 0..right - left {
                part.src = line.add((first + x) / p.scale * p.src_channels);
                part.dst = dst.add((left + x) * p.dst_pixel);
                (table.activate)(&part);
            }
        }
    }
}
