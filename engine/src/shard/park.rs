//! Where a shard's values wait while other shards have their turn on the device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use halovae_core::Region;

use super::carrier::Carrier;
use super::lent::{LentFrames, Loan, joined};
use super::scratch::{Extent, ScratchFile};
use super::side::Side;
use crate::backend::Backend;
use crate::group::Cause;
use crate::program::{Held, ValueId};
use crate::tensor::{HostTensor, Shape};

/// How much may wait in the device's memory, and where the rest waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkLimit {
    /// Bytes.
    pub bytes: u64,
    /// The folder of the file that takes the rest.
    pub scratch: PathBuf,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A value of a shard.
    Value(ValueId, u32),
    /// What an op has fetched of the parts beside a shard, and will read again.
    Halo {
        /// The op's place in the program.
        op: usize,
        /// The shard.
        shard: u32,
        /// On which side of it.
        side: Side,
    },
}

enum Parked<T> {
    /// On the device.
    Here(T),
    /// In the file, but for so many frames at its beginning, which are read no more.
    Filed(Extent, Shape, usize),
}

/// What the shards of a rank hold between the turns that write and read it.
pub(super) struct Park<'a, B: Backend> {
    backend: &'a B,
    limit: Option<ParkLimit>,
    values: HashMap<Key, Held<Parked<B::Tensor>>>,
    /// Bytes that wait on the device.
    here: u64,
    file: RefCell<Option<ScratchFile>>,
}

impl<'a, B: Backend> Park<'a, B> {
    pub(super) fn new(backend: &'a B, limit: Option<ParkLimit>) -> Self {
        Self { backend, limit, values: HashMap::new(), here: 0, file: RefCell::default() }
    }

    /// Keeps frames behind those that wait: on the device as long as the limit allows, else in the
    /// file.
    pub(super) fn put(
        &mut self,
        key: Key,
        frames: Range<u64>,
        tensor: B::Tensor,
    ) -> Result<(), Cause> {
        let shape = self.backend.shape(&tensor);
        let bytes = self.backend.held_bytes(&tensor);
        let fits = |limit: &ParkLimit| self.here.saturating_add(bytes) <= limit.bytes;
        let parked = if self.limit.as_ref().is_none_or(fits) {
            self.here += bytes;
            Parked::Here(tensor)
        } else {
            let values = self.backend.download(&tensor, all(shape)).map_err(Cause::Backend)?;
            drop(tensor);
            let extent = self.with_file("write to", |file| file.write(values.data()))?;
            Parked::Filed(extent, shape, 0)
        };
        self.values.entry(key).or_default().push(frames, parked);
        Ok(())
    }

    /// Takes all frames for good; none if none wait.
    pub(super) fn take(&mut self, key: Key) -> Result<Held<B::Tensor>, Cause> {
        let mut taken = Held::default();
        for (frames, parked) in self.values.remove(&key).into_iter().flat_map(Held::into_parts) {
            let tensor = match parked {
                Parked::Here(tensor) => {
                    self.here -= self.backend.held_bytes(&tensor);
                    tensor
                }
                Parked::Filed(extent, shape, skip) => {
                    let tensor = self.load(extent, shape, skip..shape.frames)?;
                    self.free(extent)?;
                    tensor
                }
            };
            taken.push(frames, tensor);
        }
        Ok(taken)
    }

    /// Whether these frames, and no others, wait in one tensor.
    pub(super) fn has_exactly(&self, key: Key, frames: &Range<u64>) -> bool {
        self.values.get(&key).is_some_and(|held| held.exactly(frames).is_some())
    }

    /// Frames to read, in the tensors in which they wait.
    pub(super) fn lend(
        &self,
        key: Key,
        frames: &Range<u64>,
    ) -> Result<Vec<LentFrames<'_, B::Tensor>>, Cause> {
        let Some(held) = self.values.get(&key) else { return Ok(Vec::new()) };
        let mut lent = Vec::new();
        for (parked, range) in held.parts(frames) {
            lent.push(match parked {
                Parked::Here(tensor) => (Loan::Here(tensor), range),
                Parked::Filed(extent, shape, skip) => {
                    let read = skip + range.start..skip + range.end;
                    (Loan::Loaded(self.load(*extent, *shape, read)?), 0..range.len())
                }
            });
        }
        Ok(lent)
    }

    /// Frames to read, in one tensor.
    pub(super) fn lend_whole(
        &self,
        key: Key,
        frames: &Range<u64>,
    ) -> Result<Loan<'_, B::Tensor>, Cause> {
        joined(self.backend, self.lend(key, frames)?).map_err(Cause::Backend)
    }

    /// Drops the frames before `first`.
    pub(super) fn drop_before(&mut self, key: Key, first: u64) -> Result<(), Cause> {
        let Some(mut held) = self.values.remove(&key) else { return Ok(()) };
        let (backend, here) = (self.backend, &mut self.here);
        let keep = |parked: Parked<B::Tensor>, kept: Range<usize>| match parked {
            Parked::Here(tensor) => {
                let copy = backend.gather(&[(&tensor, kept)])?;
                *here = *here - backend.held_bytes(&tensor) + backend.held_bytes(&copy);
                Ok(Parked::Here(copy))
            }
            Parked::Filed(extent, shape, skip) => {
                Ok(Parked::Filed(extent, shape, skip + kept.start))
            }
        };
        for parked in held.drop_before(first, keep).map_err(Cause::Backend)? {
            match parked {
                Parked::Here(tensor) => self.here -= self.backend.held_bytes(&tensor),
                Parked::Filed(extent, ..) => self.free(extent)?,
            }
        }
        if !held.is_empty() {
            self.values.insert(key, held);
        }
        Ok(())
    }

    /// A region of some frames, to be sent: its own are counted from the first of those.
    pub(super) fn region<C: Carrier<B>>(
        &self,
        carrier: C,
        key: Key,
        frames: &Range<u64>,
        rect: Region,
    ) -> Result<C::Parcel, Cause> {
        let mut parcels = Vec::new();
        for (parked, range) in self.values[&key].parts(frames) {
            let rect = rect.over(range.start as u32, range.len() as u32);
            parcels.push(match parked {
                Parked::Here(tensor) => carrier.cut(tensor, rect).map_err(Cause::Backend)?,
                Parked::Filed(extent, shape, skip) => {
                    let rect = rect.over(rect.first + *skip as u32, rect.frames);
                    let values = self.region_of_file(*extent, *shape, rect)?;
                    carrier.lift(values).map_err(Cause::Backend)?
                }
            });
        }
        carrier.one_behind_the_other(parcels).map_err(Cause::Backend)
    }

    fn region_of_file(
        &self,
        extent: Extent,
        shape: Shape,
        rect: Region,
    ) -> Result<HostTensor, Cause> {
        let region = Shape { batch: shape.batch, ..Shape::sample(rect.size(), shape.channels) };
        let mut out = HostTensor::zeros(region).map_err(Cause::Backend)?;
        let row_len = (region.width * shape.channels).max(1);
        self.with_file("read", |file| {
            for (row, out) in out.data_mut().chunks_exact_mut(row_len).enumerate() {
                let t = rect.first as usize + row / region.height;
                let y = t * shape.height + rect.top as usize + row % region.height;
                let from = (y * shape.width + rect.left as usize) * shape.channels;
                file.read(extent, from as u64, out)?;
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn load(&self, extent: Extent, shape: Shape, frames: Range<usize>) -> Result<B::Tensor, Cause> {
        let from = frames.start as u64 * (shape.frame_len() as u64);
        let mut values = HostTensor::zeros(shape.over(frames.len())).map_err(Cause::Backend)?;
        self.with_file("read", |file| file.read(extent, from, values.data_mut()))?;
        self.backend.upload(&values).map_err(Cause::Backend)
    }

    fn free(&self, extent: Extent) -> Result<(), Cause> {
        self.with_file("use", |file| {
            file.free(extent);
            Ok(())
        })
    }

    /// Uses the file, which is made when it is first needed.
    fn with_file<T>(
        &self,
        what: &str,
        use_it: impl FnOnce(&mut ScratchFile) -> io::Result<T>,
    ) -> Result<T, Cause> {
        let folder = self.limit.as_ref().map(|limit| limit.scratch.clone()).unwrap_or_default();
        let failed = |what: &str, error: &io::Error| {
            Cause::Scratch(format!(
                "cannot {what} a scratch file in `{}`: {error}; name another folder, or allow \
                 more memory",
                folder.display()
            ))
        };
        let mut file = self.file.borrow_mut();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(ScratchFile::new(&folder).map_err(|e| failed("make", &e))?),
        };
        use_it(file).map_err(|error| failed(what, &error))
    }
}

fn all(shape: Shape) -> Region {
    shape.size().at_origin()
}
