//! A writer that does not lose errors.

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;

/// A buffered writer whose first error is kept: encoders that finish while they are dropped have
/// no way to report it.
#[derive(Debug)]
pub(crate) struct Latch<W: Write>(Rc<RefCell<Latched<W>>>);

#[derive(Debug)]
struct Latched<W: Write> {
    out: BufWriter<W>,
    failed: Option<io::Error>,
}

impl<W: Write> Latch<W> {
    /// Wraps `out`.
    pub(crate) fn new(out: W) -> Self {
        Self(Rc::new(RefCell::new(Latched { out: BufWriter::new(out), failed: None })))
    }

    /// Another end of the same writer.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Writes out what is buffered and tells the first error there was.
    ///
    /// # Errors
    /// That error.
    pub(crate) fn close(self) -> io::Result<()> {
        let mut latched = self.0.borrow_mut();
        match latched.failed.take() {
            Some(error) => Err(error),
            None => latched.out.flush(),
        }
    }
}

impl<W: Write> Latched<W> {
    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if self.failed.is_none() && error.kind() != io::ErrorKind::Interrupted {
                let copy = match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(error.kind(), error.to_string()),
                };
                self.failed = Some(copy);
            }
        })
    }
}

impl<W: Write> Write for Latch<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut latched = self.0.borrow_mut();
        let written = latched.out.write(data);
        latched.keep(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut latched = self.0.borrow_mut();
        let flushed = latched.out.flush();
        latched.keep(flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_keeps_the_error_that_a_drop_would_swallow() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let latch = Latch::new(Full);
        let mut end = latch.share();
        let _ = end.write_all(&[0; 1 << 20]);
        drop(end);
        assert_eq!(latch.close().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
