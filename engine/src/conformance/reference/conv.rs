//! Convolutions.

use halovae_core::Axis;

use super::array::Array;
use crate::backend::Halo;
use crate::program::Conv;
use crate::tensor::Shape;

/// A part with what lies around it.
pub(super) struct Around {
    pub(super) values: Array,
    /// The part's first row and column in it.
    origin: [usize; 2],
}

impl Around {
    pub(super) fn new(part: &Array, halo: Option<&Halo<Array>>) -> Self {
        let Some(Halo { top, bottom: below, left, right: behind, .. }) = halo else {
            return Self { values: part.clone(), origin: [0, 0] };
        };
        let height = |strip: &Option<Array>| strip.as_ref().map_or(0, |strip| strip.shape.height);
        let width = |strip: &Option<Array>| strip.as_ref().map_or(0, |strip| strip.shape.width);
        let origin = [height(top), width(left)];
        let shape = Shape {
            height: origin[0] + part.shape.height + height(below),
            width: origin[1] + part.shape.width + width(behind),
            ..part.shape
        };
        let bottom = origin[0] + part.shape.height;
        let right = origin[1] + part.shape.width;
        let values = Array::from_fn(shape, |image, y, x, c| {
            let (array, y, x) = match (top, below, left, behind) {
                (Some(top), ..) if y < origin[0] => (top, y, x),
                (_, Some(below), ..) if y >= bottom => (below, y - bottom, x),
                (_, _, Some(left), _) if x < origin[1] => (left, y - origin[0], x),
                (.., Some(behind)) if x >= right => (behind, y - origin[0], x - right),
                _ => (part, y - origin[0], x - origin[1]),
            };
            array.at(image, y, x, c)
        });
        Self { values, origin }
    }

    /// The row or column that tap `tap` of output `at` reads, if it is not zero.
    fn source(&self, axis: Axis, conv: &Conv, at: usize, tap: usize) -> Option<usize> {
        let shape = self.values.shape;
        let (extent, origin) = match axis {
            Axis::Width => (shape.width, self.origin[1]),
            _ => (shape.height, self.origin[0]),
        };
        let window = &conv.windows[axis];
        let (extent, origin, repeat) = (extent as i64, origin as i64, i64::from(window.repeat));
        // Padding comes after repeats: a reflection of doubled cells has its first one once.
        let repeated = -origin * repeat..(extent - origin) * repeat;
        let tap = window.first(at as i64) + tap as i64;
        let cell = conv.edges[axis].cell(tap, &repeated)?;
        usize::try_from(window.cell(cell) + origin).ok()
    }
}

/// The outputs of a part: repeats, padding and kernel in the coordinates of the part. `taps` gives,
/// for a frame of the output and a tap in time, the frame that it reads, if it is not zero.
pub(super) fn convolve(
    around: &Around,
    shape: Shape,
    conv: &Conv,
    weights: &[Vec<f64>],
    taps: impl Fn(usize, usize) -> Option<usize>,
) -> Array {
    let weight = &weights[conv.weight.index()];
    let bias = conv.bias.map(|id| &weights[id.index()]);
    let [frames, rows, columns] = Axis::ALL.map(|axis| conv.windows[axis].kernel as usize);
    let input = &around.values;
    let channels = input.shape.channels;
    Array::from_fn(shape, |image, y, x, out| {
        let mut sum = bias.map_or(0.0, |bias| bias[out]);
        for t in 0..frames {
            let Some(source) = taps(image, t) else { continue };
            for i in 0..rows {
                let Some(source_y) = around.source(Axis::Height, conv, y, i) else { continue };
                for j in 0..columns {
                    let Some(source_x) = around.source(Axis::Width, conv, x, j) else { continue };
                    let start = input.index(source, source_y, source_x, 0);
                    for (c, value) in input.data[start..start + channels].iter().enumerate() {
                        let tap = (((out * channels + c) * frames + t) * rows + i) * columns + j;
                        sum += value * weight[tap];
                    }
                }
            }
        }
        sum
    })
}
