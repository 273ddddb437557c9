//! How glibc's allocator takes memory.

/// Makes the allocator take no more memory and address space than the program asks it for. By itself
/// it reserves 64 MiB of addresses for each thread, and after some large values were freed it takes
/// others from there, between small ones, and leaves gaps. That is cheap, unless one of the two is
/// limited: many small tiles decode a seventh slower with it. Some memory is kept for small values: where
/// none is left for a large one, that is an error, and there is room to tell it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn take_no_more() {
    /// Values from here on are mapped one by one, and unmapped when they are freed.
    const MAPPED_FROM: libc::c_int = 1 << 20;
    /// What is taken at once for small ones, and kept when they are freed.
    const SMALL: libc::c_int = 4 << 20;
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, MAPPED_FROM), (libc::M_TOP_PAD, SMALL)]
    {
        // SAFETY: sets a parameter of the allocator, which takes a lock for it. One that it does not
        // know it refuses, and all goes on as before.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn take_no_more() {}
