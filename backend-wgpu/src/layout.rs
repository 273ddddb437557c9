//! How a value lies in buffers: channels last, channels filled up to fours, whole rows in chunks.

use std::ops::Range;

use halovae_engine::tensor::Shape;

/// What an element is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
}

impl Element {
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
        }
    }
}

/// Where the elements of a value are.
///
/// Row `y` of sample `b` is row `b * height + y` of the value. A row is `width` positions of
/// `quads` times four channels, those beyond the last channel being zero. Rows are shared out over
/// chunks, all with as many but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) element: Element,
    pub(crate) rows: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Fours of channels.
    pub(crate) quads: usize,
    /// Rows of each chunk but the last.
    pub(crate) chunk_rows: usize,
}

/// Rows of one sample that lie in one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) chunk: usize,
    /// The first row within the chunk.
    pub(crate) at: usize,
    /// The rows of the sample.
    pub(crate) rows: Range<usize>,
}

impl Layout {
    /// The layout of a value, no chunk of which has more than `chunk_bytes`, as long as a single
    /// row has not.
    pub(crate) fn new(shape: Shape, element: Element, chunk_bytes: u64) -> Self {
        let quads = shape.channels.div_ceil(4);
        let rows = shape.batch.saturating_mul(shape.height);
        let mut layout =
            Self { element, rows, height: shape.height, width: shape.width, quads, chunk_rows: 1 };
        let fit = (chunk_bytes / layout.row_bytes().max(1)).max(1);
        layout.chunk_rows = usize::try_from(fit).unwrap_or(usize::MAX).min(rows.max(1));
        layout
    }

    /// Bytes of four channels.
    pub(crate) fn quad_bytes(&self) -> u64 {
        4 * self.element.bytes()
    }

    pub(crate) fn row_bytes(&self) -> u64 {
        (self.width as u64).saturating_mul(self.quads as u64).saturating_mul(self.quad_bytes())
    }

    pub(crate) fn checked_bytes(&self) -> Option<u64> {
        let quads = (self.width as u64).checked_mul(self.quads as u64)?;
        quads.checked_mul(self.quad_bytes())?.checked_mul(self.rows as u64)
    }

    pub(crate) fn chunks(&self) -> usize {
        self.rows.div_ceil(self.chunk_rows)
    }

    /// The rows of a chunk, counted over all samples.
    pub(crate) fn chunk(&self, at: usize) -> Range<usize> {
        at * self.chunk_rows..((at + 1) * self.chunk_rows).min(self.rows)
    }

    pub(crate) fn chunk_bytes(&self, at: usize) -> u64 {
        self.chunk(at).len() as u64 * self.row_bytes()
    }

    /// Where rows of a sample lie, in their order.
    pub(crate) fn runs(
        &self,
        sample: usize,
        rows: Range<usize>,
    ) -> impl Iterator<Item = Run> + use<> {
        let layout = *self;
        let offset = sample * self.height;
        let mut next = rows.start;
        std::iter::from_fn(move || {
            if next >= rows.end {
                return None;
            }
            let chunk = (offset + next) / layout.chunk_rows;
            let held = layout.chunk(chunk);
            let end = rows.end.min(held.end - offset);
            let run = Run { chunk, at: offset + next - held.start, rows: next..end };
            next = end;
            Some(run)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_every_row_once_and_stay_in_their_chunk() {
        for chunk_bytes in [1, 100, 16 * 7 * 3, 16 * 7 * 5, 1 << 20] {
            let layout = Layout::new(Shape::new(3, 11, 7, 3), Element::F32, chunk_bytes);
            let mut covered = 0;
            for sample in 0..3 {
                for run in layout.runs(sample, 0..11) {
                    let chunk = layout.chunk(run.chunk);
                    assert_eq!(chunk.start + run.at, covered);
                    covered += run.rows.len();
                    assert!(covered <= chunk.end && !run.rows.is_empty());
                }
            }
            assert_eq!(covered, 33);
            let bytes: u64 = (0..layout.chunks()).map(|at| layout.chunk_bytes(at)).sum();
            assert_eq!(Some(bytes), layout.checked_bytes());
        }
    }
}
