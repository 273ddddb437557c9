//! Whether a file of a name can be written, as far as that can be told before it is.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use crate::temporary::{Temporary, end_of_links, folder_of};
use crate::{OutputError, stage};

/// Checks that a file of that name can be written.
///
/// # Errors
/// [`OutputError`].
pub fn check_place(path: &Path) -> Result<(), OutputError> {
    Places::default().check(path)
}

/// Checks that scratch files can be created in a folder.
///
/// # Errors
/// [`OutputError::Scratch`].
pub fn check_scratch(folder: &Path) -> Result<(), OutputError> {
    let refused = |source| OutputError::Scratch { folder: folder.into(), source };
    tempfile::tempfile_in(folder).map(drop).map_err(stage::without_path).map_err(refused)
}

/// Checks that files can be created in the folder of `path`.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_folder(path: &Path) -> Result<(), OutputError> {
    Places::default().check_folder(path, path)
}

/// Refuses what is or can only be something else than a file.
///
/// # Errors
/// [`OutputError::NotAFile`].
pub(crate) fn check_file_name(path: &Path) -> Result<(), OutputError> {
    // `Path` drops what is no name at the end.
    let last = path.as_os_str().as_encoded_bytes().rsplit(|&byte| byte == b'/').next();
    let ends_as_folder = matches!(last, Some(b"" | b"."));
    let what = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => "a folder",
        Ok(metadata) if !metadata.is_file() => "a device or a pipe",
        _ if path.file_name().is_none() || ends_as_folder => "the name of a folder",
        _ => return Ok(()),
    };
    Err(OutputError::NotAFile { path: path.into(), what })
}

/// Checks places, and each folder once.
#[derive(Debug, Default)]
pub(crate) struct Places {
    folders: HashSet<PathBuf>,
}

impl Places {
    /// Checks the name, what has it, and the folder.
    ///
    /// # Errors
    /// [`OutputError`].
    pub(crate) fn check(&mut self, path: &Path) -> Result<(), OutputError> {
        check_file_name(path)?;
        check_what_is_there(path)?;
        let target = end_of_links(path).map_err(|source| broken_link(path, source))?;
        self.check_folder(path, &target)
    }

    /// Checks the folder of `target`, which `path` leads to, and removes what processes that are gone
    /// left in it.
    fn check_folder(&mut self, path: &Path, target: &Path) -> Result<(), OutputError> {
        let (path, folder) = (path.to_path_buf(), folder_of(target));
        if self.folders.contains(&folder) {
            return Ok(());
        }
        match folder.metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Err(source) if source.kind() == io::ErrorKind::InvalidFilename => {
                return Err(OutputError::Name { path, source });
            }
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(OutputError::Folder { path, folder, source });
            }
            _ => return Err(OutputError::NoFolder { path, folder }),
        }
        stage::sweep(&folder);
        if let Err(source) = Temporary::create(&folder.join("never-committed")) {
            return Err(OutputError::Folder { path, folder, source });
        }
        self.folders.insert(folder);
        Ok(())
    }
}

fn broken_link(path: &Path, source: io::Error) -> OutputError {
    let to = path.read_link().unwrap_or_default();
    OutputError::Link { path: path.into(), to, source }
}

fn check_what_is_there(path: &Path) -> Result<(), OutputError> {
    let folder = || folder_of(path);
    match path.symlink_metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::InvalidFilename => {
            return Err(OutputError::Name { path: path.into(), source });
        }
        // For the check of the folder.
        Err(_) if !folder().is_dir() => return Ok(()),
        Err(source) => {
            return Err(OutputError::Folder { path: path.into(), folder: folder(), source });
        }
    }
    if let Err(source) = path.metadata() {
        return Err(broken_link(path, source));
    }
    let path = path.to_path_buf();
    // It will be replaced, which takes no more than a folder to write to. But a user protects a file
    // against just that, and `cp` would not do it either.
    if let Err(source) = OpenOptions::new().write(true).open(&path) {
        return Err(OutputError::Protected { path, source });
    }
    match why_irreplaceable(&path) {
        Some(why) => Err(OutputError::Irreplaceable { path, why }),
        None => Ok(()),
    }
}

/// Why a file that may be written to cannot be replaced by another one, where that can be told.
#[cfg(target_os = "linux")]
fn why_irreplaceable(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

    const STICKY: u32 = 0o1000;
    let target = path.canonicalize().ok()?;
    let mounted = statx(CWD, &target, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    if mounted {
        return Some("is mounted by itself; mount its folder instead, or give another name");
    }
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    let (file, folder) = (target.metadata().ok()?, folder_of(&target).metadata().ok()?);
    // As /tmp is: every user may write there, but not remove another user's files.
    let is_kept = folder.mode() & STICKY != 0 && ![file.uid(), folder.uid(), 0].contains(&user);
    is_kept.then_some(
        "belongs to another user, in a folder where only they may replace it; give another name",
    )
}

#[cfg(not(target_os = "linux"))]
fn why_irreplaceable(_: &Path) -> Option<&'static str> {
    None
}
