//! What an op is given.

use std::ops::Range;

use halovae_core::Margins;

use super::BackendError;

/// An operand of an op.
#[derive(Debug)]
pub enum Operand<'a, T> {
    /// Others will read it later.
    Shared(&'a T),
    /// This op is its last reader, and its memory may be taken for the output.
    Owned(T),
}

impl<T> std::ops::Deref for Operand<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Operand::Shared(tensor) => tensor,
            Operand::Owned(tensor) => tensor,
        }
    }
}

/// What neighbours hold around a part of a feature map of `[batch, height, width, channels]`: a
/// strip on each side that does not end the picture. With `margins` cells on each side, `top` is
/// `[batch, margins.top, margins.left + width + margins.right, channels]`, `bottom` likewise,
/// `left` is `[batch, height, margins.left, channels]`, and `right` likewise.
pub type Halo<T> = Margins<Option<T>>;

/// A halo that is fetched when a conv needs it: until then, a backend that can computes the
/// outputs that do not read it.
pub struct Surroundings<'a, T> {
    /// The halo's extents on each side, in cells of the conv's input: 0 where the picture ends.
    pub margins: Margins,
    /// Waits for the halo.
    pub fetch: &'a mut dyn FnMut() -> Result<Halo<T>, BackendError>,
}

impl<T> std::fmt::Debug for Surroundings<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("margins", &self.margins).finish_non_exhaustive()
    }
}

/// The frames of a first operand that an op reads tap by tap: a conv over time, or an upsample that
/// repeats frames.
#[derive(Debug)]
pub struct FrameReads<'a, T> {
    parts: Vec<(&'a T, Range<usize>)>,
    kernel: usize,
    taps: Vec<Option<usize>>,
}

impl<'a, T> FrameReads<'a, T> {
    /// Frames that lie in several tensors of one sample each, one behind the other, and for each
    /// output frame the places among them that its `kernel` taps read.
    pub fn new(parts: Vec<(&'a T, Range<usize>)>, kernel: usize, taps: Vec<Option<usize>>) -> Self {
        Self { parts, kernel, taps }
    }

    /// The tensors, and which of their frames are read.
    pub fn parts(&self) -> &[(&'a T, Range<usize>)] {
        &self.parts
    }

    /// Taps of an output frame.
    pub fn kernel(&self) -> usize {
        self.kernel
    }

    /// Output frames.
    pub fn outputs(&self) -> usize {
        self.taps.len() / self.kernel
    }

    /// For each output frame, which frame of all parts each tap reads; `None` where zeros stand.
    pub fn taps(&self) -> &[Option<usize>] {
        &self.taps
    }
}

/// The operands of one op: up to three, in the order of [`Op::reads`](crate::program::Op::reads), what lies around the first
/// one, and what its taps in time read of it.
#[derive(Debug)]
pub struct Operands<'a, T> {
    slots: [Option<Operand<'a, T>>; 3],
    surroundings: Option<Surroundings<'a, T>>,
    frames: Option<FrameReads<'a, T>>,
}

impl<'a, T> Operands<'a, T> {
    /// Collects operands in the order of [`Op::reads`](crate::program::Op::reads); at most three.
    pub fn new(operands: impl IntoIterator<Item = Operand<'a, T>>) -> Self {
        Self::of_slots(operands.into_iter().map(Some))
    }

    /// The same, some of which the op does not read for these outputs.
    pub fn of_slots(operands: impl IntoIterator<Item = Option<Operand<'a, T>>>) -> Self {
        let mut slots = [const { None }; 3];
        for (slot, operand) in slots.iter_mut().zip(operands) {
            *slot = operand;
        }
        Self { slots, surroundings: None, frames: None }
    }

    /// The same operands, the first one being a part with a halo. Only convs have one.
    #[must_use]
    pub fn within(mut self, surroundings: Surroundings<'a, T>) -> Self {
        self.surroundings = Some(surroundings);
        self
    }

    /// The same operands, the first one being read tap by tap in time: it has no place of its own.
    #[must_use]
    pub fn over_time(mut self, frames: Option<FrameReads<'a, T>>) -> Self {
        self.frames = frames;
        self
    }

    /// Takes what lies around the first operand; `None` if nothing does, or it was taken.
    pub fn take_surroundings(&mut self) -> Option<Surroundings<'a, T>> {
        self.surroundings.take()
    }

    /// What is read of the first operand tap by tap, for a conv or an upsample over time.
    ///
    /// # Panics
    /// If the op reads frame by frame.
    pub fn frames(&self) -> &FrameReads<'a, T> {
        self.frames.as_ref().expect("the executor says what taps in time read")
    }

    /// Operand `index`.
    ///
    /// # Panics
    /// If it is not there or was taken: the executor passes what the op names.
    pub fn get(&self, index: usize) -> &T {
        self.try_get(index).expect("the executor passes every operand that the op names")
    }

    /// Operand `index`, if the op reads it for these outputs.
    pub fn try_get(&self, index: usize) -> Option<&T> {
        self.slots[index].as_deref()
    }

    /// Takes operand `index` if this op is its last reader, so that its memory can be reused.
    pub fn take_owned(&mut self, index: usize) -> Option<T> {
        match self.slots[index].take() {
            Some(Operand::Owned(tensor)) => Some(tensor),
            shared => {
                self.slots[index] = shared;
                None
            }
        }
    }
}
