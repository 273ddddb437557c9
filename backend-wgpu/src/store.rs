//! The memory of a rank: what it holds, and what waits for the next op.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halovae_engine::backend::{BackendError, Memory};
use halovae_engine::tensor::Shape;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, ErrorFilter};

use crate::layout::{Element, Layout};
use crate::options::Precision;
use crate::record::Recorder;
use crate::shared::Shared;

/// Counts bytes, and keeps freed buffers as long as a decode runs.
///
/// Commands of one queue run in their order, so a freed buffer can serve the next value at once,
/// whether or not the device is done with the last one. It never raises the peak: before anything
/// new is allocated, all waiting buffers are given back. When the last value is dropped, so is
/// everything that waits.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recorder: Recorder,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Memory,
    /// Blocks that are held.
    held: usize,
    waiting: Vec<Buffer>,
}

impl State {
    fn grow(&mut self, bytes: u64) {
        self.memory.current += bytes;
        self.memory.peak = self.memory.peak.max(self.memory.current);
    }

    fn forget_waiting(&mut self) {
        for buffer in mem::take(&mut self.waiting) {
            self.memory.current -= buffer.size();
        }
    }
}

/// A buffer that goes back to its store.
#[derive(Debug)]
pub(crate) struct Block {
    buffer: Option<Buffer>,
    store: Arc<Store>,
}

impl std::ops::Deref for Block {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        self.buffer.as_ref().expect("taken when dropped")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut state = self.store.state();
        state.waiting.extend(self.buffer.take());
        state.held -= 1;
        if state.held == 0 {
            state.forget_waiting();
        }
    }
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, recorder: Recorder::default(), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and spare buffers stay consistent between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory(&self) -> Memory {
        self.state().memory
    }

    pub(crate) fn reset_peak(&self) {
        let mut state = self.state();
        state.memory.peak = state.memory.current;
    }

    fn out_of_memory(&self, what: &str, requested: u64) -> BackendError {
        BackendError::OutOfMemory {
            device: self.shared.adapter.name.clone(),
            what: format!("`{what}`"),
            requested,
        }
    }

    /// A buffer of at least so many bytes; what it holds is anything.
    pub(crate) fn block(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Block, BackendError> {
        let bytes = block_bytes(bytes);
        let mut state = self.state();
        // A buffer that is an eighth too large is still a good one.
        let most = bytes + bytes / 8;
        let fits = |buffer: &Buffer| (bytes..=most).contains(&buffer.size());
        let buffer = match state.waiting.iter().position(fits) {
            Some(at) => state.waiting.swap_remove(at),
            None => {
                if !state.waiting.is_empty() {
                    // A buffer that recorded or running commands use is not free until they ran.
                    self.recorder.submit(&self.shared);
                    state.forget_waiting();
                    self.shared.wait()?;
                }
                let limit = self.shared.options.max_memory_bytes.unwrap_or(u64::MAX);
                if state.memory.current.saturating_add(bytes) > limit {
                    return Err(self.out_of_memory(what, bytes));
                }
                let buffer = self.allocate(what, bytes)?;
                state.grow(bytes);
                buffer
            }
        };
        state.held += 1;
        Ok(Block { buffer: Some(buffer), store: self.clone() })
    }

    fn allocate(&self, what: &str, bytes: u64) -> Result<Buffer, BackendError> {
        let limits = &self.shared.limits;
        if bytes > limits.max_buffer_size.min(limits.max_storage_buffer_binding_size) {
            return Err(self.out_of_memory(what, bytes));
        }
        let descriptor = BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let device = &self.shared.device;
        let made = self
            .shared
            .checked(ErrorFilter::OutOfMemory, || device.create_buffer(&descriptor))
            .map_err(|_| self.out_of_memory(what, bytes))?;
        // A lost device hands out buffers that are none.
        self.shared.check()?;
        Ok(made)
    }

    /// Bytes that count as held until this is dropped, for buffers that do not come from here.
    pub(crate) fn count(self: &Arc<Self>, bytes: u64) -> Counted {
        self.state().grow(bytes);
        Counted { store: self.clone(), bytes }
    }

    /// A buffer for weights, which do not come back.
    pub(crate) fn weights(&self, what: &str, bytes: u64) -> Result<Buffer, BackendError> {
        self.allocate(what, block_bytes(bytes))
    }

    /// How values of that shape lie on this device.
    pub(crate) fn layout(&self, shape: Shape) -> Layout {
        Layout::new(
            shape,
            element_of(shape, self.shared.options.precision),
            self.shared.chunk_bytes(),
        )
    }

    /// A value of `shape`, not written yet.
    pub(crate) fn value(self: &Arc<Self>, what: &str, shape: Shape) -> Result<Value, BackendError> {
        let layout = self.layout(shape);
        let bytes = layout.checked_bytes().ok_or_else(|| self.out_of_memory(what, u64::MAX))?;
        if layout.row_bytes() > self.shared.chunk_bytes() {
            // Not even one row fits into a buffer.
            return Err(self.out_of_memory(what, bytes));
        }
        let chunks = (0..layout.chunks()).map(|at| self.block(what, layout.chunk_bytes(at)));
        let chunks = chunks.collect::<Result<_, _>>()?;
        Ok(Value { shape, layout, chunks })
    }
}

/// Bytes of the buffer for so many bytes of content.
pub(crate) fn block_bytes(bytes: u64) -> u64 {
    bytes.max(256).next_multiple_of(256)
}

/// Statistics are f32 at any precision; two channels in one column are nothing else.
fn element_of(shape: Shape, precision: Precision) -> Element {
    match precision {
        Precision::F16 if !(shape.width == 1 && shape.channels == 2) => Element::F16,
        _ => Element::F32,
    }
}

/// Bytes that count as held until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    store: Arc<Store>,
    bytes: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.store.state().memory.current -= self.bytes;
    }
}

/// A tensor on the device: rows of channels last, in one buffer or, if that is more than a kernel
/// can see at once, several.
#[derive(Debug)]
pub struct Value {
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
    pub(crate) chunks: Vec<Block>,
}
