//! From one rank's device to another's, without the host between.

use std::rc::Rc;

use halovae_core::Region;
use serde::{Deserialize, Serialize};

use super::{Group, GroupError, Sent};
use crate::backend::BackendError;
use crate::tensor::Shape;

/// What a tensor holds, which decides how a device stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A feature map or a part of one.
    Features,
    /// Mean and variance of each group: `[1, groups, 1, 2]`.
    Statistics,
}

/// A tensor that another rank sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The sender.
    pub from: u32,
    /// Its extents.
    pub shape: Shape,
    /// What it holds.
    pub content: Content,
}

/// How ranks of a sharded decode exchange data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// From device to device, by this.
    Devices(String),
    /// Over the host, since devices cannot reach each other: for this reason.
    Host(String),
}

/// Why tensors do not travel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The group has ended.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// This rank's device failed.
    #[error(transparent)]
    Device(#[from] BackendError),
}

/// One rank's links to the devices of the others, through which tensors travel that would otherwise
/// go through host memory as messages of the [`Group`].
///
/// All calls queue work and return; nothing waits for another rank but [`connect`](Self::connect)
/// and [`settle`](Self::settle), and these end promptly once the group has ended. All ranks make the
/// same calls in the same order. That is why tensors need no tags: between two ranks they arrive in
/// the order in which they were sent.
pub trait Links<T>: Send + Sync {
    /// Connects the devices of all ranks of `group`, unless they are. Whether tensors will travel
    /// from device to device; every rank gets the same answer.
    ///
    /// # Errors
    /// [`LinkError`]; also that devices have to be connected and cannot be.
    fn connect(&self, group: &dyn Group) -> Result<Way, LinkError>;

    /// Copies rows and columns of a tensor, in a tensor of their own.
    ///
    /// # Errors
    /// What the device says.
    fn cut(&self, tensor: &T, region: Region) -> Result<T, BackendError>;

    /// A feature map of one sample, of parts that cover it and where they lie.
    ///
    /// # Errors
    /// What the device says.
    fn join(&self, shape: Shape, parts: Vec<(Region, Rc<T>)>) -> Result<T, BackendError>;

    /// The statistics of a whole, of those of its parts and how many values each of these has: part
    /// by part in f64, by the formula of Chan, Golub and LeVeque (1979), so that they have the bytes
    /// that they would have through host memory.
    ///
    /// # Errors
    /// What the device says.
    fn merge(&self, parts: &[(f64, Rc<T>)]) -> Result<T, BackendError>;

    /// Begins to send tensors to other ranks and to receive theirs, all at once.
    ///
    /// # Errors
    /// [`LinkError`].
    fn exchange<'a>(
        &'a self,
        group: &dyn Group,
        outgoing: Vec<(u32, Rc<T>)>,
        incoming: &[Incoming],
    ) -> Result<Box<dyn InFlight<T> + 'a>, LinkError>;

    /// Waits until the device has done what is queued, and with it what others send. To be called
    /// before anything that waits for the device without looking at the group.
    ///
    /// # Errors
    /// [`LinkError`].
    fn settle(&self, group: &dyn Group) -> Result<(), LinkError>;

    /// Ends what is under way, since the group has ended or this rank has failed: nothing on the
    /// device waits for others any more. The next decode connects anew.
    fn disconnect(&self);

    /// What was sent since the last call.
    fn take_sent(&self) -> Sent;
}

/// Tensors on their way.
pub trait InFlight<T> {
    /// What was received, in the order in which it was asked for. The device waits for it before it
    /// does anything that is queued from now on.
    ///
    /// # Errors
    /// [`LinkError`].
    fn arrive(self: Box<Self>, group: &dyn Group) -> Result<Vec<T>, LinkError>;
}
