//! One output axis cut into spans in which the same pieces overlap.

use crate::{Axes, Scale, Size, TileAxis, TimeScale};

/// How pieces lie along one output axis.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum SpanAxis {
    /// One piece over the whole axis.
    Whole { extent: u32 },
    /// Overlapping tiles, blended.
    Tiles(TileAxis),
    /// Cores beside each other, cropped.
    Cores(Cores),
}

/// `count` cores over `extent` latent cells, none of them empty. With fewer cells than cores were
/// asked for, the `k`-th one that is not empty is cell `k`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Cores {
    /// Latent cells.
    pub(crate) extent: u32,
    /// Cores asked for.
    pub(crate) slots: u32,
    /// How pixels lie on latent cells. The output's extent fits `u32`.
    pub(crate) scale: TimeScale,
}

impl Cores {
    /// Cores that are not empty.
    pub(crate) fn count(self) -> u32 {
        self.slots.min(self.extent)
    }

    /// The slot of the `index`-th core that is not empty.
    pub(crate) fn slot(self, index: u32) -> u32 {
        if self.slots <= self.extent {
            return index;
        }
        // The first slot whose end, floor((slot + 1) * extent / slots), is beyond cell `index`.
        let end = (u64::from(index) + 1) * u64::from(self.slots);
        (end.div_ceil(u64::from(self.extent)) - 1) as u32
    }

    /// Start and end of the `index`-th core that is not empty, in latent cells.
    pub(crate) fn range(self, index: u32) -> (u32, u32) {
        let slot = u64::from(self.slot(index));
        let cut = |slot: u64| (slot * u64::from(self.extent) / u64::from(self.slots)) as u32;
        (cut(slot), cut(slot + 1))
    }

    /// Start and length of the `index`-th core that is not empty, in a layer's cells. They stop at
    /// `u32::MAX`; as both ends do, parts stay beside each other.
    pub(crate) fn part(self, index: u32, scale: TimeScale) -> (u32, u32) {
        let (start, end) = self.range(index);
        let [start, end] = [start, end].map(|cell| scale.at(cell).unwrap_or(u32::MAX));
        (start, end - start)
    }

    /// Cells of the output.
    pub(crate) const fn output(self) -> u32 {
        // They fit: that was checked.
        self.scale.cells(self.extent) as u32
    }
}

impl Axes<Cores> {
    /// `slots` cores over the latents along each axis, with an output of this scale, which fits `u32`.
    pub(crate) fn of(latents: Size, slots: Axes<u32>, scale: Scale) -> Self {
        Self::from_fn(|axis| Cores {
            extent: latents.along(axis),
            slots: slots[axis],
            scale: scale.along(axis),
        })
    }

    /// The latents, in cells.
    pub(crate) const fn latents(&self) -> Size {
        let Self { time, height, width } = self;
        Size::video(time.extent, height.extent, width.extent)
    }

    /// The output, in pixels.
    pub(crate) const fn output(&self) -> Size {
        let Self { time, height, width } = self;
        Size::video(time.output(), height.output(), width.output())
    }
}

/// A stretch of the output over which the same pieces overlap: pieces `owner - depth ..= owner`
/// of the axis.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Span {
    /// Its start in the output.
    pub(crate) start: u32,
    /// Its length in the output.
    pub(crate) len: u32,
    /// The last piece over it.
    pub(crate) owner: u32,
    /// Its start in that piece.
    pub(crate) offset: u32,
    /// How many earlier pieces overlap it.
    pub(crate) depth: u32,
}

impl SpanAxis {
    /// How many pieces lie along the axis.
    pub(crate) fn count(&self) -> u32 {
        match self {
            Self::Whole { .. } => 1,
            Self::Tiles(axis) => axis.count(),
            Self::Cores(cores) => cores.count(),
        }
    }

    /// How far piece `index - back` of the axis starts before piece `index`, in output units.
    pub(crate) fn shift(&self, index: u32, back: u32) -> u64 {
        match self {
            Self::Tiles(axis) => axis.shift(index, back),
            Self::Whole { .. } | Self::Cores(_) => 0,
        }
    }

    /// Over how much of its start piece `index` is blended with the earlier ones.
    pub(crate) fn ramp_extent(&self, index: u32) -> u32 {
        match self {
            Self::Tiles(axis) => axis.ramp_extent(index),
            Self::Whole { .. } | Self::Cores(_) => 0,
        }
    }

    /// Cells of the output that are blended with the same weight.
    pub(crate) fn grain(&self) -> u32 {
        match self {
            Self::Tiles(axis) => axis.grain(),
            Self::Whole { .. } | Self::Cores(_) => 1,
        }
    }

    /// The span at `cursor`, and moves it behind that span.
    pub(crate) fn next(&self, cursor: &mut Cursor) -> Option<Span> {
        let owner = cursor.owner;
        if owner >= self.count() {
            return None;
        }
        let whole = |start, len| Span { start, len, owner, offset: 0, depth: 0 };
        let span = match self {
            Self::Whole { extent } => whole(0, *extent),
            Self::Cores(cores) => {
                let (start, len) = cores.part(owner, cores.scale);
                whole(start, len)
            }
            Self::Tiles(axis) => {
                let kept = axis.kept(owner);
                let span = tile_span(axis, owner, cursor.offset, kept);
                if span.offset + span.len < kept {
                    cursor.offset = span.offset + span.len;
                    return Some(span);
                }
                span
            }
        };
        *cursor = Cursor { owner: owner + 1, offset: 0 };
        Some(span)
    }
}

/// The span of tile `owner` that starts at its position `offset`, in the `kept` part of it.
///
/// Position `p` lies in the ramp of tile `owner - k` while `p + k * row_limit < blend_extent`, so
/// `ceil((blend_extent - p) / row_limit)` earlier tiles overlap it, if there are as many. Inside
/// one kept part that number changes at most once, at `blend_extent % row_limit`.
fn tile_span(axis: &TileAxis, owner: u32, offset: u32, kept: u32) -> Span {
    let full_depth = axis.blend_extent() / axis.row_limit();
    let change = axis.blend_extent() % axis.row_limit();
    let (end, depth) = if owner <= full_depth {
        (kept, owner)
    } else if offset < change {
        (change.min(kept), full_depth + 1)
    } else {
        (kept, full_depth)
    };
    let start = axis.output_start(owner) + offset;
    Span { start, len: end - offset, owner, offset, depth }
}

/// Where an iteration over spans is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Cursor {
    owner: u32,
    offset: u32,
}
