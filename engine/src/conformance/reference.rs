//! A backend that does the obvious thing in f64.

use halovae_core::Region;

use crate::backend::{Backend, BackendError, DeviceId, Halo, Memory, Operands, WeightSource};
use crate::program::{Conv, MemoryModel, Norm, Op, Program, ValueId, WeightId};
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
        mut operands: Operands<'_, Array>,
    ) -> Result<Array, BackendError> {
        let around = operands.take_surroundings();
        let halo = around.map(|around| (around.fetch)()).transpose()?;
        let input = operands.get(0);
        Ok(match *op {
            Op::Conv(conv) => {
                let mut window = Window::new(input, halo.as_ref());
                if let Some(norm) = conv.norm {
                    window.values = apply(&window.values, operands.get(1), norm, weights);
                }
                let mut output = convolve(&window, conv.output_shape(input.shape), &conv, weights);
                if let Some(at) = conv.residual_operand() {
                    let residual = operands.get(at);
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

    fn attend(
        &self,
        _: &Program,
        op: &Op,
        operands: Operands<'_, Array>,
        so_far: Option<ReferenceAttention>,
    ) -> Result<ReferenceAttention, BackendError> {
        let Op::Attention { scale, .. } = *op else { panic!("{op:?} is no attention") };
        let [q, k, v] = [0, 1, 2].map(|slot| operands.get(slot).clone());
        let start = ReferenceAttention { q, k: vec![], v: vec![], scale: f64::from(scale) };
        let mut attention = so_far.unwrap_or(start);
        attention.k.push(k);
        attention.v.push(v);
        Ok(attention)
    }

    fn attended(&self, attention: ReferenceAttention) -> Result<Array, BackendError> {
        let ReferenceAttention { q, k, v, scale } = attention;
        Ok(attend(&q, &joined(&k), &joined(&v), scale))
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

/// A part with what lies around it.
struct Window {
    values: Array,
    /// The part's first row and column in it.
    origin: [usize; 2],
}

impl Window {
    fn new(part: &Array, halo: Option<&Halo<Array>>) -> Self {
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
        let values = Array::from_fn(shape, |b, y, x, c| {
            let (array, y, x) = match (top, below, left, behind) {
                (Some(top), ..) if y < origin[0] => (top, y, x),
                (_, Some(below), ..) if y >= bottom => (below, y - bottom, x),
                (_, _, Some(left), _) if x < origin[1] => (left, y - origin[0], x),
                (.., Some(behind)) if x >= right => (behind, y - origin[0], x - right),
                _ => (part, y - origin[0], x - origin[1]),
            };
            array.at(b, y, x, c)
        });
        Self { values, origin }
    }

    /// The row or column of the window that tap `tap` of output `at` reads, if it is no padding.
    fn source(&self, axis: usize, conv: &Conv, at: usize, tap: usize) -> Option<usize> {
        let padding = [conv.padding().top, conv.padding().left][axis];
        let extent = [self.values.shape.height, self.values.shape.width][axis];
        let upsampled = (at * conv.stride()[axis] as usize + tap) as i64 - i64::from(padding);
        let cell = upsampled.div_euclid(i64::from(conv.upsample())) + self.origin[axis] as i64;
        usize::try_from(cell).ok().filter(|&cell| cell < extent)
    }
}

/// The outputs of a part: upsampling, padding and kernel in the coordinates of the part.
fn convolve(window: &Window, shape: Shape, conv: &Conv, weights: &[Vec<f64>]) -> Array {
    let weight = &weights[conv.weight.index()];
    let bias = conv.bias.map(|id| &weights[id.index()]);
    let [rows, columns] = conv.kernel().map(|k| k as usize);
    let input = &window.values;
    let channels = input.shape.channels;
    Array::from_fn(shape, |b, y, x, out| {
        let mut sum = bias.map_or(0.0, |bias| bias[out]);
        for i in 0..rows {
            let Some(source_y) = window.source(0, conv, y, i) else { continue };
            for j in 0..columns {
                let Some(source_x) = window.source(1, conv, x, j) else { continue };
                let start = input.index(b, source_y, source_x, 0);
                for (c, value) in input.data[start..start + channels].iter().enumerate() {
                    sum += value * weight[((out * channels + c) * rows + i) * columns + j];
                }
            }
        }
        sum
    })
}

/// Keys and values of [`Reference`]'s attention, as they came.
#[derive(Clone, Debug)]
pub struct ReferenceAttention {
    q: Array,
    k: Vec<Array>,
    v: Vec<Array>,
    scale: f64,
}

/// All positions of the blocks, one after the other, in one column.
fn joined(blocks: &[Array]) -> Array {
    let Shape { batch, channels, .. } = blocks[0].shape;
    let positions = |block: &Array| block.shape.height * block.shape.width;
    let height = blocks.iter().map(positions).sum();
    let mut joined = Array::zeros(Shape::new(batch, 0, 1, channels));
    joined.shape.height = height;
    for b in 0..batch {
        for block in blocks {
            let len = positions(block) * channels;
            joined.data.extend_from_slice(&block.data[b * len..][..len]);
        }
    }
    joined
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
