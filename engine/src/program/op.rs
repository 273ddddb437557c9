//! The operations a program is made of, and the geometry they carry.

use halovae_core::{Axes, Axis, Margins, Window};

use super::{ValueId, WeightId};

/// How a group norm (and SiLU) is applied, its statistics being known:
/// `y = (x - mean) / sqrt(variance + eps) * gamma + beta`, then `y * sigmoid(y)` if `silu`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// A statistics value: per sample and group the mean and the biased variance.
    pub stats: ValueId,
    /// Scale per channel.
    pub gamma: WeightId,
    /// Offset per channel.
    pub beta: WeightId,
    /// Added to the variance under the root.
    pub eps: f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// A convolution with everything that can be fused into it.
///
/// With `x` the input: `n = norm(x)`, then along each axis nearest repeats, zeros around and taps,
/// as the axis's window says, plus bias, plus residual. Zeros stand *after* the norm and its
/// activation. Weights are `[out_channels, in_channels, rows, columns]`.
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

    /// Cells of zeros on each side, counted after the repeats.
    pub fn padding(&self) -> Margins {
        Margins::from_axes(self.windows.map(|window| [window.before, window.behind]))
    }

    /// Multiplies each position with a matrix, and reads nothing else.
    pub fn is_pointwise(&self) -> bool {
        Axis::ALL.iter().all(|&axis| self.windows[axis] == Window::POINT)
    }
}

/// One step of a program. Every op writes one value, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// A convolution and what is fused into it.
    Conv(Conv),
    /// Per sample and group the mean and the biased variance over rows, columns and the group's
    /// channels. `output` is a statistics value.
    NormStats {
        /// What is read.
        input: ValueId,
        /// The statistics.
        output: ValueId,
    },
    /// Applies a group norm whose statistics are known.
    NormApply {
        /// What is read.
        input: ValueId,
        /// What is written.
        output: ValueId,
        /// Statistics and parameters.
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
    },
    /// Elementwise sum.
    Add {
        /// One summand.
        a: ValueId,
        /// The other.
        b: ValueId,
        /// The sum.
        output: ValueId,
    },
    /// Single-head attention over all positions of a sample:
    /// `softmax(q k^T * scale) v`. Keys and values may cover other positions than the queries.
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
            | Op::Add { output, .. }
            | Op::Attention { output, .. } => output,
        }
    }

    /// The weights it reads.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> + Clone {
        let norm_weights = |norm: Option<Norm>| [norm.map(|n| n.gamma), norm.map(|n| n.beta)];
        let slots = match *self {
            Op::Conv(conv) => {
                let [gamma, beta] = norm_weights(conv.norm);
                [Some(conv.weight), conv.bias, gamma, beta]
            }
            Op::NormApply { norm, .. } => {
                let [gamma, beta] = norm_weights(Some(norm));
                [gamma, beta, None, None]
            }
            _ => [None; 4],
        };
        slots.into_iter().flatten()
    }

    /// A word for the kind of op, fused parts included, for tables and errors.
    pub fn kind(&self) -> &'static str {
        match self {
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
            Op::Add { .. } => "add",
            Op::Attention { .. } => "attention",
        }
    }
}
