//! How a rank fails, and how a group ends.

use serde::{Deserialize, Serialize};

use super::payload::{Expected, Length};
use super::room::Room;
use crate::error::BackendError;

/// A rank that failed, where it was, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("rank {rank} failed{}: {cause}", place(.piece, .op))]
pub struct Failure {
    /// The rank.
    pub rank: u32,
    /// The piece that it was decoding, if it was.
    pub piece: Option<u64>,
    /// The op that it was running, by name, if it was.
    pub op: Option<String>,
    /// What went wrong.
    pub cause: Cause,
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn place(piece: &Option<u64>, op: &Option<String>) -> String {
    let piece = piece.map(|piece| format!(" on piece {piece}")).unwrap_or_default();
    let op = op.as_ref().map(|op| format!(" in {op}")).unwrap_or_default();
    piece + &op
}

/// What went wrong in a rank.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Its backend failed.
    #[error("{0}")]
    Backend(BackendError),
    /// Its device has no room for what it decodes.
    #[error("{error}; {room}")]
    NoRoom {
        /// What there is no room for.
        error: BackendError,
        /// What there is room for.
        room: Box<Room>,
    },
    /// A bug.
    #[error("it panicked: {0}")]
    Panic(String),
    /// The decoder gave values that are no numbers.
    #[error(
        "the decoder produced values that are not finite; the checkpoint or the latents are damaged, or of another model"
    )]
    NotFinite,
    /// A message held something else, or had another length, than the plan says.
    #[error("received {got} from rank {from}, expected {expected}")]
    Length {
        /// The sender.
        from: u32,
        /// What came.
        got: Length,
        /// What the plan promised.
        expected: Expected,
    },
    /// A message is not the [object](super::Objects) that it should be.
    #[error("what rank {from} tells cannot be used: {error}")]
    Object {
        /// The sender.
        from: u32,
        /// Why not.
        error: String,
    },
    /// The file for values that did not fit memory failed.
    #[error("{0}")]
    Scratch(String),
    /// It was started with other files or flags than rank 0.
    #[error(
        "its {0} differ from those of rank 0; start every rank with the same files, flags and program"
    )]
    Differs(String),
    /// It could not begin: its files, flags or device, as its own error says.
    #[error("{0}")]
    Start(String),
    /// The picture could not be written.
    #[error("{0}")]
    Sink(String),
    /// The reader of the output went away with what there was: an end, and not an error.
    #[error("the reader of its output has enough")]
    Enough,
    /// Nothing was heard of a rank for too long, or the connection broke.
    #[error("{0}")]
    Transport(String),
}

/// Why a group cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A rank failed; every rank of the group gets the same first failure.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}
