//! How pieces become one output: bands of rows, blocks of columns, and weighted terms.
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

use core::iter::FusedIterator;
use core::ops::Range;

use crate::span::{Cursor, Span, SpanAxis};
use crate::tiling::MAX_BLEND_DEPTH;
use crate::{Region, TileGrid};

/// The pieces of a plan along both output axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) rows: SpanAxis,
    pub(crate) cols: SpanAxis,
}

impl Layout {
    pub(crate) fn bands(self) -> Bands {
        Bands { layout: self, cursor: Cursor::default() }
    }

    fn piece(&self, row: u32, col: u32) -> u64 {
        u64::from(row) * u64::from(self.cols.count()) + u64::from(col)
    }
}

impl TileGrid {
    /// The bands of the output, from top to bottom.
    pub fn bands(&self) -> Bands {
        let rows = SpanAxis::Tiles(*self.height());
        let cols = SpanAxis::Tiles(*self.width());
        Layout { rows, cols }.bands()
    }
}

/// The bands of an output, from top to bottom. Each step takes constant time.
#[derive(Clone, Debug)]
pub struct Bands {
    layout: Layout,
    cursor: Cursor,
}

impl Iterator for Bands {
    type Item = Band;

    fn next(&mut self) -> Option<Band> {
        let span = self.layout.rows.next(&mut self.cursor)?;
        Some(Band { top: span.start, height: span.len, layout: self.layout, span })
    }
}

impl FusedIterator for Bands {}

/// Output rows over which the same rows of pieces lie. Bands partition the output.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Band {
    /// First output row.
    pub top: u32,
    /// Output rows.
    pub height: u32,
    layout: Layout,
    span: Span,
}

impl Band {
    /// The blocks of the band, from left to right. Each step takes constant time.
    pub fn blocks(&self) -> Blocks {
        Blocks { layout: self.layout, row: self.span, cursor: Cursor::default() }
    }

    /// The pieces that lie over the band, by index. From band to band neither end decreases, so a
    /// stitcher can drop what is before the start.
    pub fn pieces(&self) -> Range<u64> {
        let first = self.span.owner - self.span.depth;
        self.layout.piece(first, 0)..self.layout.piece(self.span.owner + 1, 0)
    }
}

/// The blocks of a [`Band`], from left to right.
#[derive(Clone, Debug)]
pub struct Blocks {
    layout: Layout,
    row: Span,
    cursor: Cursor,
}

impl Iterator for Blocks {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let col = self.layout.cols.next(&mut self.cursor)?;
        let row = self.row;
        let rect = Region::new(row.start, col.start, row.len, col.len);
        Some(Block { rect, layout: self.layout, row, col })
    }
}

impl FusedIterator for Blocks {}

/// A largest rectangle of the output over which the same pieces lie. The blocks of all bands
/// partition the output.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Block {
    /// Where it lies in the output.
    pub rect: Region,
    layout: Layout,
    row: Span,
    col: Span,
}

impl Block {
    /// What the block is the sum of, in the order of the pieces' indices. A stitcher that adds in
    /// this order gives the same bytes however the pieces were decoded.
    pub fn terms(&self) -> Terms {
        Terms { block: *self, next: 0 }
    }

    /// How many terms there are.
    pub const fn term_count(&self) -> u32 {
        (self.row.depth + 1) * (self.col.depth + 1)
    }
}

/// The terms of a [`Block`], in the order of the pieces' indices.
#[derive(Clone, Debug)]
pub struct Terms {
    block: Block,
    next: u32,
}

impl Iterator for Terms {
    type Item = Term;

    fn next(&mut self) -> Option<Term> {
        let Block { rect, layout, row, col } = self.block;
        if self.next >= self.block.term_count() {
            return None;
        }
        let cols = col.depth + 1;
        let (up, left) = (row.depth - self.next / cols, col.depth - self.next % cols);
        self.next += 1;
        // Inside a decoded piece, whose size is u32.
        let top = (u64::from(row.offset) + layout.rows.shift(up)) as u32;
        let source_left = (u64::from(col.offset) + layout.cols.shift(left)) as u32;
        Some(Term {
            piece: layout.piece(row.owner - up, col.owner - left),
            source: Region { top, left: source_left, ..rect },
            unit: self.block.term_count() == 1,
            vertical: Steps { axis: layout.rows, span: row, back: up },
            horizontal: Steps { axis: layout.cols, span: col, back: left },
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        crate::plan::size_hint(u64::from(self.block.term_count() - self.next))
    }
}

impl ExactSizeIterator for Terms {}
impl FusedIterator for Terms {}

/// One piece's part in a [`Block`]: `source` of the piece, times a weight at each pixel. The
/// weights of a block's terms add up to 1 everywhere.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Term {
    /// The piece's index in the plan.
    pub piece: u64,
    /// The part of the piece, as large as the block: in pixels of the piece's
    /// [`keep`](crate::Piece::keep) region, which for a tile is all of the decoded tile.
    pub source: Region,
    unit: bool,
    vertical: Steps,
    horizontal: Steps,
}

impl Term {
    /// Whether the weight is 1 everywhere, so that the pixels can be copied. It then is the only
    /// term of its block.
    pub const fn is_unit(&self) -> bool {
        self.unit
    }

    /// The weight at row `dy` and column `dx` of the block; 0 outside the block.
    pub fn weight(&self, dy: u32, dx: u32) -> f32 {
        (self.row_weight(dy) * self.column_weight(dx)) as f32
    }

    /// The factor of the weight that depends on the row only; 0 outside the block.
    pub fn row_weight(&self, dy: u32) -> f64 {
        self.vertical.weight_at(dy, 0)
    }

    /// The factor of the weight that depends on the column only; 0 outside the block.
    pub fn column_weight(&self, dx: u32) -> f64 {
        self.horizontal.weight_at(dx, self.vertical.back as usize)
    }

    /// Writes the weights of row `dy` for columns `0..weights.len()`: what
    /// [`weight`](Self::weight) gives.
    pub fn fill_weights(&self, dy: u32, weights: &mut [f32]) {
        self.fill(self.row_weight(dy), weights);
    }

    /// Writes [`column_weight`](Self::column_weight) for columns `0..weights.len()`. They hold for
    /// every row of the block, so a stitcher may compute them once.
    pub fn fill_column_weights(&self, weights: &mut [f32]) {
        self.fill(1.0, weights);
    }

    fn fill(&self, row_weight: f64, weights: &mut [f32]) {
        let inside = weights.len().min(self.source.width as usize);
        let (inside, outside) = weights.split_at_mut(inside);
        outside.fill(0.0);
        if self.horizontal.span.depth == 0 {
            // No ramp: every column's factor is 1.
            inside.fill(row_weight as f32);
            return;
        }
        for (dx, weight) in (0u32..).zip(inside) {
            *weight = (row_weight * self.column_weight(dx)) as f32;
        }
    }
}

/// Along one axis: from the last piece over a span back to the `back`-th before it.
#[derive(Clone, Copy, Debug)]
struct Steps {
    axis: SpanAxis,
    span: Span,
    back: u32,
}

impl Steps {
    /// `w_n * prod_{k<n} (1 - w_k) * h_degree(w_0 .. w_n)`, with `n` = `back` and `w_k` the ramp of
    /// the `k`-th piece before the last one, at position `at` of the span.
    fn weight_at(&self, at: u32, degree: usize) -> f64 {
        if at >= self.span.len {
            return 0.0;
        }
        let ramp = |k: u32| {
            let position = u64::from(self.span.offset) + u64::from(at) + self.axis.shift(k);
            self.axis.ramp(self.span.owner - k, position)
        };
        let mut symmetric = [0.0; MAX_BLEND_DEPTH as usize];
        symmetric[0] = 1.0;
        let mut product = 1.0;
        for k in 0..=self.back {
            let w = ramp(k);
            for d in 1..=degree {
                symmetric[d] += w * symmetric[d - 1];
            }
            product *= if k < self.back { 1.0 - w } else { w };
        }
        product * symmetric[degree]
    }
}
