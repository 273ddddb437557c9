//! The operations a program is made of, and the geometry they carry.

use super::{ValueId, WeightId};

/// Rows and columns of zeros around a conv's input, per side, counted in the coordinates that the
/// conv reads (after a folded upsample). They are zeros *after* a fused norm and activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: u32,
    /// Rows below.
    pub bottom: u32,
    /// Columns before.
    pub left: u32,
    /// Columns behind.
    pub right: u32,
}

impl Padding {
    /// The same on all four sides.
    pub fn all(cells: u32) -> Self {
        Self { top: cells, bottom: cells, left: cells, right: cells }
    }
}

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

/// A 2-d convolution with everything that can be fused into it.
///
/// With `x` the input: `n = norm(x)`, `u = nearest_upsample(n)`, then the conv over `u` with zeros
/// around, plus bias, plus residual. Weights are `[out_channels, in_channels, rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// What is read.
    pub input: ValueId,
    /// What is written.
    pub output: ValueId,
    /// The kernel's weights.
    pub weight: WeightId,
    /// Added per output channel.
    pub bias: Option<WeightId>,
    /// Kernel rows and columns.
    pub kernel: [u32; 2],
    /// Stride over rows and columns.
    pub stride: [u32; 2],
    /// Zeros around.
    pub padding: Padding,
    /// Channels read.
    pub in_channels: u32,
    /// Channels written.
    pub out_channels: u32,
    /// Norm and activation applied while reading.
    pub norm: Option<Norm>,
    /// Nearest upsample applied while reading; 1 for none.
    pub upsample: u32,
    /// Added to the result; has the output's shape.
    pub residual: Option<ValueId>,
}

/// One step of a program. Every op writes one value, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// A convolution and what is fused into it.
    Conv2d(Conv2d),
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
            Op::Conv2d(Conv2d { output, .. })
            | Op::NormStats { output, .. }
            | Op::NormApply { output, .. }
            | Op::Silu { output, .. }
            | Op::Upsample { output, .. }
            | Op::Add { output, .. }
            | Op::Attention { output, .. } => output,
        }
    }

    /// The values it reads, in the order in which a backend receives them as operands:
    /// conv: input, statistics (if fused), residual (if fused); norm: input, statistics;
    /// add: a, b; attention: q, k, v.
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> + Clone {
        let slots = match *self {
            Op::Conv2d(conv) => [Some(conv.input), conv.norm.map(|n| n.stats), conv.residual],
            Op::NormApply { input, norm, .. } => [Some(input), Some(norm.stats), None],
            Op::NormStats { input, .. } | Op::Silu { input, .. } | Op::Upsample { input, .. } => {
                [Some(input), None, None]
            }
            Op::Add { a, b, .. } => [Some(a), Some(b), None],
            Op::Attention { q, k, v, .. } => [Some(q), Some(k), Some(v)],
        };
        slots.into_iter().flatten()
    }

    /// The weights it reads.
    pub fn weights(&self) -> impl Iterator<Item = WeightId> + Clone {
        let norm_weights = |norm: Option<Norm>| [norm.map(|n| n.gamma), norm.map(|n| n.beta)];
        let slots = match *self {
            Op::Conv2d(conv) => {
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
            Op::Conv2d(conv) => match (conv.kernel, conv.upsample > 1, conv.norm.is_some()) {
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

    /// Whether every output position depends on every input position, so that cutting the input
    /// changes the result.
    pub fn is_global(&self) -> bool {
        matches!(self, Op::NormStats { .. } | Op::Attention { .. })
    }
}
