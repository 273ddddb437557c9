//! How pieces become one output: spans of frames, bands of rows, blocks of columns, and weighted
//! terms.
//!
//! diffusers blends in place: each tile, in row-major order, first with the already blended tile
//! above it, then with the already blended tile to its left. Over one pixel, with `wy_a` and
//! `wx_b` the ramps of tile row `i - a` and tile column `j - b` there, that is
//!
//! ```text
//! F(i, j) = wx_0 * (wy_0 * T(i, j) + (1 - wy_0) * F(i - 1, j)) + (1 - wx_0) * F(i, j - 1)
//! ```
//!
//! with `F` blended and `T` raw. Unrolled, tile `(i - a, j - b)` gets the sum over all paths of
//! `a` steps up and `b` steps left. A step up from row `a` in column `b` costs
//! `wx_b * (1 - wy_a)`, a step left `1 - wx_b`, so the paths differ only in the columns in which
//! they step up, and the sum is
//!
//! ```text
//! weight(a, b) = [wy_a * prod_{k<a} (1 - wy_k)] * [wx_b * prod_{k<b} (1 - wx_k) * h_a(wx_0 .. wx_b)]
//! ```
//!
//! with `h_a` the complete homogeneous symmetric polynomial of degree `a`. It holds for any
//! overlap, and is a product of a factor of the row and a factor of the column.
//!
//! Windows in time are blended when each has been blended in space, and so that `c` windows back
//! gets `wt_c * prod_{k<c} (1 - wt_k)`, the same as a row alone would, as a third factor.

mod term;

use core::iter::FusedIterator;
use core::ops::Range;

pub use term::{Term, Terms};

use crate::span::{Cursor, Span, SpanAxis};
use crate::{Axes, Region, TileGrid};

/// The pieces of a plan along the output axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout(pub(crate) Axes<SpanAxis>);

impl Layout {
    pub(crate) fn bands(self) -> Bands {
        let mut times = Cursor::default();
        let time = self.0.time.next(&mut times);
        let later = self.0.time.next(&mut times);
        Bands { layout: self, time, later, times, rows: Cursor::default() }
    }

    /// The index of a piece, or of the one behind the last.
    fn piece(&self, slice: u32, row: u32, col: u32) -> u64 {
        let [rows, cols] = [&self.0.height, &self.0.width].map(|axis| u64::from(axis.count()));
        (u64::from(slice) * rows + u64::from(row)) * cols + u64::from(col)
    }
}

impl TileGrid {
    /// The bands of the output: see [`Plan::bands`](crate::Plan::bands).
    pub fn bands(&self) -> Bands {
        Layout(self.axes().map(SpanAxis::Tiles)).bands()
    }
}

/// The bands of an output, by time and then from top to bottom. Each step takes constant time.
#[derive(Clone, Debug)]
pub struct Bands {
    layout: Layout,
    /// The frames that the next band lies in, and the span of frames behind them.
    time: Option<Span>,
    later: Option<Span>,
    times: Cursor,
    rows: Cursor,
}

impl Iterator for Bands {
    type Item = Band;

    fn next(&mut self) -> Option<Band> {
        loop {
            let time = self.time?;
            if let Some(row) = self.layout.0.height.next(&mut self.rows) {
                return Some(Band::new(self.layout, time, self.later, row));
            }
            self.time = self.later;
            self.later = self.layout.0.time.next(&mut self.times);
            self.rows = Cursor::default();
        }
    }
}

impl FusedIterator for Bands {}

/// Output frames and rows over which the same slices and rows of pieces lie. Bands partition the
/// output. A frame is finished with the last band of its span, the one that reaches the bottom.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Band {
    /// First output frame.
    pub first: u32,
    /// Output frames.
    pub frames: u32,
    /// First output row.
    pub top: u32,
    /// Output rows.
    pub height: u32,
    layout: Layout,
    time: Span,
    row: Span,
    pieces: [u64; 2],
}

impl Band {
    fn new(layout: Layout, time: Span, later: Option<Span>, row: Span) -> Self {
        let oldest = time.owner - time.depth;
        // All rows of the oldest slice are read again if a later span reads it.
        let again = later.is_some_and(|later| later.owner - later.depth == oldest);
        let first = if again { 0 } else { row.owner - row.depth };
        // All rows of the newest slice have been read if an earlier span read it.
        let last = if time.offset > 0 { layout.0.height.count() } else { row.owner + 1 };
        Self {
            first: time.start,
            frames: time.len,
            top: row.start,
            height: row.len,
            layout,
            time,
            row,
            pieces: [layout.piece(oldest, first, 0), layout.piece(time.owner, last, 0)],
        }
    }

    /// The blocks of the band, from left to right. Each step takes constant time.
    pub fn blocks(&self) -> Blocks {
        Blocks { band: *self, cursor: Cursor::default() }
    }

    /// The pieces that a stitcher holds while it works on the band, by index: those that this band
    /// or an earlier one reads, without those that neither this band nor a later one does.
    ///
    /// From band to band neither end decreases. So a stitcher fetches up to the end before a band,
    /// and drops what is before the start: no later band reads it. In an image, and in the last
    /// frames over which a slice of tiles lies, the pieces of that slice go row by row; until then
    /// the whole slice is held, since later frames read all of it. Where several slices end
    /// together, in a video's last frames, the rows of the first one go and the others stay.
    pub const fn pieces(&self) -> Range<u64> {
        self.pieces[0]..self.pieces[1]
    }
}

/// The blocks of a [`Band`], from left to right.
#[derive(Clone, Debug)]
pub struct Blocks {
    band: Band,
    cursor: Cursor,
}

impl Iterator for Blocks {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let Band { layout, time, row, .. } = self.band;
        let spans = Axes::new(time, row, layout.0.width.next(&mut self.cursor)?);
        let region = Region::from_spans(spans.map(|span| (span.start, span.len)));
        Some(Block { region, layout, spans })
    }
}

impl FusedIterator for Blocks {}

/// A largest box of the output over which the same pieces lie. The blocks of all bands partition
/// the output.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Block {
    /// Where it lies in the output.
    pub region: Region,
    layout: Layout,
    spans: Axes<Span>,
}

impl Block {
    /// What the block is the sum of, in the order of the pieces' indices. A stitcher that adds in
    /// this order gives the same bytes however the pieces were decoded.
    pub fn terms(&self) -> Terms {
        Terms::of(*self)
    }

    /// How many terms there are.
    pub const fn term_count(&self) -> u32 {
        // At most MAX_BLEND_DEPTH along each axis.
        let Axes { time, height, width } = &self.spans;
        (time.depth + 1) * (height.depth + 1) * (width.depth + 1)
    }
}
