//! Sizes and regions of frames, rows and columns, in latent cells or in pixels: the owner of the
//! value says which. An image is a video of one frame.

/// An axis.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Axis {
    /// Frames.
    Time,
    /// Rows.
    Height,
    /// Columns.
    Width,
}

impl Axis {
    /// All axes, the slowest first.
    pub const ALL: [Self; 3] = [Self::Time, Self::Height, Self::Width];
}

impl core::fmt::Display for Axis {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Time => "time",
            Self::Height => "height",
            Self::Width => "width",
        })
    }
}

/// A value for each axis.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Axes<T> {
    /// Of the frames.
    pub time: T,
    /// Of the rows.
    pub height: T,
    /// Of the columns.
    pub width: T,
}

impl<T> Axes<T> {
    /// A value for each axis.
    pub const fn new(time: T, height: T, width: T) -> Self {
        Self { time, height, width }
    }

    /// What `of` gives for each axis.
    #[inline]
    pub fn from_fn(mut of: impl FnMut(Axis) -> T) -> Self {
        Self { time: of(Axis::Time), height: of(Axis::Height), width: of(Axis::Width) }
    }

    /// Each value, changed.
    #[inline]
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Axes<U> {
        Axes { time: change(self.time), height: change(self.height), width: change(self.width) }
    }
}

impl<T> core::ops::Index<Axis> for Axes<T> {
    type Output = T;

    fn index(&self, axis: Axis) -> &T {
        match axis {
            Axis::Time => &self.time,
            Axis::Height => &self.height,
            Axis::Width => &self.width,
        }
    }
}

impl<T> core::ops::IndexMut<Axis> for Axes<T> {
    fn index_mut(&mut self, axis: Axis) -> &mut T {
        match axis {
            Axis::Time => &mut self.time,
            Axis::Height => &mut self.height,
            Axis::Width => &mut self.width,
        }
    }
}

/// Frames, height and width.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Size {
    /// Frames; 1 for an image.
    pub frames: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Size {
    /// An image of `height` rows and `width` columns.
    pub const fn new(height: u32, width: u32) -> Self {
        Self::video(1, height, width)
    }

    /// A video of `frames` frames of `height` rows and `width` columns.
    pub const fn video(frames: u32, height: u32, width: u32) -> Self {
        Self { frames, height, width }
    }

    /// Its extent along an axis.
    pub const fn along(self, axis: Axis) -> u32 {
        match axis {
            Axis::Time => self.frames,
            Axis::Height => self.height,
            Axis::Width => self.width,
        }
    }

    /// Cells or pixels of a frame; fits for all of `u32`.
    pub const fn area(self) -> u64 {
        self.height as u64 * self.width as u64
    }

    /// Cells or pixels in it; fits for all of `u32`.
    pub const fn volume(self) -> u128 {
        self.frames as u128 * self.area() as u128
    }

    /// The region of this size at the origin.
    pub const fn at_origin(self) -> Region {
        Region {
            first: 0,
            top: 0,
            left: 0,
            frames: self.frames,
            height: self.height,
            width: self.width,
        }
    }
}

/// A box of cells: frames `first..end()`, rows `top..bottom()`, columns `left..right()`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Region {
    /// First frame.
    pub first: u32,
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Frames.
    pub frames: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Region {
    /// A rectangle of an image, with its upper left corner at (`top`, `left`).
    pub const fn new(top: u32, left: u32, height: u32, width: u32) -> Self {
        Self { first: 0, top, left, frames: 1, height, width }
    }

    /// The same rectangle over `frames` frames from `first` on.
    #[must_use]
    pub const fn over(self, first: u32, frames: u32) -> Self {
        Self { first, frames, ..self }
    }

    /// From start and length along each axis.
    #[inline]
    pub fn from_spans(spans: Axes<(u32, u32)>) -> Self {
        let Axes { time: (first, frames), height: (top, height), width: (left, width) } = spans;
        Self { first, top, left, frames, height, width }
    }

    /// Start and length along an axis.
    pub const fn span(self, axis: Axis) -> (u32, u32) {
        match axis {
            Axis::Time => (self.first, self.frames),
            Axis::Height => (self.top, self.height),
            Axis::Width => (self.left, self.width),
        }
    }

    /// The frame after the last; a `u64`, so that it cannot wrap.
    pub const fn end(self) -> u64 {
        self.first as u64 + self.frames as u64
    }

    /// The row after the last; a `u64`, so that it cannot wrap.
    pub const fn bottom(self) -> u64 {
        self.top as u64 + self.height as u64
    }

    /// The column after the last; a `u64`, so that it cannot wrap.
    pub const fn right(self) -> u64 {
        self.left as u64 + self.width as u64
    }

    /// Frames, height and width.
    pub const fn size(self) -> Size {
        Size { frames: self.frames, height: self.height, width: self.width }
    }

    /// Cells or pixels of a frame.
    pub const fn area(self) -> u64 {
        self.size().area()
    }

    /// Cells or pixels in it.
    pub const fn volume(self) -> u128 {
        self.size().volume()
    }

    /// Whether it holds no cell.
    pub const fn is_empty(self) -> bool {
        self.frames == 0 || self.height == 0 || self.width == 0
    }

    /// Whether `other` lies inside; an empty `other` does if its corners do.
    pub const fn contains(self, other: Self) -> bool {
        self.first <= other.first
            && self.top <= other.top
            && self.left <= other.left
            && other.end() <= self.end()
            && other.bottom() <= self.bottom()
            && other.right() <= self.right()
    }

    /// The cells that both hold; `None` if there are none.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let along = |axis| overlap(self.span(axis), other.span(axis));
        let (time, height) = (along(Axis::Time)?, along(Axis::Height)?);
        Some(Self::from_spans(Axes::new(time, height, along(Axis::Width)?)))
    }
}

/// Start and length of the overlap of two spans, unless it is empty.
fn overlap(a: (u32, u32), b: (u32, u32)) -> Option<(u32, u32)> {
    let end = |(start, len): (u32, u32)| u64::from(start) + u64::from(len);
    let start = a.0.max(b.0);
    let len = end(a).min(end(b)).checked_sub(u64::from(start))?;
    // Both spans are at most u32::MAX long, and the overlap is no longer than either.
    (len > 0).then_some((start, len as u32))
}
