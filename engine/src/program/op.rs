//! The operations a program is made of, and the geometry they carry.

use std::ops::Range;

use halovae_core::{Axes, Axis, Margins, Window};

use super::{Shuffle, ValueId, WeightId};

/// What stands where a conv reads beyond its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Edge {
    /// Zeros: after a fused norm and its activation.
    #[default]
    Zeros,
    /// The outermost cell again.
    Repeat,
    /// The cells inside again, mirrored at the outermost one, which is not doubled.
    Reflect,
}

impl Edge {
    /// Which of an axis's `cells` stands at `at`; `None` where zeros stand. Where padding is wider
    /// than what there is to mirror, a reflection goes back and forth (as NumPy's `pad` does).
    ///
    /// Padding comes after repeats, so cells are counted after them.
    pub fn cell(self, at: i64, cells: &Range<i64>) -> Option<i64> {
        if cells.contains(&at) || cells.is_empty() {
            return cells.contains(&at).then_some(at);
        }
        let (first, last) = (cells.start, cells.end - 1);
        match self {
            Self::Zeros => None,
            Self::Repeat => Some(at.clamp(first, last)),
            Self::Reflect if first == last => Some(first),
            Self::Reflect => {
                let there = last - first;
                let folded = (at - first).rem_euclid(2 * there);
                Some(first + folded.min(2 * there - folded))
            }
        }
    }
}

/// A norm with its parameters, and the activation behind it: `y * gamma + beta`, with a scale and an
/// offset per channel where there are such, then `z * sigmoid(z)` if `silu`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// What `y` is, and what it is multiplied with and shifted by.
    pub over: NormOver,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Over what a norm is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormOver {
    /// A group norm whose statistics are known: `y = (x - mean) / sqrt(variance + eps)`.
    Groups {
        /// A statistics value: per sample and group the mean and the biased variance.
        stats: ValueId,
        /// Scale per channel.
        gamma: WeightId,
        /// Offset per channel.
        beta: WeightId,
        /// Added to the variance under the root.
        eps: f32,
    },
    /// The channels of each position, by their root mean square:
    /// `y = sqrt(channels) x / max(sqrt(|x|^2 + channels eps), floor)`, `|x|` the Euclidean norm; there is
    /// no offset. Models have either an `eps` or a `floor`, and 0 for the other.
    Channels {
        /// Scale per channel, if there is one.
        gamma: Option<WeightId>,
        /// Added to the mean square under the root.
        eps: f32,
        /// The least norm that is divided by.
        floor: f32,
    },
    /// The channels of each position, by their mean and their biased variance:
    /// `y = (x - mean) / sqrt(variance + eps)`.
    Layer {
        /// Scale per channel.
        gamma: WeightId,
        /// Offset per channel.
        beta: WeightId,
        /// Added to the variance under the root.
        eps: f32,
    },
}

impl Norm {
    /// The statistics that it reads, if it reads any.
    pub const fn stats(&self) -> Option<ValueId> {
        match self.over {
            NormOver::Groups { stats, .. } => Some(stats),
            NormOver::Channels { .. } | NormOver::Layer { .. } => None,
        }
    }

    /// Scale and offset per channel, and `eps`, of a group norm.
    ///
    /// # Panics
    /// If it is no group norm: a backend is not given the norms that it declines.
    pub const fn of_groups(&self) -> ([WeightId; 2], f32) {
        match self.over {
            NormOver::Groups { gamma, beta, eps, .. } => ([gamma, beta], eps),
            NormOver::Channels { .. } | NormOver::Layer { .. } => {
                panic!("a norm over channels has no statistics")
            }
        }
    }

    /// Scale and offset per channel, as far as it has them.
    pub const fn parameters(&self) -> [Option<WeightId>; 2] {
        match self.over {
            NormOver::Groups { gamma, beta, .. } | NormOver::Layer { gamma, beta, .. } => {
                [Some(gamma), Some(beta)]
            }
            NormOver::Channels { gamma, .. } => [gamma, None],
        }
    }
}

/// A convolution with everything that can be fused into it.
///
/// With `x` the input: `n = norm(x)`, then along each axis nearest repeats, padding and taps, as the
/// axis's window says, plus bias, plus residual. Weights are
/// `[out_channels, in_channels, frames, rows, columns]`, in this order also where the checkpoint
/// leaves out axes of one tap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv {
    /// What is read.
    pub input: ValueId,
    /// What is written.
    pub output: ValueId,
    /// The kernel's weights.
    pub weight: WeightId,
    /// Added per output channel.
    pub bias: Option<WeightId>,
    /// What it reads along each axis.
    pub windows: Axes<Window>,
    /// What its padding is along each axis.
    pub edges: Axes<Edge>,
    /// Channels read.
    pub in_channels: u32,
    /// Channels written.
    pub out_channels: u32,
    /// Norm and activation applied while reading.
    pub norm: Option<Norm>,
    /// Added to the result; has the output's shape.
    pub residual: Option<ValueId>,
}

impl Conv {
    /// Taps over rows and columns.
    pub const fn kernel(&self) -> [u32; 2] {
        [self.windows.height.kernel, self.windows.width.kernel]
    }

    /// Strides over rows and columns.
    pub const fn stride(&self) -> [u32; 2] {
        [self.windows.height.stride, self.windows.width.stride]
    }

    /// How often rows and columns are repeated before the taps read them; 1 for none. Both are
    /// repeated alike.
    pub const fn upsample(&self) -> u32 {
        self.windows.height.repeat
    }

    /// Cells of padding on each side, counted after the repeats.
    pub fn padding(&self) -> Margins {
        Margins::from_axes(self.windows.map(|window| [window.before, window.behind]))
    }

    /// Whether each frame is computed of the input's frame of the same place alone.
    pub fn is_framewise(&self) -> bool {
        self.windows.time == Window::POINT
    }

    /// Whether it multiplies each position with a matrix, and reads nothing else.
    pub fn is_pointwise(&self) -> bool {
        Axis::ALL.iter().all(|&axis| self.windows[axis] == Window::POINT)
    }
}

/// How often frames are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRepeat {
    /// How often; 1 for none.
    pub factor: u32,
    /// Whether the first frame stays single.
    pub first_alone: bool,
}

impl FrameRepeat {
    /// Frames stay as they are.
    pub const NONE: Self = Self { factor: 1, first_alone: false };

    /// What is read along time.
    pub(crate) const fn window(self) -> Window {
        Window { first_alone: self.first_alone, ..Window::repeated(self.factor) }
    }
}

/// One step of a program. Every op writes one value, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// A convolution and what is fused into it.
    Conv(Conv),
    /// Per sample and group the mean and the biased variance over frames, rows, columns and the
    /// group's channels. `output` is a statistics value.
    NormStats {
        /// What is read.
        input: ValueId,
        /// The statistics.
        output: ValueId,
    },
    /// Applies a norm.
    NormApply {
        /// What is read.
        input: ValueId,
        /// What is written.
        output: ValueId,
        /// Parameters, and statistics where it has any.
        norm: Norm,
    },
    /// `x * sigmoid(x)`.
    Silu {
        /// What is read.
        input: ValueId,
        /// What is written.
        output: ValueId,
    },
    /// Repeats each row and column `factor` times.
    Upsample {
        /// What is read.
        input: ValueId,
        /// What is written.
        output: ValueId,
        /// How often.
        factor: u32,
        /// How often frames are repeated.
        frames: FrameRepeat,
    },
    /// Cuts values off at both ends.
    Clamp {
        /// What is read.
        input: ValueId,
        /// What is written.
        output: ValueId,
        /// The least value.
        low: f32,
        /// The largest value.
        high: f32,
    },
    /// The first frame of one value, then the frames that lie in the channels of another: frame
    /// `1 + factor * t + j` is channels `j * channels .. (j + 1) * channels` of frame `t` of `rest`.
    Join {
        /// Whose first frame is taken.
        first: ValueId,
        /// `factor` times as many channels as `first`.
        rest: ValueId,
        /// What is written.
        output: ValueId,
        /// Frames that lie in one frame of `rest`.
        factor: u32,
    },
    /// Cells that lie in the channels of others.
    Shuffle(Shuffle),
    /// Elementwise sum.
    Add {
        /// One summand.
        a: ValueId,
        /// The other.
        b: ValueId,
        /// The sum.
        output: ValueId,
    },
    /// Single-head attention over all positions of a frame: `softmax(q k^T * scale) v`. Keys and
    /// values may cover other positions than the queries.
    Attention {
        /// Queries.
        q: ValueId,
        /// Keys.
        k: ValueId,
        /// Values, as many positions as the keys.
        v: ValueId,
        /// As many positions as the queries.
        output: ValueId,
        /// Factor on the scores.
        scale: f32,
    },
}

impl Op {
    /// The value it writes.
    pub fn output(&self) -> ValueId {
        match *self {
            Op::Conv(Conv { output, .. })
            | Op::NormStats { output, .. }
            | Op::NormApply { output, .. }
            | Op::Silu { output, .. }
            | Op::Upsample { output, .. }
            | Op::Clamp { output, .. }
            | Op::Join { output, .. }
            | Op::Shuffle(Shuffle { output, .. })
            | Op::Add { output, .. }
            | Op::Attention { output, .. } => output,
        }
    }

    /// The weights it reads.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> + Clone {
        let slots = match *self {
            Op::Conv(conv) => {
                let [gamma, beta] = conv.norm.map_or([None; 2], |norm| norm.parameters());
                [Some(conv.weight), conv.bias, gamma, beta]
            }
            Op::NormApply { norm, .. } => {
                let [gamma, beta] = norm.parameters();
                [gamma, beta, None, None]
            }
            _ => [None; 4],
        };
        slots.into_iter().flatten()
    }

    /// A word for the kind of op, fused parts included, for tables and errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Conv(conv) if conv.windows.time.kernel > 1 => "conv over time",
            Op::Conv(conv) => match (conv.kernel(), conv.upsample() > 1, conv.norm.is_some()) {
                ([1, 1], false, _) => "conv 1x1",
                (_, true, _) => "upsample+conv",
                (_, false, true) => "norm+conv",
                (_, false, false) => "conv",
            },
            Op::NormStats { .. } => "norm statistics",
            Op::NormApply { .. } => "norm",
            Op::Silu { .. } => "silu",
            Op::Upsample { .. } => "upsample",
            Op::Clamp { .. } => "clamp",
            Op::Join { .. } => "join frames",
            Op::Shuffle(_) => "shuffle",
            Op::Add { .. } => "add",
            Op::Attention { .. } => "attention",
        }
    }

    /// Whether it is an op that decoders of images have: frame by frame, zeros around convs, group
    /// norms. Every backend has those, plain.
    pub fn is_of_images(&self) -> bool {
        let of_groups = |norm: Option<Norm>| {
            norm.is_none_or(|norm| matches!(norm.over, NormOver::Groups { .. }))
        };
        match *self {
            Op::Conv(conv) => {
                conv.is_framewise() && conv.edges == Axes::default() && of_groups(conv.norm)
            }
            Op::NormApply { norm, .. } => of_groups(Some(norm)),
            Op::Upsample { frames, .. } => frames == FrameRepeat::NONE,
            Op::Clamp { .. } | Op::Join { .. } | Op::Shuffle(_) => false,
            Op::NormStats { .. } | Op::Silu { .. } | Op::Add { .. } | Op::Attention { .. } => true,
        }
    }
}
