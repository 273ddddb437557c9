//! What a decode tells while it runs.

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The work is known.
    Planned {
        /// Pieces over all images.
        pieces: u64,
        /// Rows over all images.
        rows: u64,
    },
    /// A rank finished a piece.
    PieceDone {
        /// The rank.
        rank: u32,
        /// The piece, counted over all images.
        piece: u64,
        /// Seconds from its upload to its download.
        seconds: f64,
        /// Bytes of the finished piece.
        bytes: u64,
    },
    /// A piece came from a rank in another process.
    PieceReceived {
        /// The rank.
        rank: u32,
        /// The piece, counted over all images.
        piece: u64,
    },
    /// A rank's shards had some of their turns: each of them has one in every segment of the
    /// program.
    Turns {
        /// The rank.
        rank: u32,
        /// Turns that are over.
        done: u64,
        /// All turns of this rank, over all images.
        of: u64,
    },
    /// Finished rows went to the sink.
    RowsWritten {
        /// How many.
        rows: u64,
    },
}

/// Is told of events, from any thread. Must be quick: ranks wait for it.
pub trait Observer: Sync {
    /// Called for each event.
    fn event(&self, event: Event);
}

/// Does not listen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}
