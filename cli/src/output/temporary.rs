//! Files that get their name when they are complete, and leave nothing behind otherwise.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile};

/// The temporary files that there are, for [`Temporary::delete_all_and_exit`].
static PENDING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A panic cannot leave a list of names half-changed, so poison is ignored.
fn pending() -> MutexGuard<'static, Vec<PathBuf>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file under a temporary name in the folder of its target. Dropping it deletes it.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: NamedTempFile,
    target: PathBuf,
    listed: Listed,
}

/// A name in [`PENDING`], as long as this lives.
#[derive(Debug)]
struct Listed(PathBuf);

impl Drop for Listed {
    fn drop(&mut self) {
        pending().retain(|path| *path != self.0);
    }
}

/// The folder that a file of that name lies in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => PathBuf::from("."),
    }
}

impl Temporary {
    /// An empty file that will be called `target`. If that is a link, the file that it leads to
    /// will be replaced, not the link.
    ///
    /// # Errors
    /// That the folder takes no file.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let target = match target.is_symlink() {
            true => target.canonicalize()?,
            false => target.to_path_buf(),
        };
        let mut builder = Builder::new();
        builder.prefix(".halovae-").suffix(".partial");
        // The default of temporary files is that only their owner reads them.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut pending = pending();
        let file = builder.tempfile_in(folder_of(&target)).map_err(without_path)?;
        pending.push(file.path().to_path_buf());
        let listed = Listed(file.path().to_path_buf());
        Ok(Self { file, target, listed })
    }

    /// The file, for writing.
    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// A second handle to the file, for encoders that take one for good.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }

    /// Gives every file its name, and returns the names in order.
    ///
    /// # Errors
    /// What the system says. The files that already had got their names are deleted then, so that
    /// nobody takes half a batch for the whole.
    pub(crate) fn commit(files: Vec<Self>) -> io::Result<Vec<PathBuf>> {
        let mut done: Vec<PathBuf> = Vec::with_capacity(files.len());
        let parts = files.into_iter().map(|Self { file, target, listed }| ((file, target), listed));
        // Names leave the list when it is no longer locked: `_listed` is dropped after the lock.
        let (files, _listed): (Vec<_>, Vec<_>) = parts.unzip();
        // Whoever deletes what is pending finds all files of a batch or none.
        let _all_or_none = pending();
        for (file, target) in files {
            if let Err(error) = file.persist(&target) {
                for path in &done {
                    // The error at hand tells more than one about the cleaning up.
                    let _ = std::fs::remove_file(path);
                }
                return Err(super::about(&target, error.error));
            }
            done.push(target);
        }
        Ok(done)
    }

    /// Deletes every temporary file of the process and ends it, without waiting for anybody.
    pub(crate) fn delete_all_and_exit(code: u8) -> ! {
        // Locked to the end: no file can be created or get its name any more.
        let pending = pending();
        for path in pending.iter() {
            // Nobody is left to hear of it.
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(code.into())
    }
}

/// What the system said, without the temporary name, which tells nobody anything.
fn without_path(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.source()).map(ToString::to_string);
    match inner {
        Some(message) => io::Error::new(error.kind(), message),
        None => error,
    }
}

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

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_on_commit_and_vanishes_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.png");
        let mut file = Temporary::create(&target).unwrap();
        file.file().write_all(b"x").unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(names(folder.path()), [""; 0]);

        let mut file = Temporary::create(&target).unwrap();
        file.file().write_all(b"y").unwrap();
        assert_eq!(Temporary::commit(vec![file]).unwrap(), std::slice::from_ref(&target));
        assert_eq!(std::fs::read(&target).unwrap(), b"y");
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[test]
    fn a_commit_that_fails_midway_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("b");
        let files = ["a", "b"].map(|name| Temporary::create(&folder.path().join(name)).unwrap());
        std::fs::create_dir(&blocked).unwrap();
        let error = Temporary::commit(files.into()).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(names(folder.path()), ["b"]);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        let target = folder.path().join("a");
        Temporary::commit(vec![Temporary::create(&target).unwrap()]).unwrap();
        assert_eq!(mode(&target), mode(&plain));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().join("real.png");
        std::fs::write(&real, "old").unwrap();
        let link = folder.path().join("link.png");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Temporary::commit(vec![Temporary::create(&link).unwrap()]).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"");
    }

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
