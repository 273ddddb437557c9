//! The bytes of a file, without a copy.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::hub;

/// Bytes that tell what a file is, or that it is the config of a VAE.
const HEAD_BYTES: u64 = 4096;

/// Bytes of a safetensors file.
#[derive(Debug)]
pub(crate) enum Storage {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Storage {
    /// Maps a regular file into memory.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        let file = open_regular(path)?;
        // SAFETY: the mapping is read only and never longer than the file is now. What Rust asks
        // beyond that, that the file is not written while it is mapped, no process can enforce. The
        // bytes are only ever read as plain numbers, at offsets from a header that was parsed into
        // memory of its own, so other bytes mean other numbers; a file that shrinks raises SIGBUS,
        // which `Checkpoint` documents.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self::Mapped(map))
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Storage::Mapped(map) => map,
            Storage::Owned(bytes) => bytes,
        }
    }
}

/// Opens `path` for reading. Folders, pipes and devices are refused before they are opened, because
/// opening a pipe waits for a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let metadata = std::fs::metadata(path).map_err(|error| explain_absence(path, error))?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file"));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

/// `error`, unless `path` is not there: then, if it is a link, what of it is missing.
pub(crate) fn explain_absence(path: &Path, error: io::Error) -> io::Error {
    match broken_link(path) {
        Some(problem) => io::Error::new(error.kind(), problem),
        None => error,
    }
}

/// Where `path` is a link to nothing: that it is, and what to do, as a sentence about it.
pub(crate) fn broken_link(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    let is_broken =
        std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let again = match hub::download(path) {
        Some(command) => format!("; download it again: {command}"),
        None => "; put the file there, or give another path".into(),
    };
    is_broken.then(|| format!("it is a link to `{}`, which is not there{again}", target.display()))
}

/// The first bytes of a file, as many as tell what it is.
pub(crate) fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(HEAD_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file of at most `limit` bytes whole; `None` if it is longer.
pub(crate) fn read_small(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    use io::Read;
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}
