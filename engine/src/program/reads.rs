//! What an op reads: the one description from which extents, halos, receptive fields and the lives
//! of values follow.

use halovae_core::{Axes, Window};

use super::{Conv, Edge, FrameRepeat, Norm, NormOver, Op, Shuffle, ValueId};

/// How an op reads an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// An output reads, along each axis, the cells that a window says.
    Cells(Axes<Window>),
    /// An output reads every position of the operand's frame.
    Frame,
    /// Everything reads everything: all frames and positions of the sample.
    All,
    /// Output frame 0 reads frame 0, each cell the one at its own place; no other frame reads it.
    FirstFrame,
    /// The operand has no positions: statistics.
    Statistics,
}

impl Reads {
    /// An output reads the cell at its own place.
    pub const POINT: Self = Self::Cells(Axes::new(Window::POINT, Window::POINT, Window::POINT));

    /// A window over frames alone.
    const fn in_time(window: Window) -> Self {
        Self::Cells(Axes::new(window, Window::POINT, Window::POINT))
    }

    /// What is read along time; a read of everything has no window.
    pub const fn time(&self) -> Option<Window> {
        match self {
            Self::Cells(windows) => Some(windows.time),
            Self::Frame => Some(Window::POINT),
            Self::All | Self::FirstFrame | Self::Statistics => None,
        }
    }
}

impl Op {
    /// The values it reads and how, in the order in which a backend receives them as operands:
    /// conv: input, statistics (if fused), residual (if fused); norm: input, statistics;
    /// add: a, b; join: the rest, the first; attention: q, k, v.
    pub fn reads(&self) -> impl Iterator<Item = (ValueId, Reads)> + Clone {
        let slots = match *self {
            Op::Conv(conv) => [
                Some((conv.input, Reads::Cells(conv.windows))),
                conv.norm.and_then(|norm| norm.stats()).map(|stats| (stats, Reads::Statistics)),
                conv.residual.map(|residual| (residual, Reads::POINT)),
            ],
            Op::NormStats { input, .. } => [Some((input, Reads::All)), None, None],
            Op::NormApply { input, norm, .. } => {
                let stats = norm.stats().map(|stats| (stats, Reads::Statistics));
                [Some((input, Reads::POINT)), stats, None]
            }
            Op::Silu { input, .. } | Op::Clamp { input, .. } => {
                [Some((input, Reads::POINT)), None, None]
            }
            Op::Upsample { input, factor, frames, .. }
            | Op::Shuffle(Shuffle { input, space: factor, frames, .. }) => {
                let of_frame = Window::repeated(factor);
                let windows = Axes::new(frames.window(), of_frame, of_frame);
                [Some((input, Reads::Cells(windows))), None, None]
            }
            Op::Join { first, rest, factor, .. } => {
                // Behind the first frame, for which padding stands.
                let behind = Window { before: 1, ..Window::repeated(factor) };
                let rest = (rest, Reads::in_time(behind));
                [Some(rest), Some((first, Reads::FirstFrame)), None]
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

    /// Reads others in the place of the values that it reads.
    pub(crate) fn replace_inputs(&mut self, other: impl Fn(ValueId) -> ValueId) {
        let replace = |id: &mut ValueId| *id = other(*id);
        let replace_stats = |norm: &mut Norm| {
            if let NormOver::Groups { stats, .. } = &mut norm.over {
                replace(stats);
            }
        };
        match self {
            Op::Conv(conv) => {
                replace(&mut conv.input);
                conv.norm.iter_mut().for_each(replace_stats);
                conv.residual.iter_mut().for_each(replace);
            }
            Op::NormApply { input, norm, .. } => {
                replace(input);
                replace_stats(norm);
            }
            Op::NormStats { input, .. }
            | Op::Silu { input, .. }
            | Op::Upsample { input, .. }
            | Op::Clamp { input, .. }
            | Op::Shuffle(Shuffle { input, .. }) => replace(input),
            Op::Add { a, b, .. } => [a, b].into_iter().for_each(replace),
            Op::Join { first, rest, .. } => [first, rest].into_iter().for_each(replace),
            Op::Attention { q, k, v, .. } => [q, k, v].into_iter().for_each(replace),
        }
    }

    /// How often it reads a value.
    pub(crate) fn count_reads(&self, value: ValueId) -> usize {
        self.inputs().filter(|&read| read == value).count()
    }

    /// The window in time through which the first operand is read tap by tap, and what stands beyond
    /// its ends: of a conv over time, of repeats of frames, and of frames that lie in channels. Other
    /// operands are read frame by frame.
    pub fn by_tap(&self) -> Option<(Window, Edge)> {
        match *self {
            Op::Conv(conv) if !conv.is_framewise() => Some((conv.windows.time, conv.edges.time)),
            Op::Upsample { frames, .. } | Op::Shuffle(Shuffle { frames, .. })
                if frames != FrameRepeat::NONE =>
            {
                Some((frames.window(), Edge::Zeros))
            }
            _ => None,
        }
    }

    /// Where a step that is to end at frame `end` of the output ends: all frames that lie in one frame
    /// of an operand's channels are taken out together.
    pub(crate) fn step_end(&self, start: u64, end: u64) -> u64 {
        let (factor, first_alone) = match *self {
            Op::Join { factor, .. } => (factor, true),
            Op::Shuffle(Shuffle { frames, .. }) => (frames.factor, frames.first_alone),
            _ => return end,
        };
        let (factor, lone) = (u64::from(factor.max(1)), u64::from(first_alone));
        let whole = |frames: u64| frames.saturating_sub(lone) / factor * factor + lone;
        let least = if first_alone && start == 0 { 1 } else { start.saturating_add(factor) };
        whole(end).max(least)
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
        let stats = self.norm.and_then(|norm| norm.stats());
        self.residual.map(|_| 1 + usize::from(stats.is_some()))
    }
}
