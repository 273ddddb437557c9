//! Room on the disk, taken before there is anything to fill it.

use std::fs::File;
use std::io;

/// Takes the room that a file of that length will need: a disk that is too small is found before the
/// decode.
///
/// # Errors
/// That there is less.
#[cfg(target_os = "linux")]
pub(crate) fn take(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        // Not every file system can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        taken => Ok(taken?),
    }
}

/// Other systems take it as it is filled.
#[cfg(not(target_os = "linux"))]
pub(crate) fn take(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}
