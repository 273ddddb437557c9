//! Where a shard's values wait while other shards have their turn on the device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use halovae_core::Region;

use super::exchange::{Exchange, Parcel};
use super::scratch::{Extent, ScratchFile};
use crate::backend::Backend;
use crate::group::Cause;
use crate::program::ValueId;
use crate::tensor::{HostTensor, Shape};

/// How much may wait in the device's memory, and where the rest waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkLimit {
    /// Bytes.
    pub bytes: u64,
    /// The folder of the file that takes the rest.
    pub scratch: PathBuf,
}

/// A value of one shard.
type Key = (ValueId, u32);

enum Parked<T> {
    /// On the device.
    Here(T),
    /// In the file.
    Filed(Extent, Shape),
}

/// A value to read: where it waits, or a copy that was loaded for it.
pub(super) enum Loan<'a, T> {
    /// Where it waits.
    Here(&'a T),
    /// Out of the file.
    Loaded(T),
}

impl<T> std::ops::Deref for Loan<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Loan::Here(tensor) => tensor,
            Loan::Loaded(tensor) => tensor,
        }
    }
}

/// The values of all shards of a rank, between the segments that write and read them.
pub(super) struct Park<'a, B: Backend> {
    backend: &'a B,
    limit: Option<ParkLimit>,
    values: HashMap<Key, Parked<B::Tensor>>,
    /// Bytes that wait on the device.
    here: u64,
    file: RefCell<Option<ScratchFile>>,
}

impl<'a, B: Backend> Park<'a, B> {
    pub(super) fn new(backend: &'a B, limit: Option<ParkLimit>) -> Self {
        Self { backend, limit, values: HashMap::new(), here: 0, file: RefCell::default() }
    }

    /// Keeps a value: on the device as long as the limit allows, else in the file.
    pub(super) fn put(&mut self, key: Key, tensor: B::Tensor) -> Result<(), Cause> {
        let shape = self.backend.shape(&tensor);
        let bytes = self.backend.held_bytes(&tensor);
        let fits = |limit: &ParkLimit| self.here.saturating_add(bytes) <= limit.bytes;
        if self.limit.as_ref().is_none_or(fits) {
            self.here += bytes;
            self.values.insert(key, Parked::Here(tensor));
            return Ok(());
        }
        let values = self.backend.download(&tensor, all(shape)).map_err(Cause::Backend)?;
        drop(tensor);
        let extent = self.with_file("write to", |file| file.write(values.data()))?;
        self.values.insert(key, Parked::Filed(extent, shape));
        Ok(())
    }

    /// Takes a value for good.
    pub(super) fn take(&mut self, key: Key) -> Result<B::Tensor, Cause> {
        match self.values.remove(&key).expect("a value is parked before it is taken") {
            Parked::Here(tensor) => {
                self.here -= self.backend.held_bytes(&tensor);
                Ok(tensor)
            }
            Parked::Filed(extent, shape) => {
                let tensor = self.load(extent, shape)?;
                self.free(extent)?;
                Ok(tensor)
            }
        }
    }

    /// A value to read.
    pub(super) fn lend(&self, key: Key) -> Result<Loan<'_, B::Tensor>, Cause> {
        match &self.values[&key] {
            Parked::Here(tensor) => Ok(Loan::Here(tensor)),
            Parked::Filed(extent, shape) => self.load(*extent, *shape).map(Loan::Loaded),
        }
    }

    /// Lets go of a value without looking at it.
    pub(super) fn forget(&mut self, key: Key) -> Result<(), Cause> {
        match self.values.remove(&key) {
            Some(Parked::Here(tensor)) => self.here -= self.backend.held_bytes(&tensor),
            Some(Parked::Filed(extent, _)) => self.free(extent)?,
            None => {}
        }
        Ok(())
    }

    /// A region of a value, to be sent.
    pub(super) fn region(
        &self,
        exchange: Exchange<'_, B>,
        key: Key,
        rect: Region,
    ) -> Result<Parcel<B::Tensor>, Cause> {
        let (extent, shape) = match &self.values[&key] {
            Parked::Here(tensor) => return exchange.cut(tensor, rect).map_err(Cause::Backend),
            Parked::Filed(extent, shape) => (*extent, *shape),
        };
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
        exchange.lift(out).map_err(Cause::Backend)
    }

    fn load(&self, extent: Extent, shape: Shape) -> Result<B::Tensor, Cause> {
        let mut values = HostTensor::zeros(shape).map_err(Cause::Backend)?;
        self.with_file("read", |file| file.read(extent, 0, values.data_mut()))?;
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
