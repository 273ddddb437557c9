//! A backend that does the obvious thing in f64.

use halovae_core::Rect;

use crate::backend::{Backend, BackendError, DeviceId, Memory, Operands, WeightSource};
use crate::program::{Conv2d, MemoryModel, Norm, Op, Program, ValueId, WeightId};
use crate::tensor::{HostTensor, Shape};

/// The oracle: every op as its definition says, in f64, one element at a time. It supports every
/// fusion, by doing its parts one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// A value of the [`Reference`].
#[derive(Clone, Debug)]
pub struct Array {
    shape: Shape,
    data: Vec<f64>,
}

impl Array {
    fn zeros(shape: Shape) -> Self {
        let elements = shape.batch * shape.height * shape.width * shape.channels;
        Self { shape, data: vec![0.0; elements] }
    }

    fn index(&self, b: usize, y: usize, x: usize, c: usize) -> usize {
        ((b * self.shape.height + y) * self.shape.width + x) * self.shape.channels + c
    }

    fn at(&self, b: usize, y: usize, x: usize, c: usize) -> f64 {
        self.data[self.index(b, y, x, c)]
    }

    /// Makes each element from its place.
    fn from_fn(shape: Shape, mut value: impl FnMut(usize, usize, usize, usize) -> f64) -> Self {
        let mut array = Self::zeros(shape);
        let mut index = 0;
        for b in 0..shape.batch {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    for c in 0..shape.channels {
                        array.data[index] = value(b, y, x, c);
                        index += 1;
                    }
                }
            }
        }
        array
    }
}

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

    fn download(&self, array: &Array, region: Rect) -> Result<HostTensor, BackendError> {
        let [top, left] = [region.top as usize, region.left as usize];
        let [height, width] = [region.height as usize, region.width as usize];
        let shape = Shape { height, width, ..array.shape };
        let cut = Array::from_fn(shape, |b, y, x, c| array.at(b, top + y, left + x, c));
        let data = cut.data.into_iter().map(|value| value as f32).collect();
        Ok(HostTensor::new(shape, data).expect("one element for each place"))
    }

    fn shape(&self, array: &Array) -> Shape {
        array.shape
    }

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &Self::Weights,
        operands: Operands<'_, Array>,
    ) -> Result<Array, BackendError> {
        let input = operands.get(0);
        Ok(match *op {
            Op::Conv2d(conv) => {
                let normed = conv.norm.map(|norm| apply(input, operands.get(1), norm, weights));
                let upsampled = upsample(normed.as_ref().unwrap_or(input), conv.upsample as usize);
                let mut output = convolve(&upsampled, &conv, weights);
                if conv.residual.is_some() {
                    let residual = operands.get(1 + usize::from(conv.norm.is_some()));
                    assert_eq!(residual.shape, output.shape, "residual of another shape");
                    output.data.iter_mut().zip(&residual.data).for_each(|(o, r)| *o += r);
                }
                output
            }
            Op::NormStats { output, .. } => statistics(input, program.groups(output) as usize),
            Op::NormApply { norm, .. } => apply(input, operands.get(1), norm, weights),
            Op::Silu { .. } => {
                Array { shape: input.shape, data: input.data.iter().map(|&x| silu(x)).collect() }
            }
            Op::Upsample { factor, .. } => upsample(input, factor as usize),
            Op::Add { .. } => {
                let sums = input.data.iter().zip(&operands.get(1).data).map(|(a, b)| a + b);
                Array { shape: input.shape, data: sums.collect() }
            }
            Op::Attention { scale, .. } => {
                attend(input, operands.get(1), operands.get(2), f64::from(scale))
            }
        })
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }

    fn reset_peak(&self) {}
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn statistics(input: &Array, groups: usize) -> Array {
    let Shape { batch, height, width, channels } = input.shape;
    let per_group = channels / groups;
    Array::from_fn(Shape::new(batch, groups, 1, 2), |b, group, _, which| {
        let places = || {
            (0..height).flat_map(move |y| {
                (0..width).flat_map(move |x| {
                    (group * per_group..(group + 1) * per_group).map(move |c| (y, x, c))
                })
            })
        };
        let count = (height * width * per_group) as f64;
        let mean = places().map(|(y, x, c)| input.at(b, y, x, c)).sum::<f64>() / count;
        if which == 0 {
            return mean;
        }
        places().map(|(y, x, c)| (input.at(b, y, x, c) - mean).powi(2)).sum::<f64>() / count
    })
}

fn apply(input: &Array, stats: &Array, norm: Norm, weights: &[Vec<f64>]) -> Array {
    let per_group = input.shape.channels / stats.shape.height;
    let [gamma, beta] = [norm.gamma, norm.beta].map(|id: WeightId| &weights[id.index()]);
    Array::from_fn(input.shape, |b, y, x, c| {
        let group = c / per_group;
        let [mean, variance] = [0, 1].map(|which| stats.at(b, group, 0, which));
        let normed = (input.at(b, y, x, c) - mean) / (variance + f64::from(norm.eps)).sqrt();
        let affine = normed * gamma[c] + beta[c];
        if norm.silu { silu(affine) } else { affine }
    })
}

fn upsample(input: &Array, factor: usize) -> Array {
    let shape = Shape {
        height: input.shape.height * factor,
        width: input.shape.width * factor,
        ..input.shape
    };
    Array::from_fn(shape, |b, y, x, c| input.at(b, y / factor, x / factor, c))
}

fn convolve(input: &Array, conv: &Conv2d, weights: &[Vec<f64>]) -> Array {
    let plain = Conv2d { upsample: 1, ..*conv };
    let weight = &weights[conv.weight.index()];
    let bias = conv.bias.map(|id| &weights[id.index()]);
    let [rows, columns] = conv.kernel.map(|k| k as usize);
    let [stride_y, stride_x] = conv.stride.map(|s| s as usize);
    let inside = |at: usize, tap: usize, stride: usize, pad: u32, extent: usize| {
        (at * stride + tap).checked_sub(pad as usize).filter(|&source| source < extent)
    };
    let Shape { height, width, channels, .. } = input.shape;
    Array::from_fn(plain.output_shape(input.shape), |b, y, x, out| {
        let mut sum = bias.map_or(0.0, |bias| bias[out]);
        for i in 0..rows {
            let Some(source_y) = inside(y, i, stride_y, conv.padding.top, height) else { continue };
            for j in 0..columns {
                let Some(source_x) = inside(x, j, stride_x, conv.padding.left, width) else {
                    continue;
                };
                let start = input.index(b, source_y, source_x, 0);
                for (c, value) in input.data[start..start + channels].iter().enumerate() {
                    sum += value * weight[((out * channels + c) * rows + i) * columns + j];
                }
            }
        }
        sum
    })
}

fn attend(q: &Array, k: &Array, v: &Array, scale: f64) -> Array {
    let tokens = |array: &Array| array.shape.height * array.shape.width;
    let row = |array: &Array, b: usize, token: usize| {
        let channels = array.shape.channels;
        let start = (b * tokens(array) + token) * channels;
        start..start + channels
    };
    let mut output = Array::zeros(Shape { channels: v.shape.channels, ..q.shape });
    for b in 0..q.shape.batch {
        for query in 0..tokens(q) {
            let q_row = &q.data[row(q, b, query)];
            let score = |key: usize| {
                let k_row = &k.data[row(k, b, key)];
                scale * q_row.iter().zip(k_row).map(|(x, y)| x * y).sum::<f64>()
            };
            let scores: Vec<f64> = (0..tokens(k)).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exponentials: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = exponentials.iter().sum();
            let out = row(&output, b, query);
            for (key, exponential) in exponentials.iter().enumerate() {
                let values = &v.data[row(v, b, key)];
                let weight = exponential / total;
                output.data[out.clone()].iter_mut().zip(values).for_each(|(o, x)| *o += weight * x);
            }
        }
    }
    output
}
