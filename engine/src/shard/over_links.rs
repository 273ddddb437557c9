//! Parcels from device to device.

use std::rc::Rc;

use halovae_core::Region;

use super::carrier::{Carrier, For, Wholes};
use super::stop::ShardStop;
use crate::backend::{Backend, BackendError};
use crate::group::{Cause, Content, Group, InFlight, Incoming, Links, Tag};
use crate::tensor::{HostTensor, Shape};

/// Sends tensors as they are, by the links between the ranks' devices.
pub(super) struct OverLinks<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) links: &'a dyn Links<B::Tensor>,
}

impl<B: Backend> Clone for OverLinks<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for OverLinks<'_, B> {}

impl<'a, B: Backend> Carrier<B> for OverLinks<'a, B> {
    type Parcel = Rc<B::Tensor>;
    type Transit = (Box<dyn InFlight<B::Tensor> + 'a>, Vec<For<Shape>>);

    const GIVES_AWAY: bool = true;

    fn cut(self, tensor: &B::Tensor, region: Region) -> Result<Self::Parcel, BackendError> {
        self.links.cut(tensor, region).map(Rc::new)
    }

    fn pass_on(self, tensor: &Rc<B::Tensor>) -> Result<Self::Parcel, BackendError> {
        Ok(tensor.clone())
    }

    fn one_behind_the_other(
        self,
        mut parcels: Vec<Self::Parcel>,
    ) -> Result<Self::Parcel, BackendError> {
        if parcels.len() == 1 {
            return Ok(parcels.remove(0));
        }
        let shapes = parcels.iter().map(|parcel| self.backend.shape(parcel));
        let shapes: Vec<Shape> = shapes.collect();
        let all = shapes[0].over(shapes.iter().map(|shape| shape.frames).sum());
        let mut first = 0;
        let place = |(tensor, shape): (Rc<B::Tensor>, &Shape)| {
            let at = shape.size().at_origin().over(first, shape.frames as u32);
            first += shape.frames as u32;
            (at, tensor)
        };
        let parts = parcels.into_iter().zip(&shapes).map(place).collect();
        self.links.join(all, parts).map(Rc::new)
    }

    fn lift(self, values: HostTensor) -> Result<Self::Parcel, BackendError> {
        self.backend.upload(&values).map(Rc::new)
    }

    fn begin(
        self,
        group: &dyn Group,
        _: Tag,
        outgoing: Vec<For<Self::Parcel>>,
        incoming: Vec<For<Shape>>,
    ) -> Result<Self::Transit, ShardStop> {
        let of = |(rank, parcels): For<Rc<B::Tensor>>| {
            parcels.into_iter().map(move |parcel| (rank, parcel))
        };
        let wanted = incoming.iter().flat_map(|(from, shapes)| {
            let content = Content::Features;
            shapes.iter().map(move |&shape| Incoming { from: *from, shape, content })
        });
        let wanted: Vec<Incoming> = wanted.collect();
        let outgoing = outgoing.into_iter().flat_map(of).collect();
        Ok((self.links.exchange(group, outgoing, &wanted)?, incoming))
    }

    fn arrive(
        self,
        group: &dyn Group,
        (in_flight, incoming): Self::Transit,
    ) -> Result<Vec<For<Self::Parcel>>, ShardStop> {
        let mut tensors = in_flight.arrive(group)?.into_iter().map(Rc::new);
        let of = |(from, shapes): For<Shape>| (from, tensors.by_ref().take(shapes.len()).collect());
        Ok(incoming.into_iter().map(of).collect())
    }

    fn merge(
        self,
        group: &dyn Group,
        _: Tag,
        own: Vec<Self::Parcel>,
        wholes: &Wholes<'_>,
    ) -> Result<Vec<B::Tensor>, ShardStop> {
        let all = all_gather(self.links, group, own, wholes)?;
        let merge = |at| {
            let tensors = all.iter().skip(at).step_by(wholes.shapes.len()).cloned();
            self.links.merge(&wholes.counts(at).zip(tensors).collect::<Vec<_>>())
        };
        let merged = (0..wholes.shapes.len()).map(merge).collect::<Result<_, _>>();
        Ok(merged.map_err(Cause::Backend)?)
    }

    fn join(
        self,
        shape: Shape,
        parts: Vec<(Region, Self::Parcel)>,
    ) -> Result<B::Tensor, BackendError> {
        self.links.join(shape, parts)
    }

    fn take(self, parcel: Self::Parcel) -> Result<Rc<B::Tensor>, BackendError> {
        Ok(parcel)
    }

    fn settle(self, group: &dyn Group) -> Result<(), ShardStop> {
        Ok(self.links.settle(group)?)
    }
}

/// All ranks' statistics from device to device, in the order of ranks.
fn all_gather<T>(
    links: &dyn Links<T>,
    group: &dyn Group,
    own: Vec<Rc<T>>,
    wholes: &Wholes<'_>,
) -> Result<Vec<Rc<T>>, ShardStop> {
    let me = group.rank();
    let others = || (0..group.size()).filter(|&rank| rank != me);
    let outgoing = others().flat_map(|rank| own.iter().map(move |part| (rank, part.clone())));
    let incoming = others().flat_map(|from| {
        let content = Content::Statistics;
        let shapes = (0..wholes.parts[from as usize]).flat_map(|_| &wholes.shapes);
        shapes.map(move |&shape| Incoming { from, shape, content })
    });
    let incoming: Vec<Incoming> = incoming.collect();
    let in_flight = links.exchange(group, outgoing.collect(), &incoming)?;
    let mut all: Vec<Rc<T>> = in_flight.arrive(group)?.into_iter().map(Rc::new).collect();
    let before = incoming.iter().filter(|part| part.from < me).count();
    all.splice(before..before, own);
    Ok(all)
}
