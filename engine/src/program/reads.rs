//! What an op reads: the one description from which extents, halos, receptive fields and the lives
//! of values follow.

use halovae_core::{Axes, Window};

use super::{Conv, Op, ValueId};

/// How an op reads an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// An output reads, along each axis, the cells that a window says.
    Cells(Axes<Window>),
    /// An output reads every position of the operand's frame.
    Frame,
    /// Everything reads everything: all frames and positions of the sample.
    All,
    /// The operand has no positions: statistics.
    Statistics,
}

impl Reads {
    /// An output reads the cell at its own place.
    pub const POINT: Self = Self::Cells(Axes::new(Window::POINT, Window::POINT, Window::POINT));

    /// The same window over rows and columns, each frame for itself.
    pub(crate) const fn of_frame(window: Window) -> Self {
        Self::Cells(Axes::new(Window::POINT, window, window))
    }
}

impl Op {
    /// The values it reads and how, in the order in which a backend receives them as operands:
    /// conv: input, statistics (if fused), residual (if fused); norm: input, statistics;
    /// add: a, b; attention: q, k, v.
    pub fn reads(&self) -> impl Iterator<Item = (ValueId, Reads)> + Clone {
        let slots = match *self {
            Op::Conv(conv) => [
                Some((conv.input, Reads::Cells(conv.windows))),
                conv.norm.map(|norm| (norm.stats, Reads::Statistics)),
                conv.residual.map(|residual| (residual, Reads::POINT)),
            ],
            Op::NormStats { input, .. } => [Some((input, Reads::All)), None, None],
            Op::NormApply { input, norm, .. } => {
                [Some((input, Reads::POINT)), Some((norm.stats, Reads::Statistics)), None]
            }
            Op::Silu { input, .. } => [Some((input, Reads::POINT)), None, None],
            Op::Upsample { input, factor, .. } => {
                [Some((input, Reads::of_frame(Window::repeated(factor)))), None, None]
            }
            Op::Add { a, b, .. } => [Some((a, Reads::POINT)), Some((b, Reads::POINT)), None],
            Op::Attention { q, k, v, .. } => {
                [Some((q, Reads::POINT)), Some((k, Reads::Frame)), Some((v, Reads::Frame))]
            }
        };
        slots.into_iter().flatten()
    }

    /// The values it reads, in the order of [`reads`](Self::reads).
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> + Clone {
        self.reads().map(|(id, _)| id)
    }

    /// How often it reads a value.
    pub(crate) fn count_reads(&self, value: ValueId) -> usize {
        self.inputs().filter(|&read| read == value).count()
    }

    /// Whether an output depends on every position of a frame or more, so that cutting the input
    /// changes the result.
    pub fn is_global(&self) -> bool {
        self.reads().any(|(_, reads)| matches!(reads, Reads::Frame | Reads::All))
    }
}

impl Conv {
    /// The place of the residual among the operands, if it has one: behind the input, and the
    /// statistics of a fused norm.
    pub fn residual_operand(&self) -> Option<usize> {
        self.residual.map(|_| 1 + usize::from(self.norm.is_some()))
    }
}
