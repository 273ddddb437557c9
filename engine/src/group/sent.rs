//! How much a rank sent.

use serde::{Deserialize, Serialize};

/// What a rank sent to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Messages with which ranks help each other decode: halos, statistics, keys and values.
    pub messages: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Bytes of finished pieces, on their way to the stitcher.
    pub piece_bytes: u64,
}

impl std::iter::Sum for Sent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, sent| Self {
            messages: sum.messages + sent.messages,
            bytes: sum.bytes + sent.bytes,
            piece_bytes: sum.piece_bytes + sent.piece_bytes,
        })
    }
}
