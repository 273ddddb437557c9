//! A sink whose rows become files.

use std::io;

use halovae_engine::sink::Sink;

use crate::temporary::Temporary;

/// A sink into files.
pub trait FileSink: Sink {
    /// The files, complete but for their names.
    ///
    /// # Errors
    /// That rows are missing; then no file stays.
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>>;
}
