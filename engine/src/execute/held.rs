//! What is held of a value: the frames that some op has still to read.

use std::ops::Range;

use crate::backend::{Backend, BackendError};

/// Frames of a value, in tensors that lie one behind the other in time.
pub(super) struct Held<T> {
    parts: Vec<Part<T>>,
}

/// A tensor and its first frame's place in the value.
struct Part<T> {
    first: u64,
    frames: u64,
    tensor: T,
}

impl<T> Part<T> {
    fn range(&self) -> Range<u64> {
        self.first..self.first + self.frames
    }
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { parts: Vec::new() }
    }
}

impl<T> Held<T> {
    /// Adds the frames behind those that are there.
    pub(super) fn push(&mut self, range: Range<u64>, tensor: T) {
        self.parts.push(Part { first: range.start, frames: range.end - range.start, tensor });
    }

    /// The parts in which `range` lies, each with the frames of it that the range has.
    pub(super) fn parts(&self, range: &Range<u64>) -> Vec<(&T, Range<usize>)> {
        let within = |part: &Part<T>| {
            let Range { start, end } = part.range();
            let (first, last) = (range.start.max(start), range.end.min(end));
            (first < last).then(|| (first - start) as usize..(last - start) as usize)
        };
        let parts = self.parts.iter();
        parts.filter_map(|part| Some((&part.tensor, within(part)?))).collect()
    }

    /// The tensor that holds exactly the frames of `range`, if one does.
    pub(super) fn exactly(&self, range: &Range<u64>) -> Option<&T> {
        self.parts.iter().find(|part| part.range() == *range).map(|part| &part.tensor)
    }

    /// Takes that tensor out.
    pub(super) fn take(&mut self, range: &Range<u64>) -> Option<T> {
        let at = self.parts.iter().position(|part| part.range() == *range)?;
        Some(self.parts.remove(at).tensor)
    }

    /// Drops the frames before `first`. Of a tensor that has some on either side, those that stay
    /// are copied, so that the others' memory is free.
    pub(super) fn drop_before<B>(&mut self, first: u64, backend: &B) -> Result<(), BackendError>
    where
        B: Backend<Tensor = T>,
    {
        self.parts.retain(|part| part.range().end > first);
        for part in &mut self.parts {
            if part.first < first {
                let kept = (first - part.first) as usize..part.frames as usize;
                part.tensor = backend.gather(&[(&part.tensor, kept)])?;
                part.frames = part.range().end - first;
                part.first = first;
            }
        }
        Ok(())
    }
}
