//! From rows to whole frames, as an encoder takes them.

use std::io;

use halovae_engine::sink::ROWS_AT_ONCE;
use halovae_engine::tensor::Shape;

use super::planes::{Planes, Samples};
use crate::buffer;
use crate::pixel::{self, Depth};

/// How a frame lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Luma and chroma, plane by plane.
    Planes(Samples),
    /// Pixel by pixel, of the decoder's channels; 16 bits in big endian.
    Pixels(Depth),
}

impl Layout {
    /// Bytes of a frame.
    pub(crate) fn frame_bytes(self, shape: Shape) -> u64 {
        match self {
            Self::Planes(samples) => samples.frame_bytes(shape).unwrap_or(u64::MAX),
            Self::Pixels(depth) => (shape.frame_len() as u64).saturating_mul(depth.bytes() as u64),
        }
    }
}

/// Bytes that are held to make frames of `shape` from rows of `from`: a frame, and the rows that are
/// padded.
pub(crate) fn bytes(from: Shape, shape: Shape, layout: Layout) -> u64 {
    layout.frame_bytes(shape).saturating_add(padded_values(from, shape).saturating_mul(4))
}

/// Values of rows that come together, padded.
fn padded_values(from: Shape, shape: Shape) -> u64 {
    let rows = ROWS_AT_ONCE as usize + 1;
    match from == shape {
        true => 0,
        false => Shape { height: rows.min(shape.height), ..shape }.frame_len() as u64,
    }
}

/// Makes frames of rows.
#[derive(Debug)]
pub(crate) struct Frames {
    /// As rows come.
    from: Shape,
    /// As frames are.
    shape: Shape,
    rows: usize,
    padded: Vec<f32>,
    maker: Maker,
}

#[derive(Debug)]
enum Maker {
    Planes(Planes),
    Pixels { depth: Depth, bytes: Vec<u8> },
}

/// The extents with even sides.
pub(crate) fn even(shape: Shape) -> Shape {
    let Shape { height, width, .. } = shape;
    Shape { height: height.next_multiple_of(2), width: width.next_multiple_of(2), ..shape }
}

impl Frames {
    /// Those of a video of the extents `from`, repeating the last column and row up to those of `shape`.
    ///
    /// # Errors
    /// That there is no memory for a frame.
    pub(crate) fn new(from: Shape, shape: Shape, layout: Layout) -> io::Result<Self> {
        let maker = match layout {
            Layout::Planes(samples) => Maker::Planes(Planes::new(shape, samples)?),
            Layout::Pixels(depth) => {
                let bytes = buffer::reserve(layout.frame_bytes(shape), "a frame")?;
                Maker::Pixels { depth, bytes }
            }
        };
        let padded = buffer::reserve(padded_values(from, shape), "padded rows")?;
        Ok(Self { from, shape, rows: 0, padded, maker })
    }

    /// Takes rows from top to bottom. Returns the frame when it is complete; the next rows are the
    /// next frame's. `None` within the result if there were more rows than it has.
    pub(crate) fn push(&mut self, rows: &[f32]) -> Option<Option<&[u8]>> {
        let Self { from, shape, padded, maker, .. } = self;
        let row_values = from.width * from.channels;
        let is_first = self.rows == 0;
        self.rows += rows.len() / row_values;
        let is_last = self.rows == from.height;
        if self.rows > from.height {
            return None;
        }
        if is_last {
            self.rows = 0;
        }
        if from == shape {
            return maker.push(rows, is_first, is_last);
        }
        padded.clear();
        for row in rows.chunks_exact(row_values) {
            padded.extend_from_slice(row);
            for _ in from.width..shape.width {
                padded.extend_from_slice(&row[row_values - from.channels..]);
            }
        }
        if is_last {
            let last = padded.len() - shape.width * shape.channels..padded.len();
            for _ in from.height..shape.height {
                padded.extend_from_within(last.clone());
            }
        }
        maker.push(padded, is_first, is_last)
    }
}

impl Maker {
    fn push(&mut self, rows: &[f32], is_first: bool, is_last: bool) -> Option<Option<&[u8]>> {
        match self {
            Self::Planes(planes) => planes.push(rows),
            Self::Pixels { depth, bytes } => {
                if is_first {
                    bytes.clear();
                }
                pixel::extend(bytes, rows, *depth);
                Some(is_last.then_some(bytes.as_slice()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::planes::Siting;
    use super::*;

    proptest::proptest! {
        /// Each pixel of a padded frame is that of the nearest place in the frame.
        #[test]
        fn padding_repeats_edges(
            height in 1usize..6,
            width in 1usize..6,
            channels in proptest::sample::select(vec![1usize, 3]),
            portion in 1usize..4,
            is_planes: bool,
        ) {
            let from = Shape::new(1, height, width, channels);
            let shape = even(from);
            proptest::prop_assert!(shape.height.is_multiple_of(2) && shape.height - height < 2);
            proptest::prop_assert!(shape.width.is_multiple_of(2) && shape.width - width < 2);
            let layout = match is_planes {
                true => Layout::Planes(Samples { bits: 8, siting: Siting::Left, fills_gray: true }),
                false => Layout::Pixels(Depth::Sixteen),
            };
            let value = |frame: usize, y: usize, x: usize, c: usize| {
                ((frame * 61 + y * 37 + x * 11 + c * 5) % 97) as f32 / 48.0 - 1.0
            };
            let frame = |frame: usize, shape: Shape| -> Vec<f32> {
                let places = (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x)));
                let places = places.flat_map(|(y, x)| (0..channels).map(move |c| (y, x, c)));
                places.map(|(y, x, c)| value(frame, y.min(height - 1), x.min(width - 1), c)).collect()
            };
            let mut frames = Frames::new(from, shape, layout).unwrap();
            for number in 0..2 {
                let rows = frame(number, from);
                let mut made = Vec::new();
                for rows in rows.chunks(portion * width * channels) {
                    made.extend(frames.push(rows).unwrap().map(<[u8]>::to_vec));
                }
                let mut whole = Frames::new(shape, shape, layout).unwrap();
                let expected = whole.push(&frame(number, shape)).unwrap().unwrap().to_vec();
                proptest::prop_assert_eq!(made, vec![expected]);
            }
            let too_many = vec![0.0; (height + 1) * width * channels];
            proptest::prop_assert!(frames.push(&too_many).is_none());
        }
    }
}
