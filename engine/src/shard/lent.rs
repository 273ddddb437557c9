//! Frames that ops read where they wait.

use std::ops::Range;

use crate::backend::{Backend, BackendError};

/// A tensor to read: where it waits, or a copy that was made for it.
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

/// A tensor to read, and which of its frames.
pub(super) type LentFrames<'a, T> = (Loan<'a, T>, Range<usize>);

/// Frames that lie in several tensors, or in a part of one, in one tensor.
pub(super) fn joined<'a, B: Backend>(
    backend: &B,
    mut parts: Vec<LentFrames<'a, B::Tensor>>,
) -> Result<Loan<'a, B::Tensor>, BackendError> {
    let is_whole =
        |(tensor, range): &LentFrames<'_, B::Tensor>| *range == (0..backend.shape(tensor).frames);
    if let [part] = &parts[..]
        && is_whole(part)
    {
        return Ok(parts.remove(0).0);
    }
    let parts: Vec<_> = parts.iter().map(|(tensor, range)| (&**tensor, range.clone())).collect();
    backend.gather(&parts).map(Loan::Loaded)
}
