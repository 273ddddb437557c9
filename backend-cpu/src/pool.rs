//! Work shared among the threads of a rayon pool, and the scratch memory that it needs.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::ThreadPool;

use crate::buffer::Buffer;
use crate::error::KernelError;

/// Scratch memory that kernels share: kept between calls, because touching fresh pages costs as
/// much as the small kernels themselves.
#[derive(Debug, Default)]
pub struct Workspace {
    buffer: Buffer,
}

impl Workspace {
    /// An empty workspace; kernels grow it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that it occupies.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// Gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// At least `layout` of scratch.
    pub(crate) fn reserve(
        &mut self,
        layout: Layout,
        threads: usize,
    ) -> Result<Scratch, KernelError> {
        let len = layout.floats(threads);
        if !self.buffer.resize_within(len) {
            // The old memory first, so that both are never held at once.
            self.clear();
            self.buffer = Buffer::new(len)?;
        }
        Ok(Scratch { base: self.buffer.ptr(), layout: layout.rounded(), threads })
    }
}

/// How much scratch a kernel wants, in floats.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    /// Seen by all threads.
    pub shared: usize,
    /// For each thread.
    pub thread: usize,
}

impl Layout {
    fn rounded(self) -> Self {
        // A whole number of pages and one line more: threads share no line, and their buffers do
        // not compete for the same sets of the cache.
        let up = |n: usize| match n.checked_next_multiple_of(1024) {
            Some(0) => 0,
            Some(pages) => pages.saturating_add(16),
            None => usize::MAX,
        };
        Self { shared: up(self.shared), thread: up(self.thread) }
    }

    fn floats(self, threads: usize) -> usize {
        let r = self.rounded();
        r.shared.saturating_add(r.thread.saturating_mul(threads))
    }

    pub(crate) fn bytes(self, threads: usize) -> usize {
        self.floats(threads).saturating_mul(size_of::<f32>())
    }
}

/// Scratch of one kernel call.
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    base: *mut f32,
    layout: Layout,
    threads: usize,
}

// SAFETY: a pointer to memory that the workspace's exclusive borrower owns during the call; who may
// write where is decided by the kernels (a thread's part is only handed to that thread).
unsafe impl Send for Scratch {}
// SAFETY: as above.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// The part that all threads see.
    pub(crate) fn shared(&self) -> *mut f32 {
        self.base
    }

    /// The part of thread `index`.
    pub(crate) fn thread(&self, index: usize) -> *mut f32 {
        assert!(index < self.threads, "a thread of another pool");
        self.base.wrapping_add(self.layout.shared + index * self.layout.thread)
    }
}

/// A pointer that tasks write disjoint parts through.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub *mut T);

// SAFETY: the kernels' tasks write disjoint parts.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

/// Runs `task(i, thread)` for every `i < tasks`, each once, on whichever thread is free: the
/// caller's if there is work for one thread only, since waking another takes longer than a small task.
///
/// Which thread runs a task has no influence on what it computes; `thread` only says whose scratch
/// to use.
pub(crate) fn for_each(pool: &ThreadPool, tasks: usize, task: impl Fn(usize, usize) + Sync) {
    if tasks <= 1 || pool.current_num_threads() == 1 {
        return (0..tasks).for_each(|i| task(i, 0));
    }
    let next = AtomicUsize::new(0);
    pool.broadcast(|thread| {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= tasks {
                break;
            }
            task(i, thread.index());
        }
    });
}
