//! Memory for floats: aligned to a cache line, not cleared, and fallible.

use std::mem::MaybeUninit;

use crate::error::KernelError;

/// Floats in a cache line. A misaligned 64-byte vector touches two lines on every access.
const LINE: usize = 16;

/// `len` floats, some of which may not have been written yet.
///
/// The memory comes from an ordinary allocation with room to align in: aligned allocations of
/// glibc before 2.38 are not reused once freed, and a long decode would grow without end.
#[derive(Default)]
pub struct Buffer {
    // Only the capacity is used, so that nothing ever claims to be initialised.
    floats: Vec<f32>,
    /// Floats before the first aligned one.
    offset: usize,
    /// Floats from there that may be used, a multiple of `LINE`.
    room: usize,
    len: usize,
}

impl Buffer {
    /// Allocates room for `len` floats without touching it.
    ///
    /// # Errors
    ///
    /// [`KernelError::OutOfMemory`] when the allocator refuses.
    pub fn new(len: usize) -> Result<Self, KernelError> {
        let out_of_memory = || KernelError::OutOfMemory { bytes: len.saturating_mul(4) };
        let room = len.checked_next_multiple_of(LINE).ok_or_else(out_of_memory)?;
        let with_slack = room.checked_add(LINE - 1).ok_or_else(out_of_memory)?;
        let mut floats: Vec<f32> = Vec::new();
        floats.try_reserve_exact(with_slack).map_err(|_| out_of_memory())?;
        let past_line = floats.as_ptr().addr() / size_of::<f32>() % LINE;
        let offset = (LINE - past_line) % LINE;
        Ok(Self { floats, offset, room, len })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    ///
    /// [`KernelError::OutOfMemory`] when the allocator refuses.
    pub fn from_slice(values: &[f32]) -> Result<Self, KernelError> {
        let mut buffer = Self::new(values.len())?;
        write_copy(buffer.uninit(), values);
        Ok(buffer)
    }

    /// Floats that the buffer holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that it occupies, whole cache lines.
    pub fn bytes(&self) -> usize {
        self.room * size_of::<f32>()
    }

    /// Changes the number of floats to any that fits the memory that is there.
    ///
    /// Returns whether it fitted.
    pub fn resize_within(&mut self, len: usize) -> bool {
        let fits = len <= self.room;
        if fits {
            self.len = len;
        }
        fits
    }

    /// The floats, to be written.
    pub fn uninit(&mut self) -> &mut [MaybeUninit<f32>] {
        let (offset, len) = (self.offset, self.len);
        &mut self.floats.spare_capacity_mut()[offset..][..len]
    }

    /// The floats.
    ///
    /// # Safety
    ///
    /// All `len` floats have been written since the buffer was made.
    pub unsafe fn assume_init(&self) -> &[f32] {
        // SAFETY: `len` floats behind the offset fit the capacity, and the caller has written them.
        unsafe { std::slice::from_raw_parts(self.const_ptr(), self.len) }
    }

    pub(crate) fn ptr(&mut self) -> *mut f32 {
        self.uninit().as_mut_ptr().cast()
    }

    pub(crate) fn const_ptr(&self) -> *const f32 {
        self.floats.as_ptr().wrapping_add(self.offset)
    }
}

/// Copies `from` to `to`, which has the same length.
pub(crate) fn write_copy(to: &mut [MaybeUninit<f32>], from: &[f32]) {
    debug_assert_eq!(to.len(), from.len());
    for (to, from) in to.iter_mut().zip(from) {
        to.write(*from);
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}
