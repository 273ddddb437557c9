//! Extents of values, and the work that follows from them.

use halovae_core::{Axes, Size, Window};

use super::{Conv, Op, Program, Reads, ValueId};
use crate::tensor::Shape;

/// The extents of every value for given latents.
#[derive(Clone, Debug)]
pub struct Geometry {
    shapes: Vec<Shape>,
}

impl Geometry {
    /// Extents for `batch` samples of `latents` cells. Sizes are those of the op geometry, so an
    /// even kernel or a stride is followed exactly.
    pub fn new(program: &Program, batch: usize, latents: Size) -> Self {
        let mut shapes = vec![Shape::new(0, 0, 0, 0); program.values.len()];
        let sample = Shape::sample(latents, program.latent_channels() as usize);
        shapes[program.input.index()] = Shape { batch, ..sample };
        for op in &program.ops {
            shapes[op.output().index()] = output_shape(program, op, &|id| shapes[id.index()]);
        }
        Self { shapes }
    }

    /// The extents of a value.
    pub fn shape(&self, id: ValueId) -> Shape {
        self.shapes[id.index()]
    }
}

/// The extents of what `op` writes, from those of what it reads; saturating where they overflow.
pub(crate) fn output_shape(program: &Program, op: &Op, shapes: &dyn Fn(ValueId) -> Shape) -> Shape {
    let (input, reads) = op.reads().next().expect("every op reads a value");
    let input = shapes(input);
    let channels = match *op {
        Op::Conv(conv) => return conv.output_shape(input),
        Op::NormStats { output, .. } => {
            return Shape::new(input.batch, program.groups(output) as usize, 1, 2);
        }
        Op::Attention { v, .. } => shapes(v).channels,
        Op::Join { first, .. } => shapes(first).channels,
        Op::Shuffle(shuffle) => shuffle.channels as usize,
        _ => input.channels,
    };
    match reads {
        Reads::Cells(windows) => Shape { channels, ..read_through(&windows, input) },
        Reads::Frame | Reads::All | Reads::FirstFrame | Reads::Statistics => {
            Shape { channels, ..input }
        }
    }
}

/// The extents of what is computed through windows.
fn read_through(windows: &Axes<Window>, input: Shape) -> Shape {
    let outputs = |window: &Window, cells: usize| {
        usize::try_from(window.outputs(cells as u64)).unwrap_or(usize::MAX)
    };
    Shape {
        frames: outputs(&windows.time, input.frames),
        height: outputs(&windows.height, input.height),
        width: outputs(&windows.width, input.width),
        ..input
    }
}

impl Conv {
    /// The extents of what the conv writes, from those of its input.
    pub fn output_shape(&self, input: Shape) -> Shape {
        Shape { channels: self.out_channels as usize, ..read_through(&self.windows, input) }
    }

    /// Multiplications and additions of the direct conv, 2 per tap, for an output of that shape;
    /// stops at `u128::MAX`.
    pub fn flops(&self, output: Shape) -> u128 {
        let Axes { time, height, width } = self.windows.map(|window| u128::from(window.kernel));
        let Shape { batch, frames, height: rows, width: columns, channels } = output;
        let per_output = 2 * time * height * width * u128::from(self.in_channels);
        // Outputs of any latents may leave u128: no device decodes that, but a caller may ask.
        let extents = [batch, frames, rows, columns, channels].map(|extent| extent as u128);
        extents.into_iter().fold(per_output, u128::saturating_mul)
    }
}

/// Multiplications and additions of attention's two products, for operands of these extents.
pub(crate) fn attention_flops(q: Shape, k: Shape, v: Shape) -> u128 {
    let positions = |shape: Shape| shape.height as u128 * shape.width as u128;
    let per_pair = 2 * (q.channels as u128 + v.channels as u128);
    // Pairs of 2^64 positions leave u128: no device decodes that, but a caller may ask.
    let factors = [q.batch as u128, q.frames as u128, positions(q), positions(k)];
    factors.into_iter().fold(per_pair, u128::saturating_mul)
}

impl Geometry {
    /// Multiplications and additions of an op at these extents: 2 per tap of a conv, and those of
    /// attention's two products; the rest is bound by memory and counts nothing.
    pub fn flops(&self, op: &Op) -> u128 {
        match *op {
            Op::Conv(conv) => conv.flops(self.shape(conv.output)),
            Op::Attention { q, k, v, .. } => {
                attention_flops(self.shape(q), self.shape(k), self.shape(v))
            }
            _ => 0,
        }
    }
}
