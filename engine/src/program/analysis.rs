//! What can be known of a program without running it: extents, receptive field, work, memory.

use halovae_core::Size;

use super::{Conv2d, Liveness, MemoryModel, Op, Program, ValueId, ValueKind};
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
        let extent = |cells: u32| cells as usize;
        let mut shapes = vec![Shape::new(0, 0, 0, 0); program.values.len()];
        let (channels, _) = program.features(program.input);
        shapes[program.input.index()] =
            Shape::new(batch, extent(latents.height), extent(latents.width), channels as usize);
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
    match *op {
        Op::Conv2d(conv) => conv.output_shape(shapes(conv.input)),
        Op::NormStats { input, output } => match program.value(output).kind {
            ValueKind::Stats { groups } => Shape::new(shapes(input).batch, groups as usize, 1, 2),
            ValueKind::Features { .. } => unreachable!("norm statistics are written as such"),
        },
        Op::NormApply { input, .. } | Op::Silu { input, .. } | Op::Add { a: input, .. } => {
            shapes(input)
        }
        Op::Upsample { input, factor, .. } => {
            let shape = shapes(input);
            Shape {
                height: shape.height.saturating_mul(factor as usize),
                width: shape.width.saturating_mul(factor as usize),
                ..shape
            }
        }
        Op::Attention { q, v, .. } => Shape { channels: shapes(v).channels, ..shapes(q) },
    }
}

impl Conv2d {
    /// The extents of what the conv writes, from those of its input.
    pub fn output_shape(&self, input: Shape) -> Shape {
        let extent = |cells: usize, before: u32, behind: u32, axis: usize| {
            cells
                .saturating_mul(self.upsample as usize)
                .saturating_add(before as usize + behind as usize)
                .checked_sub(self.kernel[axis] as usize)
                .map_or(0, |room| room / self.stride[axis] as usize + 1)
        };
        let pad = self.padding;
        Shape {
            batch: input.batch,
            height: extent(input.height, pad.top, pad.bottom, 0),
            width: extent(input.width, pad.left, pad.right, 1),
            channels: self.out_channels as usize,
        }
    }

    /// Multiplications and additions of the direct conv, 2 per tap, for an output of that shape.
    pub fn flops(&self, output: Shape) -> u128 {
        let taps = u128::from(self.kernel[0]) * u128::from(self.kernel[1]);
        2 * taps
            * u128::from(self.in_channels)
            * (output.batch as u128 * output.height as u128)
            * (output.width as u128 * output.channels as u128)
    }
}

/// How far a pixel of the picture looks into the latents through convs and upsamples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// The largest distance, in latent cells, from a pixel's own cell to one that it reads.
    pub radius: u32,
    /// Whether the program also has ops that read everything (norm statistics, attention), so
    /// that even a halo of that radius is not exact.
    pub has_global_ops: bool,
}

/// Figures of a program at a size.
#[derive(Clone, Copy, Debug)]
pub struct Analysis {
    /// Multiplications and additions of convs and attention.
    pub flops: u128,
    /// Those of attention alone.
    pub attention_flops: u128,
    /// Bytes of values and workspace at the worst moment, weights not counted.
    pub peak_live_bytes: u64,
    /// Bytes of the prepared weights.
    pub weight_bytes: u64,
}

impl Analysis {
    /// Figures for one sample of `latents` cells on a backend with that memory model.
    pub fn new(program: &Program, latents: Size, model: &dyn MemoryModel) -> Self {
        let geometry = Geometry::new(program, 1, latents);
        let sum = |counts: fn(&Op) -> bool| {
            let counted = program.ops.iter().filter(|op| counts(op));
            counted.fold(0u128, |sum, op| sum.saturating_add(geometry.flops(op)))
        };
        Self {
            flops: sum(|_| true),
            attention_flops: sum(|op| matches!(op, Op::Attention { .. })),
            peak_live_bytes: Liveness::new(program).peak_bytes(program, &geometry, model),
            weight_bytes: model.prepared_weight_bytes(program),
        }
    }
}

/// Multiplications and additions of attention's two products, for operands of these extents.
pub(crate) fn attention_flops(q: Shape, k: Shape, v: Shape) -> u128 {
    let positions = |shape: Shape| shape.height as u128 * shape.width as u128;
    let per_pair = 2 * (q.channels as u128 + v.channels as u128);
    // Pairs of 2^64 positions leave u128: nobody decodes that, but anybody may ask.
    (q.batch as u128 * per_pair).saturating_mul(positions(q)).saturating_mul(positions(k))
}

impl Geometry {
    /// Multiplications and additions of an op at these extents: 2 per tap of a conv, and those of
    /// attention's two products; the rest is bound by memory and counts nothing.
    pub fn flops(&self, op: &Op) -> u128 {
        match *op {
            Op::Conv2d(conv) => conv.flops(self.shape(conv.output)),
            Op::Attention { q, k, v, .. } => {
                attention_flops(self.shape(q), self.shape(k), self.shape(v))
            }
            _ => 0,
        }
    }
}

impl ReceptiveField {
    /// Walks back from each phase of a pixel within its cell, exactly, over all paths.
    pub fn new(program: &Program) -> Self {
        let scale = i64::from(program.scale());
        let radius = (0..scale)
            .map(|phase| {
                let (low, high) = input_interval(program, phase);
                low.unsigned_abs().max(high.unsigned_abs())
            })
            .max()
            .unwrap_or(0);
        Self {
            radius: u32::try_from(radius).unwrap_or(u32::MAX),
            has_global_ops: program.ops.iter().any(Op::is_global),
        }
    }
}

/// The latent cells, relative to cell 0, that pixel `phase` of cell 0 reads through local ops.
fn input_interval(program: &Program, phase: i64) -> (i64, i64) {
    let mut reads: Vec<Option<(i64, i64)>> = vec![None; program.values.len()];
    reads[program.output.index()] = Some((phase, phase));
    let widen = |slot: &mut Option<(i64, i64)>, (low, high): (i64, i64)| {
        *slot = Some(slot.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
    };
    for op in program.ops.iter().rev() {
        let Some((low, high)) = reads[op.output().index()] else { continue };
        match *op {
            Op::Conv2d(conv) => {
                // Rows and columns have the same geometry in every decoder; the wider one counts.
                for axis in 0..2 {
                    let stride = i64::from(conv.stride[axis]);
                    let before =
                        i64::from(if axis == 0 { conv.padding.top } else { conv.padding.left });
                    let taps = i64::from(conv.kernel[axis]) - 1;
                    let factor = i64::from(conv.upsample);
                    let first = (low * stride - before).div_euclid(factor);
                    let last = (high * stride - before + taps).div_euclid(factor);
                    widen(&mut reads[conv.input.index()], (first, last));
                }
                if let Some(residual) = conv.residual {
                    widen(&mut reads[residual.index()], (low, high));
                }
            }
            Op::Upsample { input, factor, .. } => {
                let factor = i64::from(factor);
                let interval = (low.div_euclid(factor), high.div_euclid(factor));
                widen(&mut reads[input.index()], interval);
            }
            Op::NormApply { input, .. } | Op::Silu { input, .. } => {
                widen(&mut reads[input.index()], (low, high));
            }
            Op::Add { a, b, .. } => {
                widen(&mut reads[a.index()], (low, high));
                widen(&mut reads[b.index()], (low, high));
            }
            Op::Attention { q, k, v, .. } => {
                for id in [q, k, v] {
                    widen(&mut reads[id.index()], (low, high));
                }
            }
            Op::NormStats { .. } => {}
        }
    }
    reads[program.input.index()].unwrap_or((0, 0))
}
