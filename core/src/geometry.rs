//! Sizes and rectangles, in latent cells or in pixels: the owner of the value says which.

/// Height and width.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Size {
    /// A size of `height` rows and `width` columns.
    pub const fn new(height: u32, width: u32) -> Self {
        Self { height, width }
    }

    /// Cells or pixels in it; fits for all of `u32`.
    pub const fn area(self) -> u64 {
        self.height as u64 * self.width as u64
    }

    /// The rectangle of this size at the origin.
    pub const fn at_origin(self) -> Rect {
        Rect { top: 0, left: 0, height: self.height, width: self.width }
    }
}

/// A rectangle: `top..bottom()` by `left..right()`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Rect {
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Rect {
    /// A rectangle with its upper left corner at (`top`, `left`).
    pub const fn new(top: u32, left: u32, height: u32, width: u32) -> Self {
        Self { top, left, height, width }
    }

    /// The row after the last; a `u64`, so that it cannot wrap.
    pub const fn bottom(self) -> u64 {
        self.top as u64 + self.height as u64
    }

    /// The column after the last; a `u64`, so that it cannot wrap.
    pub const fn right(self) -> u64 {
        self.left as u64 + self.width as u64
    }

    /// Height and width.
    pub const fn size(self) -> Size {
        Size { height: self.height, width: self.width }
    }

    /// Cells or pixels in it.
    pub const fn area(self) -> u64 {
        self.size().area()
    }

    /// Whether it holds no cell.
    pub const fn is_empty(self) -> bool {
        self.height == 0 || self.width == 0
    }

    /// Whether `other` lies inside; an empty `other` does if its corners do.
    pub const fn contains(self, other: Self) -> bool {
        self.top <= other.top
            && self.left <= other.left
            && other.bottom() <= self.bottom()
            && other.right() <= self.right()
    }

    /// The cells that both hold; `None` if there are none.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let (top, height) = overlap(self.top, self.bottom(), other.top, other.bottom())?;
        let (left, width) = overlap(self.left, self.right(), other.left, other.right())?;
        Some(Self { top, left, height, width })
    }
}

/// Start and length of the overlap of two ranges, unless it is empty.
fn overlap(start_a: u32, end_a: u64, start_b: u32, end_b: u64) -> Option<(u32, u32)> {
    let start = start_a.max(start_b);
    let len = end_a.min(end_b).checked_sub(u64::from(start))?;
    // Both ranges are at most u32::MAX long, and the overlap is no longer than either.
    (len > 0).then_some((start, len as u32))
}

/// The axis that an error or a fact is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Axis {
    /// Rows.
    Height,
    /// Columns.
    Width,
}

impl core::fmt::Display for Axis {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Height => "height",
            Self::Width => "width",
        })
    }
}
