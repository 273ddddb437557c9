//! How parts of a rank's values get to other ranks: over the host, as messages of the group, or from
//! device to device.

use std::rc::Rc;

use halovae_core::Region;

use super::merge::{Partial, merge};
use super::stop::ShardStop;
use crate::backend::{Backend, BackendError};
use crate::group::{Cause, Content, Group, GroupError, InFlight, Incoming, Links, Tag};
use crate::tensor::{HostTensor, Shape};

/// A part of a value that goes to another rank or has come from one.
pub(super) enum Parcel<T> {
    /// On the host.
    Host(HostTensor),
    /// On the device.
    Device(Rc<T>),
}

/// Parcels for one rank.
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
    fn counts(&self, whole: usize) -> impl Iterator<Item = f64> {
        (0..self.parts.iter().sum()).map(move |part| (self.count)(whole, part))
    }
}

/// Parcels of other ranks on their way.
pub(super) enum Transit<'a, T> {
    /// Messages of the group, to be received.
    Host(Tag, Vec<For<Shape>>),
    /// Between devices.
    Device(Box<dyn InFlight<T> + 'a>, Vec<For<Shape>>),
}

/// The way that parcels take.
pub(super) struct Exchange<'a, B: Backend> {
    pub(super) backend: &'a B,
    /// For those that go from device to device.
    pub(super) links: Option<&'a dyn Links<B::Tensor>>,
}

impl<B: Backend> Clone for Exchange<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Exchange<'_, B> {}

impl<'a, B: Backend> Exchange<'a, B> {
    /// A region of a tensor.
    pub(super) fn cut(
        self,
        tensor: &B::Tensor,
        region: Region,
    ) -> Result<Parcel<B::Tensor>, BackendError> {
        match self.links {
            None => self.backend.download(tensor, region).map(Parcel::Host),
            Some(links) => links.cut(tensor, region).map(|part| Parcel::Device(Rc::new(part))),
        }
    }

    /// The whole of a tensor that has no other reader.
    pub(super) fn give(self, tensor: B::Tensor) -> Result<Parcel<B::Tensor>, BackendError> {
        self.pass_on(&Rc::new(tensor))
    }

    /// The whole of a tensor.
    pub(super) fn pass_on(self, tensor: &Rc<B::Tensor>) -> Result<Parcel<B::Tensor>, BackendError> {
        match self.links {
            Some(_) => Ok(Parcel::Device(tensor.clone())),
            None => {
                let shape = self.backend.shape(tensor);
                self.cut(tensor, shape.size().at_origin())
            }
        }
    }

    /// Frames of one region that lie in several parcels, one behind the other in time.
    pub(super) fn one_behind_the_other(
        self,
        mut parcels: Vec<Parcel<B::Tensor>>,
    ) -> Result<Parcel<B::Tensor>, BackendError> {
        if parcels.len() == 1 {
            return Ok(parcels.remove(0));
        }
        let shapes = parcels.iter().map(|parcel| match parcel {
            Parcel::Host(values) => values.shape(),
            Parcel::Device(tensor) => self.backend.shape(tensor),
        });
        let shapes: Vec<Shape> = shapes.collect();
        let all = shapes[0].over(shapes.iter().map(|shape| shape.frames).sum());
        match self.links {
            None => {
                let values = HostTensor::new(all, message(parcels)?);
                Ok(Parcel::Host(values.expect("the parcels have all of its frames")))
            }
            Some(links) => {
                let tensors: Vec<Rc<B::Tensor>> = parcels.into_iter().map(on_device).collect();
                let mut first = 0;
                let place = |(tensor, shape): (Rc<B::Tensor>, &Shape)| {
                    let at = shape.size().at_origin().over(first, shape.frames as u32);
                    first += shape.frames as u32;
                    (at, tensor)
                };
                let parts = tensors.into_iter().zip(&shapes).map(place).collect();
                links.join(all, parts).map(|tensor| Parcel::Device(Rc::new(tensor)))
            }
        }
    }

    /// What is on the host already.
    pub(super) fn lift(self, values: HostTensor) -> Result<Parcel<B::Tensor>, BackendError> {
        match self.links {
            None => Ok(Parcel::Host(values)),
            Some(_) => self.backend.upload(&values).map(|tensor| Parcel::Device(Rc::new(tensor))),
        }
    }

    /// Sends parcels, and begins to receive those of others: feature maps of these shapes.
    pub(super) fn begin(
        self,
        group: &dyn Group,
        tag: Tag,
        outgoing: Vec<For<Parcel<B::Tensor>>>,
        incoming: Vec<For<Shape>>,
    ) -> Result<Transit<'a, B::Tensor>, ShardStop> {
        let Some(links) = self.links else {
            for (rank, parcels) in outgoing {
                group.send(rank, tag, message(parcels).map_err(Cause::Backend)?)?;
            }
            return Ok(Transit::Host(tag, incoming));
        };
        let wanted = incoming.iter().flat_map(|(from, shapes)| {
            let content = Content::Features;
            shapes.iter().map(move |&shape| Incoming { from: *from, shape, content })
        });
        let in_flight = links.exchange(group, tensors(outgoing), &wanted.collect::<Vec<_>>())?;
        Ok(Transit::Device(in_flight, incoming))
    }

    /// What has come of each rank, in the order in which [`begin`](Self::begin) was told. Over the
    /// host it waits for it.
    pub(super) fn arrive(
        self,
        group: &dyn Group,
        transit: Transit<'a, B::Tensor>,
    ) -> Result<Vec<For<Parcel<B::Tensor>>>, ShardStop> {
        match transit {
            Transit::Host(tag, incoming) => {
                let receive = |(from, shapes): For<Shape>| {
                    let len = shapes.iter().map(elements).sum();
                    let message = group.receive(from, tag, len)?;
                    Ok((from, apart(message, &shapes).map_err(Cause::Backend)?))
                };
                incoming.into_iter().map(receive).collect()
            }
            Transit::Device(in_flight, incoming) => {
                let mut tensors = in_flight.arrive(group)?.into_iter().map(Rc::new);
                let of = |(from, shapes): For<Shape>| {
                    let parcels = tensors.by_ref().take(shapes.len()).map(Parcel::Device);
                    (from, parcels.collect())
                };
                Ok(incoming.into_iter().map(of).collect())
            }
        }
    }

    /// Merges statistics: every rank gives those of its parts, part by part, and gets the same bytes.
    pub(super) fn merge(
        self,
        group: &dyn Group,
        tag: Tag,
        own: Vec<Parcel<B::Tensor>>,
        wholes: &Wholes<'_>,
    ) -> Result<Vec<B::Tensor>, ShardStop> {
        let Some(links) = self.links else {
            let own = message(own).map_err(Cause::Backend)?;
            let merged = merge_on_host(group, tag, own, wholes)?;
            let upload = |part| self.backend.upload(on_host::<B::Tensor>(&part));
            let parts = apart(merged, &wholes.shapes).map_err(Cause::Backend)?;
            let merged = parts.into_iter().map(upload);
            return Ok(merged.collect::<Result<_, _>>().map_err(Cause::Backend)?);
        };
        let all = all_gather(links, group, own.into_iter().map(on_device).collect(), wholes)?;
        let merge = |at| {
            let tensors = all.iter().skip(at).step_by(wholes.shapes.len()).cloned();
            links.merge(&wholes.counts(at).zip(tensors).collect::<Vec<_>>())
        };
        let merged = (0..wholes.shapes.len()).map(merge).collect::<Result<_, _>>();
        Ok(merged.map_err(Cause::Backend)?)
    }

    /// A feature map of parts that cover it.
    pub(super) fn join(
        self,
        shape: Shape,
        parts: Vec<(Region, Parcel<B::Tensor>)>,
    ) -> Result<B::Tensor, BackendError> {
        if let Some(links) = self.links {
            let parts = parts.into_iter().map(|(rect, part)| (rect, on_device(part)));
            return links.join(shape, parts.collect());
        }
        let mut joined = HostTensor::zeros(shape)?;
        for (rect, part) in &parts {
            let row = rect.width as usize * shape.channels;
            let first = (rect.top as usize * shape.width + rect.left as usize) * shape.channels;
            let frames = joined.data_mut().chunks_exact_mut(shape.frame_len());
            let of_frame = on_host(part).data().chunks_exact(row * rect.height as usize);
            for (frame, values) in frames.skip(rect.first as usize).zip(of_frame) {
                let rows = frame[first..].chunks_mut(shape.width * shape.channels);
                let values = values.chunks_exact(row);
                rows.zip(values).for_each(|(to, from)| to[..row].copy_from_slice(from));
            }
        }
        self.backend.upload(&joined)
    }

    /// The parcel as a tensor.
    pub(super) fn take(self, parcel: Parcel<B::Tensor>) -> Result<Rc<B::Tensor>, BackendError> {
        match parcel {
            Parcel::Device(tensor) => Ok(tensor),
            Parcel::Host(values) => self.backend.upload(&values).map(Rc::new),
        }
    }

    /// To be called before anything that waits for the device: what others send may never come.
    pub(super) fn settle(self, group: &dyn Group) -> Result<(), ShardStop> {
        match self.links {
            None => Ok(()),
            Some(links) => Ok(links.settle(group)?),
        }
    }
}

/// Rank 0 merges and tells the others: no other rank has to see all of them.
fn merge_on_host(
    group: &dyn Group,
    tag: Tag,
    own: Vec<f32>,
    wholes: &Wholes<'_>,
) -> Result<Vec<f32>, GroupError> {
    let of_part: usize = wholes.shapes.iter().map(elements).sum();
    let mut merged = vec![0.0; of_part];
    let lens: Vec<usize> = wholes.parts.iter().map(|parts| parts * of_part).collect();
    if let Some(all) = group.gather(0, tag, own, &lens)? {
        let all = all.concat();
        let mut start = 0;
        for (whole, shape) in wholes.shapes.iter().enumerate() {
            let counts: Vec<f64> = wholes.counts(whole).collect();
            let end = start + elements(shape);
            for at in (start..end).step_by(2) {
                let partial = |(&count, part): (&f64, &[f32])| {
                    let [mean, variance] = [part[at], part[at + 1]].map(f64::from);
                    Partial { count, mean, variance }
                };
                let partials = counts.iter().zip(all.chunks_exact(of_part)).map(partial);
                merged[at..at + 2].copy_from_slice(&merge(partials));
            }
            start = end;
        }
    }
    group.broadcast(0, tag, &mut merged)?;
    Ok(merged)
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

fn on_host<T>(parcel: &Parcel<T>) -> &HostTensor {
    match parcel {
        Parcel::Host(values) => values,
        Parcel::Device(_) => unreachable!("without links nothing is on the device"),
    }
}

fn on_device<T>(parcel: Parcel<T>) -> Rc<T> {
    match parcel {
        Parcel::Device(tensor) => tensor,
        Parcel::Host(_) => unreachable!("with links nothing is on the host"),
    }
}

fn tensors<T>(outgoing: Vec<For<Parcel<T>>>) -> Vec<(u32, Rc<T>)> {
    let of = |(rank, parcels): For<Parcel<T>>| {
        parcels.into_iter().map(move |parcel| (rank, on_device(parcel)))
    };
    outgoing.into_iter().flat_map(of).collect()
}

/// All values of some parcels, one after the other.
///
/// # Errors
/// [`BackendError::OutOfMemory`] when the host has no room for them.
fn message<T>(parcels: Vec<Parcel<T>>) -> Result<Vec<f32>, BackendError> {
    let mut parts = parcels.into_iter().map(|parcel| match parcel {
        Parcel::Host(values) => values.into_data(),
        Parcel::Device(_) => unreachable!("without links nothing is on the device"),
    });
    let mut all = parts.next().unwrap_or_default();
    let parts: Vec<Vec<f32>> = parts.collect();
    reserve(&mut all, parts.iter().map(Vec::len).sum())?;
    parts.iter().for_each(|part| all.extend_from_slice(part));
    Ok(all)
}

/// The parcels of a message.
///
/// # Errors
/// As [`message`].
fn apart<T>(message: Vec<f32>, shapes: &[Shape]) -> Result<Vec<Parcel<T>>, BackendError> {
    let parcel = |shape: Shape, values: Vec<f32>| {
        Parcel::Host(HostTensor::new(shape, values).expect("as many as its shape has"))
    };
    if let [shape] = shapes {
        return Ok(vec![parcel(*shape, message)]);
    }
    let mut rest = message.as_slice();
    let next = |&shape: &Shape| {
        let (values, behind) = rest.split_at(elements(&shape));
        rest = behind;
        let mut own = Vec::new();
        reserve(&mut own, values.len())?;
        own.extend_from_slice(values);
        Ok(parcel(shape, own))
    };
    shapes.iter().map(next).collect()
}

/// Makes room for `more` values: feature maps, which may be more than there is.
fn reserve(values: &mut Vec<f32>, more: usize) -> Result<(), BackendError> {
    values.try_reserve_exact(more).map_err(|_| BackendError::OutOfMemory {
        device: "host memory".into(),
        what: "what ranks exchange".into(),
        requested: 4 * (values.len() as u64 + more as u64),
    })
}

fn elements(shape: &Shape) -> usize {
    shape.images() * shape.frame_len()
}
