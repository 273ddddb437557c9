//! Memory that is taken before it is needed, and refused as an error.
//!
//! Sinks take all that grows with a picture when they begin: what is too much shows before the decode, and
//! no allocation in the middle of it ends the process.

use std::io;

use halovae_engine::format_bytes;

/// The bytes of a stack, which a thread takes of the address space.
pub(crate) const STACK_BYTES: u64 = 2 << 20;

/// What else a sink takes: buffers of files, tables of encoders, whatever does not grow with pictures.
pub(crate) const FIXED_BYTES: u64 = 1 << 20;

/// An empty buffer with room for so many bytes or other values, for `what`.
///
/// # Errors
/// That there is no such room.
pub(crate) fn reserve<T>(count: u64, what: &str) -> io::Result<Vec<T>> {
    let mut buffer = Vec::new();
    let reserved = usize::try_from(count).is_ok_and(|len| buffer.try_reserve_exact(len).is_ok());
    let bytes = || count.saturating_mul(size_of::<T>() as u64);
    reserved.then_some(buffer).ok_or_else(|| no_room(bytes(), what))
}

/// Fails if so many bytes cannot be taken now, as something that cannot fail will take them.
///
/// # Errors
/// That there is no such room.
pub(crate) fn check(bytes: u64, what: &str) -> io::Result<()> {
    reserve::<u8>(bytes, what).map(drop)
}

/// That there is no room.
fn no_room(bytes: u64, what: &str) -> io::Error {
    let message = format!("no memory for {what} ({} needed)", format_bytes(bytes));
    io::Error::new(io::ErrorKind::OutOfMemory, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_an_error() {
        let buffer: Vec<u16> = reserve(1000, "a frame").unwrap();
        assert!(buffer.is_empty() && buffer.capacity() >= 1000);
        for bytes in [1 << 62, u64::MAX] {
            let error = reserve::<u8>(bytes, "a frame").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
            assert!(error.to_string().starts_with("no memory for a frame ("), "{error}");
            assert!(check(bytes, "a frame").is_err());
        }
    }
}
