//! The terms of a block, and their weights.

use core::iter::FusedIterator;

use super::Block;
use crate::axis::ramp_at;
use crate::grid::place;
use crate::span::{Span, SpanAxis};
use crate::tiling::MAX_BLEND_DEPTH;
use crate::{Axes, Axis, Region};

/// The terms of a [`Block`], in the order of the pieces' indices.
#[derive(Clone, Debug)]
pub struct Terms {
    block: Block,
    next: u32,
}

impl Terms {
    pub(super) const fn of(block: Block) -> Self {
        Self { block, next: 0 }
    }
}

impl Iterator for Terms {
    type Item = Term;

    fn next(&mut self) -> Option<Term> {
        let Block { region, layout, spans } = self.block;
        let count = self.block.term_count();
        let place = place(self.next.into(), spans.map(|span| span.depth + 1))?;
        self.next += 1;
        let steps = Axes::from_fn(|axis| {
            let span = spans[axis];
            Steps { axis: layout.0[axis], span, back: span.depth - place[axis] }
        });
        let piece = |axis| steps[axis].piece();
        Some(Term {
            piece: layout.piece(piece(Axis::Time), piece(Axis::Height), piece(Axis::Width)),
            source: Region::from_spans(Axes::from_fn(|axis| {
                (steps[axis].offset(), region.size().along(axis))
            })),
            unit: count == 1,
            steps,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        crate::grid::size_hint(u64::from(self.block.term_count() - self.next))
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
    /// [`keep`](crate::Piece::keep) region, which for a tile is all of the decoded tile but for a
    /// dropped frame.
    pub source: Region,
    unit: bool,
    steps: Axes<Steps>,
}

impl Term {
    /// Whether the weight is 1 everywhere, so that the pixels can be copied. It then is the only
    /// term of its block.
    pub const fn is_unit(&self) -> bool {
        self.unit
    }

    /// The weight at frame `dt`, row `dy` and column `dx` of the block; 0 outside the block.
    pub fn weight(&self, dt: u32, dy: u32, dx: u32) -> f32 {
        (self.frame_weight(dt) * self.row_weight(dy) * self.column_weight(dx)) as f32
    }

    /// The factor of the weight that depends on the frame only; 0 outside the block.
    pub fn frame_weight(&self, dt: u32) -> f64 {
        self.steps.time.weight_at(dt, 0)
    }

    /// The factor of the weight that depends on the row only; 0 outside the block.
    pub fn row_weight(&self, dy: u32) -> f64 {
        self.steps.height.weight_at(dy, 0)
    }

    /// The factor of the weight that depends on the column only; 0 outside the block.
    pub fn column_weight(&self, dx: u32) -> f64 {
        self.steps.width.weight_at(dx, self.steps.height.back as usize)
    }

    /// Writes the weights of row `dy` of frame `dt` for columns `0..weights.len()`: what
    /// [`weight`](Self::weight) gives.
    pub fn fill_weights(&self, dt: u32, dy: u32, weights: &mut [f32]) {
        self.fill(self.frame_weight(dt) * self.row_weight(dy), weights);
    }

    /// Writes [`column_weight`](Self::column_weight) for columns `0..weights.len()`. They hold for
    /// every frame and row of the block, so a stitcher may compute them once.
    pub fn fill_column_weights(&self, weights: &mut [f32]) {
        self.fill(1.0, weights);
    }

    fn fill(&self, row_weight: f64, weights: &mut [f32]) {
        let inside = weights.len().min(self.source.width as usize);
        let (inside, outside) = weights.split_at_mut(inside);
        outside.fill(0.0);
        if self.steps.width.span.depth == 0 {
            // No ramp: every column's factor is 1.
            inside.fill(row_weight as f32);
            return;
        }
        let columns = self.steps.width.weights(self.steps.height.back as usize);
        for (dx, weight) in (0u32..).zip(inside) {
            *weight = (row_weight * columns.at(dx)) as f32;
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
    /// The place of that piece among those of the axis.
    const fn piece(&self) -> u32 {
        self.span.owner - self.back
    }

    /// Where the span starts in that piece.
    fn offset(&self) -> u32 {
        let shift = self.axis.shift(self.span.owner, self.back);
        // Inside a decoded piece, whose size is u32.
        (u64::from(self.span.offset) + shift) as u32
    }

    /// The weights over the span, for that degree.
    fn weights(&self, degree: usize) -> Weights {
        let Span { owner, offset, len, .. } = self.span;
        let mut ramps = [Ramp::default(); MAX_BLEND_DEPTH as usize];
        for (k, ramp) in (0..=self.back).zip(&mut ramps) {
            let start = u64::from(offset) + self.axis.shift(owner, k);
            *ramp =
                Ramp { start, extent: self.axis.ramp_extent(owner - k), grain: self.axis.grain() };
        }
        Weights { ramps, back: self.back as usize, degree, len }
    }

    /// The weight at position `at` of the span, for that degree.
    fn weight_at(&self, at: u32, degree: usize) -> f64 {
        self.weights(degree).at(at)
    }
}

/// The ramp of one piece over a span.
#[derive(Clone, Copy, Debug, Default)]
struct Ramp {
    /// Where the span starts in the piece.
    start: u64,
    extent: u32,
    grain: u32,
}

/// What is the same for all weights of a span.
#[derive(Clone, Copy, Debug)]
struct Weights {
    /// From the last piece back.
    ramps: [Ramp; MAX_BLEND_DEPTH as usize],
    back: usize,
    degree: usize,
    len: u32,
}

impl Weights {
    /// `w_n * prod_{k<n} (1 - w_k) * h_degree(w_0 .. w_n)`, with `n` = `back` and `w_k` the ramp of
    /// the `k`-th piece before the last one, at position `at` of the span; 0 outside it.
    fn at(&self, at: u32) -> f64 {
        if at >= self.len {
            return 0.0;
        }
        let mut symmetric = [0.0; MAX_BLEND_DEPTH as usize];
        symmetric[0] = 1.0;
        let mut product = 1.0;
        for (k, ramp) in self.ramps.iter().enumerate().take(self.back + 1) {
            let w = ramp_at(ramp.extent, ramp.start + u64::from(at), ramp.grain);
            for d in 1..=self.degree {
                symmetric[d] += w * symmetric[d - 1];
            }
            product *= if k < self.back { 1.0 - w } else { w };
        }
        product * symmetric[self.degree]
    }
}
