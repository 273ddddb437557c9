//! What is held of a value: the frames that some op has still to read.

use std::collections::VecDeque;
use std::ops::Range;

/// Frames of a value, in tensors that lie one behind the other in time: on a device, in a file, or
/// their sizes alone.
#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    parts: VecDeque<Part<T>>,
}

/// A tensor and its first frame's place in the value.
#[derive(Clone, Debug)]
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
        Self { parts: VecDeque::new() }
    }
}

impl<T> Held<T> {
    /// The place of the part that has the first frame of `range`, or of the first one behind it.
    fn place(&self, range: &Range<u64>) -> usize {
        self.parts.partition_point(|part| part.range().end <= range.start)
    }

    /// Adds the frames behind those that are there.
    pub(crate) fn push(&mut self, range: Range<u64>, tensor: T) {
        self.parts.push_back(Part { first: range.start, frames: range.end - range.start, tensor });
    }

    /// The parts in which `range` lies, each with the frames of it that the range has.
    pub(crate) fn parts(&self, range: &Range<u64>) -> Vec<(&T, Range<usize>)> {
        let within = |part: &Part<T>| {
            let Range { start, end } = part.range();
            let (first, last) = (range.start.max(start), range.end.min(end));
            (first < last).then(|| (first - start) as usize..(last - start) as usize)
        };
        let parts = self.parts.range(self.place(range)..);
        parts.map_while(|part| Some((&part.tensor, within(part)?))).collect()
    }

    /// The tensor that holds exactly the frames of `range`, if one does.
    pub(crate) fn exactly(&self, range: &Range<u64>) -> Option<&T> {
        let part = self.parts.get(self.place(range)).filter(|part| part.range() == *range);
        part.map(|part| &part.tensor)
    }

    /// Takes that tensor out.
    pub(crate) fn take(&mut self, range: &Range<u64>) -> Option<T> {
        self.exactly(range)?;
        self.parts.remove(self.place(range)).map(|part| part.tensor)
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().map(|part| &part.tensor)
    }

    /// Whether no frame is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts with their frames, in the order of time.
    pub(crate) fn into_parts(self) -> impl Iterator<Item = (Range<u64>, T)> {
        self.parts.into_iter().map(|part| (part.range(), part.tensor))
    }

    /// Drops the frames before `first`, and gives the tensors that lie before it. Of a tensor that has
    /// frames on either side, `keep` makes one of those that stay.
    pub(crate) fn drop_before<E>(
        &mut self,
        first: u64,
        mut keep: impl FnMut(T, Range<usize>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut dropped = Vec::new();
        while self.parts.front().is_some_and(|part| part.first < first) {
            let Some(mut part) = self.parts.pop_front() else { break };
            let end = part.range().end;
            if end <= first {
                dropped.push(part.tensor);
                continue;
            }
            let kept = (first - part.first) as usize..part.frames as usize;
            part.tensor = keep(part.tensor, kept)?;
            (part.first, part.frames) = (first, end - first);
            self.parts.push_front(part);
        }
        Ok(dropped)
    }
}
