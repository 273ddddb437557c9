//! The sides of a part.

use halovae_core::Margins;

/// A side of a part, as margins have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Past,
    Future,
    Top,
    Bottom,
    Left,
    Right,
}

impl Side {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Past, Self::Future, Self::Top, Self::Bottom, Self::Left, Self::Right];

    /// Those of a frame.
    pub(super) const OF_FRAME: [Self; 4] = [Self::Top, Self::Bottom, Self::Left, Self::Right];

    /// What `margins` have on this side.
    pub(super) fn of<T>(self, margins: &mut Margins<T>) -> &mut T {
        match self {
            Self::Past => &mut margins.past,
            Self::Future => &mut margins.future,
            Self::Top => &mut margins.top,
            Self::Bottom => &mut margins.bottom,
            Self::Left => &mut margins.left,
            Self::Right => &mut margins.right,
        }
    }
}
