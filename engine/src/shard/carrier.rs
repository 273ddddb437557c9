//! How parts of a rank's values get to other ranks: over the host, or from device to device.

use std::rc::Rc;

use halovae_core::Region;

use super::stop::ShardStop;
use crate::backend::{Backend, BackendError};
use crate::group::{Group, Tag};
use crate::tensor::{HostTensor, Shape};

/// Parcels for one rank, or of one.
pub(super) type For<P> = (u32, Vec<P>);

/// Statistics of whole feature maps, which are merged of those of their parts.
pub(super) struct Wholes<'a> {
    /// The extents of each.
    pub(super) shapes: Vec<Shape>,
    /// How many parts each rank has.
    pub(super) parts: Vec<usize>,
    /// How many values of a channel group a part of one of them has.
    pub(super) count: &'a dyn Fn(usize, usize) -> f64,
}

impl Wholes<'_> {
    /// The counts of one of them, part by part.
    pub(super) fn counts(&self, whole: usize) -> impl Iterator<Item = f64> {
        (0..self.parts.iter().sum()).map(move |part| (self.count)(whole, part))
    }
}

/// Carries parts of values from rank to rank.
pub(super) trait Carrier<B: Backend>: Copy {
    /// A part of a value that goes to another rank or has come from one.
    type Parcel;
    /// Parcels of other ranks on their way.
    type Transit;

    /// Whether a tensor leaves as it is, and no copy of it.
    const GIVES_AWAY: bool;

    /// A region of a tensor.
    fn cut(self, tensor: &B::Tensor, region: Region) -> Result<Self::Parcel, BackendError>;

    /// The whole of a tensor.
    fn pass_on(self, tensor: &Rc<B::Tensor>) -> Result<Self::Parcel, BackendError>;

    /// Frames of one region that lie in several parcels, one behind the other in time.
    fn one_behind_the_other(self, parcels: Vec<Self::Parcel>)
    -> Result<Self::Parcel, BackendError>;

    /// What is on the host already.
    fn lift(self, values: HostTensor) -> Result<Self::Parcel, BackendError>;

    /// Sends parcels, and begins to receive those of others: feature maps of these shapes.
    fn begin(
        self,
        group: &dyn Group,
        tag: Tag,
        outgoing: Vec<For<Self::Parcel>>,
        incoming: Vec<For<Shape>>,
    ) -> Result<Self::Transit, ShardStop>;

    /// What has come of each rank, in the order in which [`begin`](Self::begin) was told. Over the
    /// host it waits for it.
    fn arrive(
        self,
        group: &dyn Group,
        transit: Self::Transit,
    ) -> Result<Vec<For<Self::Parcel>>, ShardStop>;

    /// Merges statistics: every rank gives those of its parts, part by part, and gets the same bytes.
    fn merge(
        self,
        group: &dyn Group,
        tag: Tag,
        own: Vec<Self::Parcel>,
        wholes: &Wholes<'_>,
    ) -> Result<Vec<B::Tensor>, ShardStop>;

    /// A feature map of parts that cover it.
    fn join(
        self,
        shape: Shape,
        parts: Vec<(Region, Self::Parcel)>,
    ) -> Result<B::Tensor, BackendError>;

    /// The parcel as a tensor.
    fn take(self, parcel: Self::Parcel) -> Result<Rc<B::Tensor>, BackendError>;

    /// To be called before anything that waits for the device: what others send may never come.
    fn settle(self, group: &dyn Group) -> Result<(), ShardStop>;
}
