//! What decodes in the memory that a rank had.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format_bytes;

/// What to do where no tile and no number of shards is known to fit. Ranks of one machine share its
/// memory.
pub const WHERE_NOTHING_FITS: &str = "allow more memory, or use smaller tiles, fewer ranks on this machine, or ranks on several machines";

/// The memory that a rank had, and what would do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes of values and workspace that it can have.
    pub held: u64,
    /// The side in pixels of the largest square tile that decodes in that, a quarter of it shared
    /// with the next.
    pub tile: Option<u32>,
    /// Bytes over all ranks of a process, weights included and in whole MiB, in which a sharded decode
    /// does.
    pub sharded: Option<u64>,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = format_bytes(self.held);
        match (self.tile, self.sharded) {
            (None, None) => f.write_str(WHERE_NOTHING_FITS),
            (Some(tile), None) => {
                write!(f, "in the {held} that it had, tiles of {tile} x {tile} pixels fit")
            }
            (None, Some(bytes)) => {
                write!(f, "a sharded decode limited to {} fits", format_bytes(bytes))
            }
            (Some(tile), Some(bytes)) => write!(
                f,
                "in the {held} that it had, tiles of {tile} x {tile} pixels fit; or, exactly, \
                 a sharded decode limited to {}",
                format_bytes(bytes)
            ),
        }
    }
}
