//! What lies around a part of a layer.

use crate::{Axes, Axis};

/// A value for each side: cells of a layer beyond a region, or what lies there.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Margins<T = u32> {
    /// Frames before.
    pub past: T,
    /// Frames after.
    pub future: T,
    /// Rows above.
    pub top: T,
    /// Rows below.
    pub bottom: T,
    /// Columns to the left.
    pub left: T,
    /// Columns to the right.
    pub right: T,
}

impl<T> Margins<T> {
    /// From what is before and behind along each axis.
    pub fn from_axes(axes: Axes<[T; 2]>) -> Self {
        let Axes { time: [past, future], height: [top, bottom], width: [left, right] } = axes;
        Self { past, future, top, bottom, left, right }
    }

    /// Each value, changed.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Margins<U> {
        Margins {
            past: change(self.past),
            future: change(self.future),
            top: change(self.top),
            bottom: change(self.bottom),
            left: change(self.left),
            right: change(self.right),
        }
    }

    /// A reference to each value.
    pub const fn each_ref(&self) -> Margins<&T> {
        let Self { past, future, top, bottom, left, right } = self;
        Margins { past, future, top, bottom, left, right }
    }
}

impl<T: Copy> Margins<T> {
    /// What is before and behind along an axis.
    pub const fn along(&self, axis: Axis) -> [T; 2] {
        match axis {
            Axis::Time => [self.past, self.future],
            Axis::Height => [self.top, self.bottom],
            Axis::Width => [self.left, self.right],
        }
    }
}

impl<T: Default> Margins<T> {
    /// Those of a frame, above, below, to the left and to the right; none in time.
    pub fn of_frame([top, bottom, left, right]: [T; 4]) -> Self {
        Self { top, bottom, left, right, ..Self::default() }
    }
}

impl Margins {
    /// None on any side.
    pub const NONE: Self = Self { past: 0, future: 0, top: 0, bottom: 0, left: 0, right: 0 };

    /// Whether there is none on any side.
    pub const fn is_none(self) -> bool {
        let Self { past, future, top, bottom, left, right } = self;
        past == 0 && future == 0 && top == 0 && bottom == 0 && left == 0 && right == 0
    }
}
