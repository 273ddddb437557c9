//! Buffers that MPI reads or writes while we go on.

use std::mem::ManuallyDrop;

use halovae_engine::group::Payload;
use mpi::datatype::Equivalence;
use mpi::request::{Request, StaticScope};

/// A vector whose elements operations of MPI have until they complete.
///
/// Dropped before that, it leaks its memory: MPI may still write into it.
pub(crate) struct Lent<T: 'static> {
    vector: ManuallyDrop<Vec<T>>,
    /// One for each message that the vector travels in.
    requests: Vec<Request<'static, [T], StaticScope>>,
}

impl<T: Equivalence> Lent<T> {
    /// Lends `vector` in chunks of at most `chunk` elements: `start` begins the operation of one.
    pub(crate) fn new(
        vector: Vec<T>,
        chunk: usize,
        start: impl Fn(&'static mut [T]) -> Request<'static, [T], StaticScope>,
    ) -> Self {
        let mut vector = ManuallyDrop::new(vector);
        // SAFETY: the elements stay where they are, and are not touched through `vector`, until
        // no operation has them any more; if that never happens they are leaked and live for ever.
        let all: &'static mut [T] =
            unsafe { std::slice::from_raw_parts_mut(vector.as_mut_ptr(), vector.len()) };
        let requests = all.chunks_mut(chunk).map(start).collect();
        Self { vector, requests }
    }

    /// Whether all operations have completed. Also lets MPI go on with them.
    pub(crate) fn is_complete(&mut self) -> bool {
        let requests = std::mem::take(&mut self.requests);
        self.requests = requests.into_iter().filter_map(|request| request.test().err()).collect();
        self.requests.is_empty()
    }

    /// The vector.
    ///
    /// # Panics
    /// If an operation still has its elements.
    pub(crate) fn back(mut self) -> Vec<T> {
        assert!(self.requests.is_empty(), "lent to an operation that has not completed");
        std::mem::take(&mut *self.vector)
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        if self.requests.is_empty() {
            drop(std::mem::take(&mut *self.vector));
        }
        // A request refuses to be dropped. Its operation goes on, and what it has is leaked.
        std::mem::take(&mut self.requests).into_iter().for_each(std::mem::forget);
    }
}

/// A message of either kind, lent.
pub(crate) enum LentPayload {
    Values(Lent<f32>),
    Bytes(Lent<u8>),
}

impl LentPayload {
    /// As [`Lent::is_complete`].
    pub(crate) fn is_complete(&mut self) -> bool {
        match self {
            Self::Values(values) => values.is_complete(),
            Self::Bytes(bytes) => bytes.is_complete(),
        }
    }

    /// As [`Lent::back`].
    pub(crate) fn back(self) -> Payload {
        match self {
            Self::Values(values) => Payload::Values(values.back()),
            Self::Bytes(bytes) => Payload::Bytes(bytes.back()),
        }
    }
}
