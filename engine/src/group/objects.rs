//! What ranks send each other besides values: flags, ids, texts, choices.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cause, Failure, Group, GroupError, MAX_MESSAGE_BYTES, Payload, Tag};

/// Objects as messages: JSON, as between the ranks and their watch. What comes is checked by its type;
/// what does not fit it fails the group.
pub trait Objects: Group {
    /// Sends an object to a rank, itself included.
    ///
    /// # Errors
    /// [`GroupError`]; an object of more than [`MAX_MESSAGE_BYTES`] fails the group.
    fn send_object<T: Serialize>(&self, to: u32, tag: Tag, object: &T) -> Result<(), GroupError> {
        self.send_payload(to, tag, Payload::Bytes(encoded(self, object)?))
    }

    /// Receives the next object with this tag.
    ///
    /// # Errors
    /// [`GroupError`]; a message that is no such object fails the group.
    fn receive_object<T: DeserializeOwned>(&self, from: u32, tag: Tag) -> Result<T, GroupError> {
        let bytes = self.receive_bytes(from, tag)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| fail(self, Cause::Object { from, error: error.to_string() }))
    }

    /// Gives every rank the object of `root`, which alone passes one.
    ///
    /// # Errors
    /// [`GroupError`].
    fn broadcast_object<T: Serialize + DeserializeOwned>(
        &self,
        root: u32,
        tag: Tag,
        own: Option<T>,
    ) -> Result<T, GroupError> {
        debug_assert_eq!(own.is_some(), self.rank() == root, "the root has the object");
        let Some(object) = own else { return self.receive_object(root, tag) };
        let bytes = encoded(self, &object)?;
        for to in (0..self.size()).filter(|&to| to != self.rank()) {
            self.send_payload(to, tag, Payload::Bytes(bytes.clone()))?;
        }
        Ok(object)
    }

    /// Gives every rank the objects of all, in the order of ranks.
    ///
    /// # Errors
    /// [`GroupError`].
    fn all_gather_object<T: Serialize + DeserializeOwned>(
        &self,
        tag: Tag,
        own: T,
    ) -> Result<Vec<T>, GroupError> {
        if self.rank() > 0 {
            self.send_object(0, tag, &own)?;
            let all: Vec<T> = self.receive_object(0, tag)?;
            return match all.len() == self.size() as usize {
                true => Ok(all),
                false => {
                    let error = format!("{} objects of {} ranks", all.len(), self.size());
                    Err(fail(self, Cause::Object { from: 0, error }))
                }
            };
        }
        let others = (1..self.size()).map(|from| self.receive_object(from, tag));
        let all = std::iter::once(Ok(own)).chain(others).collect::<Result<Vec<T>, _>>()?;
        self.broadcast_object(0, tag, Some(all))
    }
}

impl<G: Group + ?Sized> Objects for G {}

fn encoded<G: Group + ?Sized>(group: &G, object: &impl Serialize) -> Result<Vec<u8>, GroupError> {
    let why = match serde_json::to_vec(object) {
        Ok(bytes) if bytes.len() <= MAX_MESSAGE_BYTES => return Ok(bytes),
        Ok(bytes) => format!("it has {} bytes, at most {MAX_MESSAGE_BYTES} travel", bytes.len()),
        Err(error) => error.to_string(),
    };
    Err(fail(group, Cause::Object { from: group.rank(), error: why }))
}

/// Fails the group; its first failure may be another.
fn fail<G: Group + ?Sized>(group: &G, cause: Cause) -> GroupError {
    let failure = Failure { rank: group.rank(), piece: None, op: None, cause };
    group.fail(failure.clone());
    group.check_while_waiting().err().unwrap_or(GroupError::Failed(failure))
}
