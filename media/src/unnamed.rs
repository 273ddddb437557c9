//! Files without a name. The system frees one when the process ends, however that ends; Linux has them
//! on most of its own file systems.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

/// An empty file on the file system of `folder`, with the mode that the umask leaves.
///
/// # Errors
/// That the folder takes no file, or that the file system has none without a name.
pub(crate) fn create(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(open(folder, flags, Mode::from_raw_mode(0o666))?.into())
}

/// Gives the file a name that nothing has yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or what else the system says.
pub(crate) fn link(file: &File, name: &Path) -> io::Result<()> {
    // The way that needs no privileges.
    let held = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, held.as_str(), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}
