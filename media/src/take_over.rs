//! What a new file takes over from the one that it replaces.

use std::fs::File;
use std::io;
use std::path::Path;

/// Gives the mode and as far as possible the owner of the file that is replaced, if there is one.
///
/// # Errors
/// That the file cannot have that mode.
#[cfg(unix)]
pub(crate) fn take_over(file: &File, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

    let Ok(old) = target.metadata() else { return Ok(()) };
    let new = file.metadata()?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        // Most may only give a file to another group of their own, or not even that.
        let given = fchown(file, Some(old.uid()), Some(old.gid()));
        let _ = given.or_else(|_| fchown(file, None, Some(old.gid())));
    }
    file.set_permissions(PermissionsExt::from_mode(old.mode() & 0o777))
}

/// Elsewhere there is nothing to take over.
#[cfg(not(unix))]
pub(crate) fn take_over(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}
