//! One rank's connection to the GPUs of the others.

use super::library::{Handle, Nccl, Piece, UniqueId};
use crate::stream::Stream;

/// A connection; ended when it is dropped.
#[derive(Debug)]
pub(super) struct Communicator {
    nccl: &'static Nccl,
    handle: Handle,
    size: u32,
}

// SAFETY: NCCL's communicators may be used by any thread, one at a time.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Begins to connect rank `rank` of `size` on the device that this thread's calls are for.
    pub(super) fn begin(
        nccl: &'static Nccl,
        id: UniqueId,
        rank: u32,
        size: u32,
    ) -> Result<Self, String> {
        let handle = nccl.begin(id, rank, size)?;
        Ok(Self { nccl, handle, size })
    }

    /// How many ranks there are.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Whether what was begun last is done: connecting, or queueing an exchange. Errors also tell
    /// that another rank cannot be reached any more.
    pub(super) fn is_ready(&self) -> Result<bool, String> {
        // SAFETY: it is aborted when this is dropped.
        unsafe { self.nccl.is_ready(self.handle) }
    }

    /// Begins to queue what is sent and received, as one operation; not before the last one is.
    ///
    /// # Safety
    /// Pieces must be of memory that stays until the stream has done it.
    pub(super) unsafe fn exchange(
        &mut self,
        outgoing: &[Piece],
        incoming: &[Piece],
        stream: &Stream,
    ) -> Result<(), String> {
        // SAFETY: it is aborted when this is dropped; the caller's promise.
        unsafe { self.nccl.exchange(self.handle, outgoing, incoming, stream.raw()) }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // SAFETY: aborted once.
        unsafe { self.nccl.abort(self.handle) };
    }
}
