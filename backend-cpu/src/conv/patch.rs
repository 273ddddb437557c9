//! The input of a block of outputs, with the prologue applied and the padding in place.

use std::ops::Range;

use halovae_engine::program::Edge;

use super::beside::Beside;
use super::halo::Strips;
use crate::prologue::{Activate, Pointwise};
use crate::table::Table;

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
    /// What stands above and below, and to the left and right, of all that is stored.
    pub edges: [Edge; 2],
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

impl Patch<'_> {
    /// The rows and the columns that are stored, around the image as well, after the upsampling.
    fn stored(&self) -> [Range<i64>; 2] {
        let [height, width] = self.size.map(|n| n as i64);
        let (rows, columns) = match self.around {
            Some((Strips { margins, .. }, _)) => {
                let [top, bottom, left, right] =
                    [margins.top, margins.bottom, margins.left, margins.right].map(|n| n as i64);
                (-top..height + bottom, -left..width + right)
            }
            None => (0..height, 0..width),
        };
        [rows, columns].map(|n| n.start * self.scale as i64..n.end * self.scale as i64)
    }

    /// The pixel that a column of a run is copied from, to column `column` of the patch's row `dst`.
    ///
    /// # Safety
    ///
    /// `cell` is one of the run's columns.
    unsafe fn pixel(&self, run: &Beside, cell: isize, dst: *mut f32, column: usize) -> Activate {
        let at = (cell - run.columns[0]) as usize;
        // SAFETY: the run's values are valid for its columns.
        let src = unsafe { run.values.add(at * self.src_channels) };
        Activate {
            src,
            src_pixel: self.src_channels,
            dst: dst.wrapping_add(column * self.dst_pixel),
            dst_pixel: self.dst_pixel,
            pixels: 1,
            channels: self.channels,
            map: self.map.with_positions(run.factors).at_pixel(at),
            whole: self.whole,
        }
    }
}

/// Fills the patch. What is stored nowhere becomes what the edges say: zeros are padding after the
/// prologue, and copies go through it like what they are copies of.
///
/// Rows of copies are found by the row that they copy, and columns of copies are filled one by one
/// behind the others: neither costs anything where a patch has none.
///
/// # Safety
///
/// `src` is valid for the image, `dst` for `extent` pixels of `dst_pixel` floats; strips have the
/// image's batch and channels.
pub(crate) unsafe fn fill(table: &Table, p: &Patch) {
    let [rows, columns] = p.extent;
    let scale = p.scale as isize;
    let row_len = columns * p.dst_pixel;
    let [stored_rows, stored_columns] = p.stored();
    for row in 0..rows {
        let dst = p.dst.wrapping_add(row * row_len);
        let y = p.origin[0] + row as isize;
        let runs = match p.edges[0].cell(y as i64, &stored_rows) {
            Some(y) => p.runs((y as isize).div_euclid(scale)),
            None => [Beside::NONE; 3],
        };
        // Columns of the patch that are written.
        let mut done = 0;
        let mut first = columns;
        for run in &runs {
            let [start, end] = run.columns;
            let column = |cell: isize| {
                (cell * scale - p.origin[1]).clamp(done as isize, columns as isize) as usize
            };
            let (left, right) = (column(start), column(end));
            if start == end || left == right {
                continue;
            }
            first = first.min(left);
            // SAFETY: `done <= left <= right <= columns` floats of this row belong to `dst`, and
            // the columns from `left` to `right` are stored pixels `start..end`.
            unsafe {
                dst.add(done * p.dst_pixel).write_bytes(0, (left - done) * p.dst_pixel);
                let cell = |x: usize| (p.origin[1] + x as isize).div_euclid(scale);
                if p.scale == 1 {
                    let part = p.pixel(run, cell(left), dst, left);
                    (table.activate)(&Activate { pixels: right - left, ..part });
                } else {
                    for x in left..right {
                        (table.activate)(&p.pixel(run, cell(x), dst, x));
                    }
                }
            }
            done = right;
        }
        // SAFETY: the rest of this row.
        unsafe { dst.add(done * p.dst_pixel).write_bytes(0, (columns - done) * p.dst_pixel) };
        if p.edges[1] == Edge::Zeros {
            continue;
        }
        for x in (0..first).chain(done.max(first)..columns) {
            let at = p.edges[1].cell(p.origin[1] as i64 + x as i64, &stored_columns);
            let Some(cell) = at.map(|at| (at as isize).div_euclid(scale)) else { continue };
            let run = runs.iter().find(|run| (run.columns[0]..run.columns[1]).contains(&cell));
            if let Some(run) = run {
                // SAFETY: the run has that column, and `x` is one of the patch's.
                unsafe { (table.activate)(&p.pixel(run, cell, dst, x)) };
            }
        }
    }
}
