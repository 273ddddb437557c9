//! The ranks that work together, and the messages between them.
//!
//! Every rank computes the same plan, so a receiver always knows who sends what and how many values
//! it is: no shapes and no metadata travel with them. What a plan cannot know (what a device is, how
//! something went) travels as [`Objects`].

mod failure;
mod links;
mod objects;
mod payload;
mod process;
mod room;
mod sent;
mod tag;
mod threads;
mod watch;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use failure::{Cause, Failure, GroupError, panic_message};
pub use links::{Content, InFlight, Incoming, LinkError, Links, Way};
pub use objects::Objects;
pub use payload::{Expected, Length, MAX_MESSAGE_BYTES, Payload};
pub use process::{
    Answer, Neighbours, ProcessRank, Refused, Transport, TransportEnded, UnderWay, own_cores,
};
pub use room::{Room, WHERE_NOTHING_FITS};
pub use sent::Sent;
pub(crate) use tag::Kind;
pub use tag::{CHOICE, LINKS, Tag};
pub use threads::{Cancel, ThreadGroup, ThreadRank};
pub use watch::{Fact, Limits, Lobby, Reach, Rendezvous, Waiting, Watch};

/// How many messages a rank may have under way to another before it waits for it to receive;
/// bounds the memory of pieces that are not stitched yet. Between processes small messages are
/// soon on their way and do not count for long.
pub(crate) const MESSAGES_UNDER_WAY: u32 = 4;

/// One rank's end of a group. All calls may block, and all of them return promptly with the same
/// error once any rank has failed or the work was cancelled.
///
/// Implementors give point-to-point messages, of values or of bytes; the collectives of values and
/// those of [`Objects`] are made of these.
pub trait Group: Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> u32;

    /// How many ranks there are.
    fn size(&self) -> u32;

    /// Sends to a rank, itself included. May block until the receiver has room.
    ///
    /// # Errors
    /// [`GroupError`].
    fn send_payload(&self, to: u32, tag: Tag, payload: Payload) -> Result<(), GroupError>;

    /// Receives the next message with this tag, which is as expected.
    ///
    /// # Errors
    /// [`GroupError`]; any other message fails the group.
    fn receive_payload(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
    ) -> Result<Payload, GroupError>;

    /// Sends values to a rank, itself included.
    ///
    /// # Errors
    /// [`GroupError`].
    fn send(&self, to: u32, tag: Tag, values: Vec<f32>) -> Result<(), GroupError> {
        self.send_payload(to, tag, Payload::Values(values))
    }

    /// Receives the next message with this tag, of exactly `len` values.
    ///
    /// # Errors
    /// [`GroupError`]; a message of another length fails the group.
    fn receive(&self, from: u32, tag: Tag, len: usize) -> Result<Vec<f32>, GroupError> {
        match self.receive_payload(from, tag, Expected::Values(len))? {
            Payload::Values(values) => Ok(values),
            Payload::Bytes(_) => unreachable!("a group gives what is expected"),
        }
    }

    /// Receives the next message with this tag, of bytes.
    ///
    /// # Errors
    /// [`GroupError`]; any other message fails the group.
    fn receive_bytes(&self, from: u32, tag: Tag) -> Result<Vec<u8>, GroupError> {
        match self.receive_payload(from, tag, Expected::Bytes)? {
            Payload::Bytes(bytes) => Ok(bytes),
            Payload::Values(_) => unreachable!("a group gives what is expected"),
        }
    }

    /// Tells all ranks that this one failed. The first failure stays.
    fn fail(&self, failure: Failure);

    /// Whether to go on.
    ///
    /// # Errors
    /// [`GroupError`], once a rank failed or the work was cancelled.
    fn check(&self) -> Result<(), GroupError>;

    /// The same, asked again and again while the rank waits for its device: not a sign that it gets
    /// on with its work.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_while_waiting(&self) -> Result<(), GroupError> {
        self.check()
    }

    /// As long as the guard lives, the calling thread waits for other ranks. `None` from a group that
    /// does not watch for ranks that hang.
    fn waiting(&self) -> Option<Waiting<'_>> {
        None
    }

    /// This rank has done its part and waits for the others. A group that watches for ranks that
    /// hang does not mind it from here on.
    fn rest(&self) {}

    /// Gives every rank the values that `root` has in `data`; all pass the same length.
    ///
    /// # Errors
    /// [`GroupError`].
    fn broadcast(&self, root: u32, tag: Tag, data: &mut [f32]) -> Result<(), GroupError> {
        if self.rank() == root {
            for to in (0..self.size()).filter(|&to| to != root) {
                self.send(to, tag, data.to_vec())?;
            }
        } else {
            data.copy_from_slice(&self.receive(root, tag, data.len())?);
        }
        Ok(())
    }

    /// Gives `root` the values that every rank has, in rank order; `lens[r]` is how many rank `r` has.
    ///
    /// # Errors
    /// [`GroupError`].
    fn gather(
        &self,
        root: u32,
        tag: Tag,
        data: Vec<f32>,
        lens: &[usize],
    ) -> Result<Option<Vec<Vec<f32>>>, GroupError> {
        self.send(root, tag, data)?;
        if self.rank() != root {
            return Ok(None);
        }
        let receive = |(from, &len)| self.receive(from, tag, len);
        (0..self.size()).zip(lens).map(receive).collect::<Result<_, _>>().map(Some)
    }
}

/// The first ranks of a group, as a group: those that have work to do together. Failures are those
/// of the whole group.
#[derive(Debug)]
pub struct FirstRanks<'a, G: ?Sized> {
    group: &'a G,
    size: u32,
}

impl<'a, G: Group + ?Sized> FirstRanks<'a, G> {
    /// The first `size` ranks of `group`, of which this must be one.
    pub fn new(group: &'a G, size: u32) -> Self {
        Self { group, size }
    }
}

impl<G: Group + ?Sized> Group for FirstRanks<'_, G> {
    fn rank(&self) -> u32 {
        self.group.rank()
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn send_payload(&self, to: u32, tag: Tag, payload: Payload) -> Result<(), GroupError> {
        self.group.send_payload(to, tag, payload)
    }

    fn receive_payload(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
    ) -> Result<Payload, GroupError> {
        self.group.receive_payload(from, tag, expected)
    }

    fn fail(&self, failure: Failure) {
        self.group.fail(failure);
    }

    fn check(&self) -> Result<(), GroupError> {
        self.group.check()
    }

    fn check_while_waiting(&self) -> Result<(), GroupError> {
        self.group.check_while_waiting()
    }

    fn waiting(&self) -> Option<Waiting<'_>> {
        self.group.waiting()
    }

    fn rest(&self) {
        self.group.rest();
    }
}

/// A group whose ranks are processes.
pub trait ProcessGroup: Group {
    /// Watches over them.
    fn watch(&self) -> &Watch;
}
