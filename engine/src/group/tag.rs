//! What messages are about, in the bits of a [`Tag`].

/// What a message is about. Two messages between the same ranks with the same tag keep their
/// order; with different tags they may be received in any order.
///
/// The highest bit is clear in the tag of a finished piece, whose index is the rest. In that of any
/// other message the next three bits are its kind, of which 1 to 3 are what the ranks of a sharded
/// decode exchange for an op, whose place is in the low bits, 4 is [`LINKS`] and 5 is [`GRID`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// Of messages by which devices of different ranks are connected.
pub const LINKS: Tag = Tag::of_kind(4, 0);

/// Of the shards that rank 0 chooses for all.
pub const GRID: Tag = Tag::of_kind(5, 0);

const NO_PIECE: u64 = 1 << 63;

impl Tag {
    /// Of a finished piece.
    pub(crate) const fn piece(index: u64) -> Self {
        Self(index)
    }

    /// Whether it is that of a finished piece.
    pub(crate) const fn is_piece(self) -> bool {
        self.0 & NO_PIECE == 0
    }

    /// Of a message of a kind, from 1 to 7, about the op at a place.
    pub(crate) const fn of_kind(kind: u64, op: u64) -> Self {
        Self(NO_PIECE | kind << 60 | op)
    }
}
