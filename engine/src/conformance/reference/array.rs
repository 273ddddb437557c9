//! Tensors of the reference: f64, channels last.

use std::ops::Range;

use crate::tensor::Shape;

/// A value of the [`Reference`](super::Reference).
#[derive(Clone, Debug)]
pub struct Array {
    pub(super) shape: Shape,
    pub(super) data: Vec<f64>,
}

impl Array {
    pub(super) fn zeros(shape: Shape) -> Self {
        Self { shape, data: vec![0.0; shape.images() * shape.frame_len()] }
    }

    /// Where a position's channel lies; `image` counts the frames of all samples.
    pub(super) fn index(&self, image: usize, y: usize, x: usize, c: usize) -> usize {
        ((image * self.shape.height + y) * self.shape.width + x) * self.shape.channels + c
    }

    pub(super) fn at(&self, image: usize, y: usize, x: usize, c: usize) -> f64 {
        self.data[self.index(image, y, x, c)]
    }

    /// Makes each element from its place.
    pub(super) fn from_fn(
        shape: Shape,
        mut value: impl FnMut(usize, usize, usize, usize) -> f64,
    ) -> Self {
        let mut array = Self::zeros(shape);
        let mut index = 0;
        for image in 0..shape.images() {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    for c in 0..shape.channels {
                        array.data[index] = value(image, y, x, c);
                        index += 1;
                    }
                }
            }
        }
        array
    }

    /// The same with each element changed.
    pub(super) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape, data: self.data.iter().map(|&value| change(value)).collect() }
    }

    /// Frames of one sample, one behind the other.
    pub(super) fn joined(parts: &[(&Self, Range<usize>)]) -> Self {
        let mut data = Vec::new();
        for (part, frames) in parts {
            let len = part.shape.frame_len();
            data.extend_from_slice(&part.data[frames.start * len..frames.end * len]);
        }
        let frames = parts.iter().map(|(_, frames)| frames.len()).sum();
        let shape = parts[0].0.shape;
        assert!(shape.batch == 1, "frames of one sample");
        Self { shape: shape.over(frames), data }
    }
}
