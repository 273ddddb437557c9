//! A backend that does the obvious thing in f64.

mod array;
mod conv;
mod ops;

use std::ops::Range;

use halovae_core::Region;

use crate::backend::{Backend, BackendError, DeviceId, Memory, Operands, WeightSource};
use crate::program::{FrameRepeat, MemoryModel, Op, Program, ValueId};
use crate::tensor::{HostTensor, Shape};
pub use array::Array;
use conv::{Around, convolve};
pub use ops::ReferenceAttention;

/// The oracle: every op as its definition says, in f64, one element at a time. It supports every
/// fusion, by doing its parts one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl MemoryModel for Reference {
    fn in_place(&self, _: &Program, _: &Op) -> Option<ValueId> {
        None
    }

    fn workspace_bytes(&self, _: &Program, _: &Op, _: &dyn Fn(ValueId) -> Shape) -> u64 {
        0
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        2 * program.weight_bytes()
    }
}

impl Backend for Reference {
    type Tensor = Array;
    type Weights = Vec<Vec<f64>>;
    /// Queries, and all keys and values so far.
    type Attention = ReferenceAttention;

    fn name(&self) -> &'static str {
        "reference"
    }

    fn device(&self) -> DeviceId {
        DeviceId { backend: self.name(), index: 0 }
    }

    fn description(&self) -> String {
        "f64 reference".into()
    }

    fn supports(&self, _: &Program, _: &Op) -> bool {
        true
    }

    fn prepare(
        &self,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self::Weights, BackendError> {
        let load = |spec: &crate::program::WeightSpec| {
            let mut values = vec![0.0; spec.elements()];
            source.load(spec, &mut values)?;
            Ok(values.into_iter().map(f64::from).collect())
        };
        program.weights().iter().map(load).collect()
    }

    fn upload(&self, tensor: &HostTensor) -> Result<Array, BackendError> {
        let data = tensor.data().iter().copied().map(f64::from).collect();
        Ok(Array { shape: tensor.shape(), data })
    }

    fn download(&self, array: &Array, region: Region) -> Result<HostTensor, BackendError> {
        let [first, top, left] = [region.first, region.top, region.left].map(|at| at as usize);
        let Shape { batch, frames, channels, .. } = array.shape;
        let sample = Shape::sample(region.size(), channels);
        let cut = Array::from_fn(Shape { batch, ..sample }, |image, y, x, c| {
            let (sample, t) = (image / region.frames as usize, image % region.frames as usize);
            array.at(sample * frames + first + t, top + y, left + x, c)
        });
        let data = cut.data.into_iter().map(|value| value as f32).collect();
        Ok(HostTensor::new(cut.shape, data).expect("one element for each place"))
    }

    fn holds_frames(&self) -> bool {
        true
    }

    fn gather(&self, parts: &[(&Array, Range<usize>)]) -> Result<Array, BackendError> {
        Ok(Array::joined(parts))
    }

    fn shape(&self, array: &Array) -> Shape {
        array.shape
    }

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &Self::Weights,
        mut operands: Operands<'_, Array>,
    ) -> Result<Array, BackendError> {
        let around = operands.take_surroundings();
        let halo = around.map(|around| (around.fetch)()).transpose()?;
        Ok(match *op {
            Op::Conv(conv) => {
                let frames = (!conv.is_framewise()).then(|| operands.frames());
                let joined = frames.map(|frames| Array::joined(frames.parts()));
                let input = joined.as_ref().unwrap_or_else(|| operands.get(0));
                let stats = conv.norm.and_then(|norm| norm.stats()).map(|_| operands.get(1));
                let mut around = Around::new(input, halo.as_ref());
                if let Some(norm) = conv.norm {
                    around.values = ops::norm(&around.values, stats, norm, weights);
                }
                let shape = conv.output_shape(input.shape);
                let mut output = match frames {
                    Some(reads) => {
                        let shape = shape.over(reads.outputs());
                        let taps =
                            |image: usize, tap: usize| reads.taps()[image * reads.kernel() + tap];
                        convolve(&around, shape, &conv, weights, taps)
                    }
                    None => convolve(&around, shape, &conv, weights, |image, _| Some(image)),
                };
                if let Some(at) = conv.residual_operand() {
                    let residual = operands.get(at);
                    assert_eq!(residual.shape, output.shape, "residual of another shape");
                    output.data.iter_mut().zip(&residual.data).for_each(|(o, r)| *o += r);
                }
                output
            }
            Op::NormStats { output, .. } => {
                ops::statistics(operands.get(0), program.groups(output) as usize)
            }
            Op::NormApply { norm, .. } => {
                ops::norm(operands.get(0), operands.try_get(1), norm, weights)
            }
            Op::Silu { .. } => operands.get(0).map(ops::silu),
            Op::Clamp { low, high, .. } => {
                operands.get(0).map(|x| x.clamp(f64::from(low), f64::from(high)))
            }
            Op::Upsample { factor, frames, .. } => {
                let repeated =
                    (frames != FrameRepeat::NONE).then(|| ops::repeat_frames(operands.frames()));
                let input = repeated.as_ref().unwrap_or_else(|| operands.get(0));
                ops::upsample(input, factor as usize)
            }
            Op::Add { .. } => {
                let input = operands.get(0);
                let sums = input.data.iter().zip(&operands.get(1).data).map(|(a, b)| a + b);
                Array { shape: input.shape, data: sums.collect() }
            }
            Op::Join { factor, .. } => {
                ops::join(operands.try_get(1), operands.try_get(0), factor as usize)
            }
            Op::Shuffle(shuffle) => match shuffle.frames == FrameRepeat::NONE {
                false => {
                    let reads = operands.frames();
                    ops::shuffle(&Array::joined(reads.parts()), &shuffle, reads.taps())
                }
                true => {
                    // All images as frames of one sample.
                    let Array { shape, data } = operands.get(0).clone();
                    let own: Vec<_> = (0..shape.images()).map(Some).collect();
                    let frames = Shape { batch: 1, frames: own.len(), ..shape };
                    let all = ops::shuffle(&Array { shape: frames, data }, &shuffle, &own);
                    let Shape { batch, frames, .. } = shape;
                    Array { shape: Shape { batch, frames, ..all.shape }, ..all }
                }
            },
            Op::Attention { scale, .. } => {
                let [q, k, v] = [0, 1, 2].map(|at| operands.get(at));
                ops::attend(q, k, v, f64::from(scale))
            }
        })
    }

    fn attend(
        &self,
        _: &Program,
        op: &Op,
        operands: Operands<'_, Array>,
        so_far: Option<ReferenceAttention>,
    ) -> Result<ReferenceAttention, BackendError> {
        let Op::Attention { scale, .. } = *op else { panic!("{op:?} is no attention") };
        let [q, k, v] = [0, 1, 2].map(|slot| operands.get(slot));
        let so_far = so_far.unwrap_or_else(|| ReferenceAttention::new(q, f64::from(scale)));
        Ok(so_far.with(k, v))
    }

    fn attended(&self, attention: ReferenceAttention) -> Result<Array, BackendError> {
        Ok(attention.finish())
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }

    fn reset_peak(&self) {}
}
