//! What lies around some frames of a shard's part.

use std::ops::Range;

use halovae_core::{Margins, Region, Size};

use super::cut::Cut;
use super::lent::{LentFrames, Loan, joined};
use super::pass::HaloExchange;
use super::side::Side;
use crate::backend::{Backend, BackendError, Halo};
use crate::program::Program;
use crate::tensor::Shape;

/// What lies around some frames of a part.
pub(super) struct Around {
    /// Those frames of the part, in the coordinates of the whole map.
    part: Region,
    margins: Margins,
}

impl Around {
    /// Around those `frames` of a shard's part that its halo for a conv has.
    pub(super) fn new(
        cut: &Cut,
        program: &Program,
        halo: &HaloExchange,
        frames: &Range<u64>,
        shard: u32,
    ) -> Self {
        let (_, scale) = program.features(halo.value);
        let part = cut.part(program, halo.value, shard);
        let start = u64::from(part.first).max(frames.start).min(part.end());
        let end = part.end().min(frames.end).max(start);
        // Within the part's own frames, which are u32.
        let part = part.over(start as u32, (end - start) as u32);
        Self { part, margins: cut.grid().margins(shard, scale, halo.reach) }
    }

    /// The frames around which it lies: the part's, and those before and behind them.
    pub(super) fn frames(&self) -> Range<u64> {
        let Self { part, margins } = self;
        let first = u64::from(part.first) - u64::from(margins.past);
        first..part.end() + u64::from(margins.future)
    }

    /// The extents of what lies on a side: strips have all frames, what lies before and behind has the
    /// part's rows and columns.
    pub(super) fn shape(&self, side: Side, channels: u32) -> Shape {
        let Self { part, margins } = self;
        let wide = margins.left + part.width + margins.right;
        let all = margins.past + part.frames + margins.future;
        let (frames, height, width) = match side {
            Side::Past => (margins.past, part.height, part.width),
            Side::Future => (margins.future, part.height, part.width),
            Side::Top => (all, margins.top, wide),
            Side::Bottom => (all, margins.bottom, wide),
            Side::Left => (all, part.height, margins.left),
            Side::Right => (all, part.height, margins.right),
        };
        Shape::sample(Size::video(frames, height, width), channels as usize)
    }

    /// Whether any frames lie before or behind the part's.
    pub(super) fn has_frames_beside(&self) -> bool {
        self.margins.past > 0 || self.margins.future > 0
    }

    /// What lies around each frame.
    pub(super) fn margins_of_frame(&self) -> Margins {
        Margins { past: 0, future: 0, ..self.margins }
    }

    /// The tensors in which the frames lie that are read: the part's `own`, and those before and
    /// behind it.
    pub(super) fn with_frames_beside<'a, T>(
        &self,
        own: Vec<(&'a T, Range<usize>)>,
        [past, future]: &'a [Option<T>; 2],
        read: &Range<u64>,
    ) -> Vec<(&'a T, Range<usize>)> {
        let all = self.frames();
        let before = all.start..self.part.first.into();
        let behind = self.part.end()..all.end;
        let beside = |tensor: &'a Option<T>, has: Range<u64>| {
            let range = within(&has, read);
            tensor.as_ref().map(|tensor| (tensor, range)).filter(|(_, range)| !range.is_empty())
        };
        let parts = beside(past, before).into_iter().chain(own);
        parts.chain(beside(future, behind)).collect()
    }

    /// The strips around the frames that are read: those of earlier rounds and those that have just
    /// come. Frames from `needed` on are read in later rounds too.
    pub(super) fn strips<B: Backend>(
        &self,
        backend: &B,
        mut kept: Margins<Vec<LentFrames<'_, B::Tensor>>>,
        mut fresh: Halo<B::Tensor>,
        read: &Range<u64>,
        needed: u64,
    ) -> Result<StripsOf<B::Tensor>, BackendError> {
        let all = self.frames();
        let mut strips = StripsOf { now: Halo::default(), later: Vec::new() };
        for side in Side::OF_FRAME {
            let mut parts = std::mem::take(side.of(&mut kept));
            if let Some(strip) = side.of(&mut fresh).take() {
                let later = needed.clamp(all.start, all.end)..all.end;
                if !later.is_empty() {
                    let copy = backend.gather(&[(&strip, within(&all, &later))])?;
                    strips.later.push((side, later, copy));
                }
                let range = within(&all, read);
                parts.extend((!range.is_empty()).then_some((Loan::Loaded(strip), range)));
            }
            if parts.is_empty() {
                continue;
            }
            *side.of(&mut strips.now) = Some(match joined(backend, parts)? {
                Loan::Loaded(strip) => strip,
                Loan::Here(strip) => {
                    let frames = 0..backend.shape(strip).frames;
                    backend.gather(&[(strip, frames)])?
                }
            });
        }
        Ok(strips)
    }

    /// The side on which a border, in the coordinates of the whole map, lies, and where it lies there.
    pub(super) fn place(&self, rect: Region) -> (Side, Region) {
        let Self { part, margins } = self;
        let (before, left) = (part.first - margins.past, part.left - margins.left);
        let (side, first, top, left) = if rect.top < part.top {
            (Side::Top, before, part.top - margins.top, left)
        } else if u64::from(rect.top) >= part.bottom() {
            (Side::Bottom, before, part.bottom() as u32, left)
        } else if rect.left < part.left {
            (Side::Left, before, part.top, left)
        } else if u64::from(rect.left) >= part.right() {
            (Side::Right, before, part.top, part.right() as u32)
        } else if rect.first < part.first {
            (Side::Past, before, part.top, part.left)
        } else {
            (Side::Future, part.end() as u32, part.top, part.left)
        };
        let (first, top, left) = (rect.first - first, rect.top - top, rect.left - left);
        (side, Region { first, top, left, ..rect })
    }
}

/// Strips around a part.
pub(super) struct StripsOf<T> {
    /// Around the frames that are read now.
    pub(super) now: Halo<T>,
    /// Copies of frames that are read in later rounds.
    pub(super) later: Vec<(Side, Range<u64>, T)>,
}

/// Those of `frames` that `all` has, counted from its first.
fn within(all: &Range<u64>, frames: &Range<u64>) -> Range<usize> {
    let start = frames.start.clamp(all.start, all.end);
    let end = frames.end.clamp(start, all.end);
    (start - all.start) as usize..(end - all.start) as usize
}
