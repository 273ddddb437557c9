//! Every other op.

use super::array::Array;
use crate::backend::FrameReads;
use crate::program::{Norm, NormOver, Shuffle};
use crate::tensor::Shape;

pub(super) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

pub(super) fn statistics(input: &Array, groups: usize) -> Array {
    let Shape { batch, frames, height, width, channels } = input.shape;
    let per_group = channels / groups;
    Array::from_fn(Shape::new(batch, groups, 1, 2), |b, group, _, which| {
        let in_group = group * per_group..(group + 1) * per_group;
        let values = || {
            let images = b * frames..(b + 1) * frames;
            let rows = images.flat_map(|image| (0..height).map(move |y| (image, y)));
            let places = rows.flat_map(|(image, y)| (0..width).map(move |x| (image, y, x)));
            let in_group = &in_group;
            places.flat_map(move |(image, y, x)| {
                in_group.clone().map(move |c| input.at(image, y, x, c))
            })
        };
        let count = (frames * height * width * per_group) as f64;
        let mean = values().sum::<f64>() / count;
        match which {
            0 => mean,
            _ => values().map(|value| (value - mean).powi(2)).sum::<f64>() / count,
        }
    })
}

pub(super) fn norm(
    input: &Array,
    stats: Option<&Array>,
    norm: Norm,
    weights: &[Vec<f64>],
) -> Array {
    let Shape { frames, channels, .. } = input.shape;
    let activate = |x: f64| if norm.silu { silu(x) } else { x };
    match norm.over {
        NormOver::Groups { gamma, beta, eps, .. } => {
            let stats = stats.expect("a group norm reads statistics");
            let [gamma, beta] = [gamma, beta].map(|id| &weights[id.index()]);
            let per_group = channels / stats.shape.height;
            Array::from_fn(input.shape, |image, y, x, c| {
                let [mean, variance] =
                    [0, 1].map(|which| stats.at(image / frames, c / per_group, 0, which));
                let normed = (input.at(image, y, x, c) - mean) / (variance + f64::from(eps)).sqrt();
                activate(normed * gamma[c] + beta[c])
            })
        }
        NormOver::Channels { gamma, eps, floor } => {
            let gamma = gamma.map(|id| &weights[id.index()]);
            Array::from_fn(input.shape, |image, y, x, c| {
                let squares = (0..channels).map(|c| input.at(image, y, x, c).powi(2));
                let under_root = squares.sum::<f64>() + channels as f64 * f64::from(eps);
                let length = under_root.sqrt().max(f64::from(floor));
                let normed = input.at(image, y, x, c) * (channels as f64).sqrt() / length;
                activate(normed * gamma.map_or(1.0, |gamma| gamma[c]))
            })
        }
        NormOver::Layer { gamma, beta, eps } => {
            let [gamma, beta] = [gamma, beta].map(|id| &weights[id.index()]);
            Array::from_fn(input.shape, |image, y, x, c| {
                let values = || (0..channels).map(|c| input.at(image, y, x, c));
                let mean = values().sum::<f64>() / channels as f64;
                let squares = values().map(|value| (value - mean).powi(2)).sum::<f64>();
                let variance = squares / channels as f64;
                let normed = (input.at(image, y, x, c) - mean) / (variance + f64::from(eps)).sqrt();
                activate(normed * gamma[c] + beta[c])
            })
        }
    }
}

pub(super) fn upsample(input: &Array, factor: usize) -> Array {
    let shape = Shape {
        height: input.shape.height * factor,
        width: input.shape.width * factor,
        ..input.shape
    };
    Array::from_fn(shape, |image, y, x, c| input.at(image, y / factor, x / factor, c))
}

/// The frames that are read, each as often as it is.
pub(super) fn repeat_frames(reads: &FrameReads<'_, Array>) -> Array {
    let frames = Array::joined(reads.parts());
    Array::from_fn(frames.shape.over(reads.outputs()), |image, y, x, c| {
        let frame = reads.taps()[image * reads.kernel()];
        frame.map_or(0.0, |frame| frames.at(frame, y, x, c))
    })
}

/// Cells out of channels, by the formula; `taps` are the frames that are read. A frame that is read
/// alone, where its block has several, is the last of them.
pub(super) fn shuffle(input: &Array, shuffle: &Shuffle, taps: &[Option<usize>]) -> Array {
    let space = shuffle.space as usize;
    let shape = Shape {
        frames: taps.len(),
        height: input.shape.height * space,
        width: input.shape.width * space,
        channels: shuffle.channels as usize,
        ..input.shape
    };
    let block = shuffle.frames.factor as usize;
    let order = shuffle.order;
    Array::from_fn(shape, |image, y, x, c| {
        let Some(frame) = taps[image] else { return 0.0 };
        let first = taps.iter().position(|&tap| tap == Some(frame)).unwrap_or(image);
        let is_alone = taps.iter().filter(|&&tap| tap == Some(frame)).count() == 1;
        let i = if is_alone { block - 1 } else { image - first };
        let place = order.first as usize
            + order.channel as usize * (c % order.period as usize)
            + order.frame as usize * i
            + order.row as usize * (y % space)
            + order.column as usize * (x % space);
        input.at(frame, y / space, x / space, place / order.copies as usize)
    })
}

/// The first frame, if it is wanted, and those that lie in the channels of the rest, if there are any.
pub(super) fn join(first: Option<&Array>, rest: Option<&Array>, factor: usize) -> Array {
    let mut parts = Vec::new();
    parts.extend(first.map(|first| (first, 0..first.shape.frames)));
    let rest = rest.map(|rest| {
        let channels = rest.shape.channels / factor;
        let shape = Shape { channels, ..rest.shape }.over(rest.shape.frames * factor);
        Array::from_fn(shape, |image, y, x, c| {
            rest.at(image / factor, y, x, image % factor * channels + c)
        })
    });
    parts.extend(rest.as_ref().map(|rest| (rest, 0..rest.shape.frames)));
    Array::joined(&parts)
}

/// An attention that has seen some keys and values: as they came.
#[derive(Clone, Debug)]
pub struct ReferenceAttention {
    q: Array,
    k: Vec<Array>,
    v: Vec<Array>,
    scale: f64,
}

impl ReferenceAttention {
    pub(super) fn new(q: &Array, scale: f64) -> Self {
        Self { q: q.clone(), k: Vec::new(), v: Vec::new(), scale }
    }

    pub(super) fn with(mut self, k: &Array, v: &Array) -> Self {
        self.k.push(k.clone());
        self.v.push(v.clone());
        self
    }

    pub(super) fn finish(self) -> Array {
        attend(&self.q, &positions(&self.k), &positions(&self.v), self.scale)
    }
}

/// All positions of the blocks, one after the other, in one column of each frame.
fn positions(blocks: &[Array]) -> Array {
    let first = blocks[0].shape;
    let height = blocks.iter().map(|block| block.shape.height * block.shape.width).sum();
    let mut joined = Array { shape: Shape { height, width: 1, ..first }, data: Vec::new() };
    for image in 0..first.images() {
        for block in blocks {
            let len = block.shape.frame_len();
            joined.data.extend_from_slice(&block.data[image * len..][..len]);
        }
    }
    joined
}

/// Attention over each frame.
pub(super) fn attend(q: &Array, k: &Array, v: &Array, scale: f64) -> Array {
    let tokens = |array: &Array| array.shape.height * array.shape.width;
    let row = |array: &Array, image: usize, token: usize| {
        let channels = array.shape.channels;
        let start = (image * tokens(array) + token) * channels;
        start..start + channels
    };
    let mut output = Array::zeros(Shape { channels: v.shape.channels, ..q.shape });
    for image in 0..q.shape.images() {
        for query in 0..tokens(q) {
            let q_row = &q.data[row(q, image, query)];
            let score = |key: usize| {
                let k_row = &k.data[row(k, image, key)];
                scale * q_row.iter().zip(k_row).map(|(x, y)| x * y).sum::<f64>()
            };
            let scores: Vec<f64> = (0..tokens(k)).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exponentials: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = exponentials.iter().sum();
            let out = row(&output, image, query);
            for (key, exponential) in exponentials.iter().enumerate() {
                let values = &v.data[row(v, image, key)];
                let weight = exponential / total;
                output.data[out.clone()].iter_mut().zip(values).for_each(|(o, x)| *o += weight * x);
            }
        }
    }
    output
}
