//! Parcels as messages of the group, over the host.

use std::rc::Rc;

use halovae_core::Region;

use super::carrier::{Carrier, For, Wholes};
use super::merge::{Partial, merge};
use super::stop::ShardStop;
use crate::backend::{Backend, BackendError};
use crate::group::{Cause, Group, GroupError, Tag};
use crate::tensor::{HostTensor, Shape};

/// Downloads what leaves and uploads what comes.
pub(super) struct OverHost<'a, B> {
    pub(super) backend: &'a B,
}

impl<B> Clone for OverHost<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for OverHost<'_, B> {}

impl<B: Backend> Carrier<B> for OverHost<'_, B> {
    type Parcel = HostTensor;
    /// Messages that are to be received.
    type Transit = (Tag, Vec<For<Shape>>);

    const GIVES_AWAY: bool = false;

    fn cut(self, tensor: &B::Tensor, region: Region) -> Result<HostTensor, BackendError> {
        self.backend.download(tensor, region)
    }

    fn pass_on(self, tensor: &Rc<B::Tensor>) -> Result<HostTensor, BackendError> {
        self.cut(tensor, self.backend.shape(tensor).size().at_origin())
    }

    fn one_behind_the_other(
        self,
        mut parcels: Vec<HostTensor>,
    ) -> Result<HostTensor, BackendError> {
        if parcels.len() == 1 {
            return Ok(parcels.remove(0));
        }
        let frames = parcels.iter().map(|parcel| parcel.shape().frames).sum();
        let all = parcels[0].shape().over(frames);
        let values = HostTensor::new(all, message(parcels)?);
        Ok(values.expect("the parcels have all of its frames"))
    }

    fn lift(self, values: HostTensor) -> Result<HostTensor, BackendError> {
        Ok(values)
    }

    fn begin(
        self,
        group: &dyn Group,
        tag: Tag,
        outgoing: Vec<For<HostTensor>>,
        incoming: Vec<For<Shape>>,
    ) -> Result<Self::Transit, ShardStop> {
        for (rank, parcels) in outgoing {
            group.send(rank, tag, message(parcels).map_err(Cause::Backend)?)?;
        }
        Ok((tag, incoming))
    }

    fn arrive(
        self,
        group: &dyn Group,
        (tag, incoming): Self::Transit,
    ) -> Result<Vec<For<HostTensor>>, ShardStop> {
        let receive = |(from, shapes): For<Shape>| {
            let len = shapes.iter().map(elements).sum();
            let message = group.receive(from, tag, len)?;
            Ok((from, apart(message, &shapes).map_err(Cause::Backend)?))
        };
        incoming.into_iter().map(receive).collect()
    }

    fn merge(
        self,
        group: &dyn Group,
        tag: Tag,
        own: Vec<HostTensor>,
        wholes: &Wholes<'_>,
    ) -> Result<Vec<B::Tensor>, ShardStop> {
        let own = message(own).map_err(Cause::Backend)?;
        let merged = merge_on_host(group, tag, own, wholes)?;
        let parts = apart(merged, &wholes.shapes).map_err(Cause::Backend)?;
        let merged = parts.iter().map(|part| self.backend.upload(part));
        Ok(merged.collect::<Result<_, _>>().map_err(Cause::Backend)?)
    }

    fn join(
        self,
        shape: Shape,
        parts: Vec<(Region, HostTensor)>,
    ) -> Result<B::Tensor, BackendError> {
        let mut joined = HostTensor::zeros(shape)?;
        for (rect, part) in &parts {
            let row = rect.width as usize * shape.channels;
            let first = (rect.top as usize * shape.width + rect.left as usize) * shape.channels;
            let frames = joined.data_mut().chunks_exact_mut(shape.frame_len());
            let of_frame = part.data().chunks_exact(row * rect.height as usize);
            for (frame, values) in frames.skip(rect.first as usize).zip(of_frame) {
                let rows = frame[first..].chunks_mut(shape.width * shape.channels);
                let values = values.chunks_exact(row);
                rows.zip(values).for_each(|(to, from)| to[..row].copy_from_slice(from));
            }
        }
        self.backend.upload(&joined)
    }

    fn take(self, parcel: HostTensor) -> Result<Rc<B::Tensor>, BackendError> {
        self.backend.upload(&parcel).map(Rc::new)
    }

    fn settle(self, _: &dyn Group) -> Result<(), ShardStop> {
        Ok(())
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

/// All values of some parcels, one after the other.
///
/// # Errors
/// [`BackendError::OutOfMemory`] when the host has no room for them.
fn message(parcels: Vec<HostTensor>) -> Result<Vec<f32>, BackendError> {
    let mut parts = parcels.into_iter().map(HostTensor::into_data);
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
fn apart(message: Vec<f32>, shapes: &[Shape]) -> Result<Vec<HostTensor>, BackendError> {
    let parcel = |shape: Shape, values: Vec<f32>| {
        HostTensor::new(shape, values).expect("as many as its shape has")
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
