//! Which file a name means.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::temporary::{end_of_links, folder_of};

/// A file that exists, whatever name or link leads to it: device and inode, so that hard links are
/// one file.
#[cfg(unix)]
type FileId = (u64, u64);
/// A file that exists, by the name at the end of all links.
#[cfg(not(unix))]
type FileId = PathBuf;

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> Option<FileId> {
    path.canonicalize().ok()
}

/// What two names of one file have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// The file, if it exists.
    File(FileId),
    /// Its name in its folder, at the end of all links.
    Name(FileId, OsString),
}

impl Identity {
    /// All that identifies the file of that name, which need not exist.
    pub(crate) fn all_of(path: &Path) -> Vec<Self> {
        let target: PathBuf = end_of_links(path).unwrap_or_else(|_| path.into());
        let folder = file_id(&folder_of(&target));
        let name = target.file_name().map(OsString::from);
        let name = folder.zip(name).map(|(folder, name)| Self::Name(folder, name));
        file_id(path).map(Self::File).into_iter().chain(name).collect()
    }
}
