//! A group that counts what a rank sends.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::group::{Expected, Failure, Group, GroupError, LINKS, Payload, Sent, Tag, Waiting};

/// Counts what goes from this rank to others; what it sends to itself stays in memory, and what it
/// takes to [link](LINKS) devices is no part of a decode.
#[derive(Debug)]
pub struct Counted<'a, G: ?Sized> {
    inner: &'a G,
    messages: AtomicU64,
    bytes: AtomicU64,
    piece_bytes: AtomicU64,
}

impl<'a, G: Group + ?Sized> Counted<'a, G> {
    /// Wraps `inner`; nothing is counted yet.
    pub fn new(inner: &'a G) -> Self {
        let [messages, bytes, piece_bytes] = [const { AtomicU64::new(0) }; 3];
        Self { inner, messages, bytes, piece_bytes }
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        Sent {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            piece_bytes: self.piece_bytes.load(Ordering::Relaxed),
        }
    }
}

impl<G: Group + ?Sized> Group for Counted<'_, G> {
    fn rank(&self) -> u32 {
        self.inner.rank()
    }

    fn size(&self) -> u32 {
        self.inner.size()
    }

    fn send_payload(&self, to: u32, tag: Tag, payload: Payload) -> Result<(), GroupError> {
        let bytes = payload.as_bytes().len() as u64;
        let leaves = to != self.rank() && tag != LINKS;
        if leaves && tag.is_piece() {
            self.piece_bytes.fetch_add(bytes, Ordering::Relaxed);
        } else if leaves {
            self.messages.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.inner.send_payload(to, tag, payload)
    }

    fn receive_payload(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
    ) -> Result<Payload, GroupError> {
        self.inner.receive_payload(from, tag, expected)
    }

    fn fail(&self, failure: Failure) {
        self.inner.fail(failure);
    }

    fn check(&self) -> Result<(), GroupError> {
        self.inner.check()
    }

    fn check_while_waiting(&self) -> Result<(), GroupError> {
        self.inner.check_while_waiting()
    }

    fn waiting(&self) -> Option<Waiting<'_>> {
        self.inner.waiting()
    }

    fn rest(&self) {
        self.inner.rest();
    }
}
