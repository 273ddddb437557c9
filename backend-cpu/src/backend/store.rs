//! The memory of a backend: what is held, and what is kept for the next op.

use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halovae_engine::backend::Memory;
use halovae_engine::tensor::Shape;

use crate::buffer::Buffer;
use crate::error::KernelError;
use crate::pool::Workspace;

/// Counts bytes, and keeps freed buffers and scratch as long as a decode runs.
///
/// Fresh pages cost a fault each, which for large feature maps is as dear as a norm. So a freed
/// buffer waits for the next value of about its size. It never raises the peak: before anything new
/// is allocated, all waiting buffers are given back. When the last value is dropped, so is
/// everything that waits.
#[derive(Debug, Default)]
pub(super) struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Memory,
    values: usize,
    waiting: Vec<Buffer>,
    workspace: Option<Workspace>,
}

impl State {
    fn grow(&mut self, bytes: usize) {
        self.memory.current += bytes as u64;
        self.memory.peak = self.memory.peak.max(self.memory.current);
    }

    fn shrink(&mut self, bytes: usize) {
        self.memory.current -= bytes as u64;
    }

    fn forget_waiting(&mut self) {
        for buffer in mem::take(&mut self.waiting) {
            self.shrink(buffer.bytes());
        }
    }
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and spare buffers stay consistent between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self) -> Memory {
        self.state().memory
    }

    pub(super) fn reset_peak(&self) {
        let mut state = self.state();
        state.memory.peak = state.memory.current;
    }

    /// Counts bytes that live outside of the store (weights).
    pub(super) fn count(self: &Arc<Self>, bytes: usize) -> Counted {
        self.state().grow(bytes);
        Counted { store: self.clone(), bytes }
    }

    /// A value of `shape`, not written yet.
    pub(super) fn value(self: &Arc<Self>, shape: Shape) -> Result<Value, KernelError> {
        let len = shape.elements().ok_or(KernelError::OutOfMemory { bytes: usize::MAX })?;
        let mut state = self.state();
        // A buffer that is an eighth too large is still a good one.
        let most = (len + len / 8).saturating_mul(size_of::<f32>()) + 64;
        let fits = |b: &Buffer| b.bytes() >= len * size_of::<f32>() && b.bytes() <= most;
        let buffer = match state.waiting.iter().position(fits) {
            Some(at) => {
                let mut buffer = state.waiting.swap_remove(at);
                buffer.resize_within(len);
                buffer
            }
            None => {
                state.forget_waiting();
                let buffer = Buffer::new(len)?;
                state.grow(buffer.bytes());
                buffer
            }
        };
        state.values += 1;
        Ok(Value { buffer, shape, store: self.clone() })
    }

    /// A value of `shape`, all zero.
    pub(super) fn zeros(self: &Arc<Self>, shape: Shape) -> Result<Value, KernelError> {
        let mut value = self.value(shape)?;
        value.uninit().iter_mut().for_each(|element| {
            element.write(0.0);
        });
        Ok(value)
    }

    /// Runs `work` with scratch that will need `bytes`.
    pub(super) fn with_workspace<T>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Workspace) -> T,
    ) -> T {
        let (mut workspace, peak) = {
            let mut state = self.state();
            let peak = state.memory.peak;
            let workspace = state.workspace.take().unwrap_or_default();
            state.shrink(workspace.bytes());
            if workspace.bytes() < bytes {
                state.forget_waiting();
            }
            // Counted before it is there, so that the peak does not miss it.
            state.grow(workspace.bytes().max(bytes));
            (workspace, peak)
        };
        let counted = workspace.bytes().max(bytes);
        let result = work(&mut workspace);
        let mut state = self.state();
        state.shrink(counted);
        if workspace.bytes() < bytes {
            // There was no room for it.
            state.memory.peak = peak.max(state.memory.current);
        }
        if state.values > 0 && state.workspace.is_none() {
            state.grow(workspace.bytes());
            state.workspace = Some(workspace);
        }
        result
    }
}

/// Bytes that count as held until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    store: Arc<Store>,
    bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.store.state().shrink(self.bytes);
    }
}

/// A tensor in the memory of a [`CpuBackend`](super::CpuBackend), channels last.
#[derive(Debug)]
pub struct Value {
    buffer: Buffer,
    shape: Shape,
    store: Arc<Store>,
}

impl Value {
    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The elements.
    pub fn data(&self) -> &[f32] {
        // SAFETY: a value leaves the backend only after its kernel has returned `Ok`, and kernels
        // write all of their output.
        unsafe { self.buffer.assume_init() }
    }

    /// The frames of all samples, `[height][width][channels]` each.
    pub(super) fn frames(&self) -> Vec<&[f32]> {
        self.data().chunks_exact(self.shape.frame_len().max(1)).collect()
    }

    /// The elements, for an op that takes the memory for its output.
    pub(super) fn data_mut(&mut self) -> &mut [f32] {
        let len = self.buffer.len();
        let data = self.buffer.uninit().as_mut_ptr().cast::<f32>();
        // SAFETY: written before, see `data`.
        unsafe { std::slice::from_raw_parts_mut(data, len) }
    }

    /// The elements of a new value, to be written.
    pub(super) fn uninit(&mut self) -> &mut [std::mem::MaybeUninit<f32>] {
        self.buffer.uninit()
    }
}

/// Frames that lie in several values of one sample each, one behind the other, and the shape of the
/// first value; of no values, that of nothing.
pub(super) fn frames_of<'a>(parts: &[(&'a Value, Range<usize>)]) -> (Shape, Vec<&'a [f32]>) {
    let shape = parts.first().map_or(Shape::new(1, 0, 0, 0), |(value, _)| value.shape());
    let frames = parts
        .iter()
        .flat_map(|(value, range)| value.frames().into_iter().skip(range.start).take(range.len()));
    (shape, frames.collect())
}

impl Drop for Value {
    fn drop(&mut self) {
        let empty = Buffer::default();
        let buffer = mem::replace(&mut self.buffer, empty);
        let mut state = self.store.state();
        state.values -= 1;
        state.waiting.push(buffer);
        if state.values == 0 {
            state.forget_waiting();
            if let Some(workspace) = state.workspace.take() {
                state.shrink(workspace.bytes());
            }
        }
    }
}
