//! What messages are about, in the bits of a [`Tag`].

/// What a message is about. Two messages between the same ranks with the same tag keep their
/// order; with different tags they may be received in any order.
///
/// The highest bit is clear in the tag of a finished piece, whose index is the rest. In that of any
/// other message the next three bits are its kind: what the ranks of a sharded decode exchange for an
/// op, whose place is in the low bits, or [`LINKS`], or [`CHOICE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// Of messages by which devices of different ranks are connected.
pub const LINKS: Tag = Tag::of_op(Kind::Links, 0);

/// Of what rank 0 chooses for all.
pub const CHOICE: Tag = Tag::of_op(Kind::Choice, 0);

const NO_PIECE: u64 = 1 << 63;

/// What a message that is no finished piece is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Borders for a conv.
    Borders = 1,
    /// Statistics of parts.
    Statistics = 2,
    /// Keys and values of an attention.
    Attention = 3,
    /// How devices are connected.
    Links = 4,
    /// What rank 0 chooses for all.
    Choice = 5,
}

impl Tag {
    /// Of a finished piece.
    pub(crate) const fn piece(index: u64) -> Self {
        Self(index)
    }

    /// Whether it is that of a finished piece.
    pub(crate) const fn is_piece(self) -> bool {
        self.0 & NO_PIECE == 0
    }

    /// Of a message of a kind about the op at a place.
    pub(crate) const fn of_op(kind: Kind, op: usize) -> Self {
        Self(NO_PIECE | (kind as u64) << 60 | op as u64)
    }
}
