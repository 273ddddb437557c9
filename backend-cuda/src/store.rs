//! The memory of a rank, and the stream that its kernels run in.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{CUdeviceptr, CUresult};
use halovae_engine::backend::{BackendError, Memory};
use halovae_engine::format_bytes;

use crate::arena::Place;
use crate::kernels::Element;
use crate::shared::Shared;
use crate::stream::Stream;
use crate::tape::{Tape, Taped};

/// A rank's stream, and what it holds.
///
/// Memory comes from the device's pool in the order of the stream: what is freed can serve the next
/// value of the same rank at once, whether or not kernels still use it, since they run earlier.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) shared: Arc<Shared>,
    /// Destroyed when no block is left.
    pub(crate) stream: Stream,
    memory: Mutex<Memory>,
    tape: Mutex<Tape<Block>>,
    /// What can be let go of when there is no room.
    pub(crate) spare: OnceLock<Weak<dyn Spare>>,
}

/// Memory that is kept because it may be needed again.
pub(crate) trait Spare: Send + Sync + std::fmt::Debug {
    /// Frees it, if there is any and it is not in use.
    fn let_go(&self) -> bool;
}

/// Memory on the device that goes back to where it came from.
#[derive(Debug)]
pub(crate) struct Block {
    pointer: CUdeviceptr,
    bytes: u64,
    home: Home,
}

/// Where memory came from.
#[derive(Debug)]
enum Home {
    Pool {
        store: Arc<Store>,
        taped: Option<Taped>,
    },
    /// It is a part of another block.
    Part {
        #[expect(dead_code, reason = "kept, so that its memory is")]
        of: Arc<Block>,
    },
}

impl Block {
    pub(crate) fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    /// The address `bytes` behind the first.
    pub(crate) fn at(&self, bytes: u64) -> CUdeviceptr {
        debug_assert!(bytes <= self.bytes);
        self.pointer + bytes
    }

    /// A part of it, which keeps all of it.
    pub(crate) fn part(self: &Arc<Self>, place: Place) -> Self {
        debug_assert!(place.offset + place.bytes <= self.bytes);
        let home = Home::Part { of: self.clone() };
        Self { pointer: self.pointer + place.offset, bytes: place.bytes, home }
    }

    /// How much it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Home::Pool { store, taped } = &self.home else { return };
        if let Some(taped) = taped {
            store.tape().free(*taped);
        }
        if store.shared.enter().is_ok() {
            // SAFETY: allocated from the pool once, freed once, behind all that uses it. A device that
            // failed has lost it anyway.
            let _ = unsafe { result::free_async(self.pointer, store.stream.raw()) };
        }
        store.memory_state().current -= counted_bytes(self.bytes);
    }
}

/// Bytes that a block of so many counts as.
pub(crate) fn counted_bytes(bytes: u64) -> u64 {
    bytes.max(1).checked_next_multiple_of(512).unwrap_or(u64::MAX)
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Arc<Self>, BackendError> {
        let stream = Stream::new(shared.clone())?;
        let (memory, tape) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { shared, stream, memory, tape, spare: OnceLock::new() }))
    }

    fn memory_state(&self) -> MutexGuard<'_, Memory> {
        // Two numbers that are always consistent.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is taken down, or given out.
    pub(crate) fn tape(&self) -> MutexGuard<'_, Tape<Block>> {
        // It is set anew for each decode.
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory(&self) -> Memory {
        *self.memory_state()
    }

    pub(crate) fn reset_peak(&self) {
        let mut memory = self.memory_state();
        memory.peak = memory.current;
    }

    pub(crate) fn out_of_memory(&self, what: &str, requested: u64) -> BackendError {
        let entry = &self.shared.entry;
        let free = result::mem_get_info().map_or_else(
            |_| String::new(),
            |(free, _)| {
                let [free, all] = [free as u64, entry.memory_bytes].map(format_bytes);
                format!(" ({free} of {all} free)")
            },
        );
        BackendError::OutOfMemory {
            device: format!("{}{free}", entry.name),
            what: format!("`{what}`"),
            requested,
        }
    }

    /// Memory of so many bytes; what it holds is anything.
    pub(crate) fn block(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Block, BackendError> {
        self.shared.enter()?;
        if let Some(place) = self.tape().next_place(bytes) {
            let place = place.map(|(arena, place)| arena.part(place));
            return place.map_err(|()| self.other_than_before(what));
        }
        match self.pool_block(what, bytes) {
            Err(BackendError::OutOfMemory { .. }) if self.let_go() => self.pool_block(what, bytes),
            other => other,
        }
    }

    /// Frees what is kept in case that it is needed again.
    fn let_go(&self) -> bool {
        let spare = self.spare.get().and_then(Weak::upgrade);
        spare.is_some_and(|spare| spare.let_go())
    }

    fn pool_block(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Block, BackendError> {
        let counted = counted_bytes(bytes);
        let limit = self.shared.options.max_memory_bytes.unwrap_or(u64::MAX);
        let mut memory = self.memory_state();
        if memory.current.saturating_add(counted) > limit {
            return Err(self.out_of_memory(what, bytes));
        }
        let pointer = match self.allocate(bytes) {
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                // What other sizes left in the pool may be enough.
                self.give_back().and_then(|()| self.allocate(bytes))
            }
            other => other,
        };
        let pointer = pointer.map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY | CUresult::CUDA_ERROR_INVALID_VALUE => {
                self.out_of_memory(what, bytes)
            }
            _ => self.shared.error(error),
        })?;
        memory.current += counted;
        memory.peak = memory.peak.max(memory.current);
        drop(memory);
        let taped = self.tape().take(bytes);
        Ok(Block { pointer, bytes, home: Home::Pool { store: self.clone(), taped } })
    }

    fn other_than_before(&self, what: &str) -> BackendError {
        BackendError::Device {
            device: self.shared.entry.name.clone(),
            message: format!("`{what}` is another than in the last decode of that size"),
        }
    }

    fn allocate(&self, bytes: u64) -> Result<CUdeviceptr, DriverError> {
        let bytes = usize::try_from(bytes.max(16)).unwrap_or(usize::MAX);
        // SAFETY: pool and stream live as long as the store; what is there is written before it is
        // read.
        unsafe { result::mem_pool::alloc_async(self.shared.pool, bytes, self.stream.raw()) }
    }

    /// Gives the pool's unused memory back to the system.
    fn give_back(&self) -> Result<(), DriverError> {
        self.stream.synchronize()?;
        // SAFETY: the device's own pool.
        unsafe { result::mem_pool::trim_to(self.shared.pool, 0) }
    }

    /// What a feature map's elements are stored as.
    pub(crate) fn element(&self) -> Element {
        self.shared.options.precision.element()
    }

    /// Copies from the host to the device.
    pub(crate) fn write<T: Copy>(&self, to: CUdeviceptr, from: &[T]) -> Result<(), BackendError> {
        self.shared.enter()?;
        // SAFETY: there are as many bytes on the device, by the caller. The driver has read pageable
        // memory when the call returns.
        let done = unsafe { result::memcpy_htod_async(to, from, self.stream.raw()) };
        done.map_err(|error| self.shared.error(error))
    }

    /// Copies within the device.
    pub(crate) fn copy(
        &self,
        to: CUdeviceptr,
        from: CUdeviceptr,
        bytes: u64,
    ) -> Result<(), BackendError> {
        self.shared.enter()?;
        // SAFETY: there is as much at both, by the caller, and it is freed behind this.
        let done =
            unsafe { result::memcpy_dtod_async(to, from, bytes as usize, self.stream.raw()) };
        done.map_err(|error| self.shared.error(error))
    }

    /// Copies from the device to the host, and waits for it.
    pub(crate) fn read(&self, from: CUdeviceptr, to: &mut [f32]) -> Result<(), BackendError> {
        self.shared.enter()?;
        // SAFETY: there are as many bytes on the device, by the caller, and the host's are not touched
        // before the stream has come so far.
        let done = unsafe { result::memcpy_dtoh_async(to, from, self.stream.raw()) };
        done.map_err(|error| self.shared.error(error))?;
        self.synchronize()
    }

    /// Waits until everything in the stream has run.
    pub(crate) fn synchronize(&self) -> Result<(), BackendError> {
        self.shared.enter()?;
        self.stream.synchronize().map_err(|error| self.shared.error(error))
    }
}
