//! A decoder as data: a flat list of ops over numbered values.
//!
//! A program holds names and shapes of weights, never the weights. It is built once from a
//! checkpoint's config ([`crate::model`]), fused for a backend ([`fuse`]), analysed
//! ([`Analysis`], [`Liveness`]) and run by [`crate::execute`].

mod analysis;
mod builder;
mod fold;
mod fuse;
mod geometry;
mod held;
mod liveness;
mod model;
mod op;
mod peak;
mod reach;
mod reads;
mod shuffle;
mod timeline;

use std::collections::BTreeSet;

use halovae_core::Scale;

pub use analysis::{Analysis, ReceptiveField};
pub use builder::{MOST_FRAMES, ProgramBuilder};
pub use fold::fold_single_frame;
pub use fuse::fuse;
pub use geometry::Geometry;
pub(crate) use geometry::attention_flops;
pub(crate) use held::Held;
pub use liveness::{Liveness, MemoryModel};
pub use model::Model;
pub use op::{Conv, Edge, FrameRepeat, Norm, NormOver, Op};
pub use peak::peak_bytes;
pub use reach::Reach;
pub use reads::Reads;
pub use shuffle::{ChannelOrder, Shuffle};
pub(crate) use timeline::chunks;
pub use timeline::{Step, StepRead, Timeline, frames_at_once, taps};

/// Names a value of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) u32);

/// Names a weight of a program, as one op reads it: no other op does. Where a model reads a tensor of
/// its checkpoint several times, each reading has an id, so backends prepare a conv's kernel by its id
/// alone, and a pass may say what part of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeightId(pub(crate) u32);

impl ValueId {
    /// Its place in [`Program::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl WeightId {
    /// Its place in [`Program::weights`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A feature map.
    Features {
        /// Channels.
        channels: u32,
        /// How its cells lie on those of the latents.
        scale: Scale,
    },
    /// Group norm statistics: per sample and group the mean and the biased variance, in f32.
    Stats {
        /// Groups.
        groups: u32,
    },
}

/// A value: its kind, and a name for errors and tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The module that makes it, as in the checkpoint's key names.
    pub name: String,
    /// What it is.
    pub kind: ValueKind,
}

/// A weight that the program wants from a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSpec {
    /// The canonical (diffusers) name.
    pub name: String,
    /// The extents in the checkpoint; a 1x1 conv that the checkpoint keeps as a linear layer has
    /// two, `[out, in]`, whose memory is that of `[out, in, 1, 1]`.
    pub shape: Vec<usize>,
    /// Which part of it is wanted.
    pub part: WeightPart,
}

/// The part of a checkpoint's tensor that a weight is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightPart {
    /// All of it.
    #[default]
    Whole,
    /// One of `of` equal parts of the first axis: queries, keys or values of a fused projection.
    Share {
        /// Which one, from 0 on.
        index: usize,
        /// How many there are.
        of: usize,
    },
    /// The sum over taps `from..to` of the third axis: a conv over time on a single frame.
    Taps {
        /// The first tap.
        from: usize,
        /// The tap behind the last.
        to: usize,
    },
}

impl WeightSpec {
    /// A whole tensor of the checkpoint.
    pub fn whole(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into(), part: WeightPart::Whole }
    }

    /// How many elements the part has.
    pub fn elements(&self) -> usize {
        let all = self.shape.iter().product::<usize>();
        match self.part {
            WeightPart::Whole => all,
            WeightPart::Share { of, .. } => all / of,
            WeightPart::Taps { .. } => all / self.shape[2],
        }
    }

    /// Makes the part of the elements of the whole tensor.
    pub fn take(&self, whole: &[f32], out: &mut [f32]) {
        match self.part {
            WeightPart::Whole => out.copy_from_slice(whole),
            WeightPart::Share { index, .. } => {
                out.copy_from_slice(&whole[index * out.len()..][..out.len()]);
            }
            WeightPart::Taps { from, to } => {
                let (taps, of_tap) = (self.shape[2], self.shape[3..].iter().product::<usize>());
                let pairs = whole.chunks_exact(taps * of_tap);
                for (sums, pair) in out.chunks_exact_mut(of_tap).zip(pairs) {
                    sums.fill(0.0);
                    for tap in pair[from * of_tap..to * of_tap].chunks_exact(of_tap) {
                        sums.iter_mut().zip(tap).for_each(|(sum, value)| *sum += value);
                    }
                }
            }
        }
    }
}

/// A decoder: ops in the order in which they run, each value written once before it is read.
///
/// Only [`ProgramBuilder`] and the passes make one, and they keep these promises: every value has
/// one writer, which comes before its readers; kinds, channels and scales of operands fit their op;
/// weights have the shapes that their op expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(crate) values: Vec<Value>,
    pub(crate) weights: Vec<WeightSpec>,
    pub(crate) ops: Vec<Op>,
    pub(crate) input: ValueId,
    pub(crate) output: ValueId,
    /// See [`Program::is_of_one_frame`].
    pub(crate) one_frame: bool,
}

/// A program that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A value was given to an op that reads another kind.
    #[error("{op}: `{value}` is {got}, expected {expected}")]
    WrongOperand {
        /// The op's name.
        op: String,
        /// The operand's name.
        value: String,
        /// What the operand is.
        got: String,
        /// What the op reads.
        expected: String,
    },
    /// A size that no op can have.
    #[error("{op}: {what}")]
    Impossible {
        /// The op's name.
        op: String,
        /// What is wrong, what was expected.
        what: String,
    },
}

impl Program {
    /// The values, by [`ValueId::index`].
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The weights it wants, by [`WeightId::index`].
    pub fn weights(&self) -> &[WeightSpec] {
        &self.weights
    }

    /// The ops, in the order in which they run.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The convs among the ops.
    pub fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.ops.iter().filter_map(|op| match op {
            Op::Conv(conv) => Some(conv),
            _ => None,
        })
    }

    /// The weights that some op reads and that are no kernel of a conv: biases and norm parameters.
    pub fn vectors(&self) -> BTreeSet<WeightId> {
        let kernels: BTreeSet<WeightId> = self.convs().map(|conv| conv.weight).collect();
        self.ops.iter().flat_map(Op::weights).filter(|id| !kernels.contains(id)).collect()
    }

    /// The value that takes the latents.
    pub fn input(&self) -> ValueId {
        self.input
    }

    /// The value that is the picture.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// Whether it was folded for latents of a single frame, and decodes no others.
    pub fn is_of_one_frame(&self) -> bool {
        self.one_frame
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// A weight.
    pub fn weight(&self, id: WeightId) -> &WeightSpec {
        &self.weights[id.index()]
    }

    /// Channels of a feature map, and how its cells lie on those of the latents.
    ///
    /// # Panics
    /// If the value holds statistics; the builder never gives such a value to an op that asks.
    pub fn features(&self, id: ValueId) -> (u32, Scale) {
        match self.value(id).kind {
            ValueKind::Features { channels, scale } => (channels, scale),
            ValueKind::Stats { .. } => panic!("`{}` holds statistics", self.value(id).name),
        }
    }

    /// Whether a value holds statistics, and no feature map.
    pub fn is_statistics(&self, id: ValueId) -> bool {
        matches!(self.value(id).kind, ValueKind::Stats { .. })
    }

    /// Groups of a statistics value.
    ///
    /// # Panics
    /// If the value is a feature map; the builder never gives such a value to a norm.
    pub fn groups(&self, id: ValueId) -> u32 {
        match self.value(id).kind {
            ValueKind::Stats { groups } => groups,
            ValueKind::Features { .. } => panic!("`{}` is a feature map", self.value(id).name),
        }
    }

    /// The name of what an op makes.
    pub fn op_name(&self, op: &Op) -> &str {
        &self.value(op.output()).name
    }

    /// Channels of the latents.
    pub fn latent_channels(&self) -> u32 {
        self.features(self.input).0
    }

    /// Channels of the picture.
    pub fn out_channels(&self) -> u32 {
        self.features(self.output).0
    }

    /// How the picture's frames and pixels lie on the cells of the latents.
    pub fn out_scale(&self) -> Scale {
        self.features(self.output).1
    }

    /// Sample pixels per latent cell, along height and width.
    pub fn scale(&self) -> u32 {
        self.out_scale().space
    }

    /// Bytes of all weights in f32.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|w| 4 * w.elements() as u64).sum()
    }
}
