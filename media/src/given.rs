//! The names that a commit has given to files, until it has given all.

use std::io;
use std::path::{Path, PathBuf};

/// Names that files have got, each with where what had it before is kept, if anything had.
#[derive(Debug, Default)]
pub(crate) struct Given(Vec<(PathBuf, Option<PathBuf>)>);

impl Given {
    /// Notes that a file has got a name that nothing had.
    pub(crate) fn add(&mut self, name: &Path) {
        self.0.push((name.into(), None));
    }

    /// Gives the file `from` a name, and keeps what has it at `aside`, which is in the same file
    /// system.
    ///
    /// # Errors
    /// What the system says, of a folder with that name for one.
    pub(crate) fn replace(&mut self, from: &Path, name: &Path, aside: PathBuf) -> io::Result<()> {
        if keep(name, &aside)? {
            // Noted first: what has been moved comes back even if this fails.
            self.0.push((name.into(), Some(aside)));
            return std::fs::rename(from, name);
        }
        self.replace_for_good(from, name)
    }

    /// The same for the last one, after which nothing can fail: what has the name is gone.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub(crate) fn replace_for_good(&mut self, from: &Path, name: &Path) -> io::Result<()> {
        std::fs::rename(from, name)?;
        self.add(name);
        Ok(())
    }

    /// Takes all names away again: what had one before has it then, the others are gone.
    pub(crate) fn take_back(self) {
        for (name, kept) in self.0.into_iter().rev() {
            // The error that led here tells more than one about the cleaning up.
            let _ = match kept {
                Some(kept) => std::fs::rename(kept, name),
                None => std::fs::remove_file(name),
            };
        }
    }

    /// The names, in order.
    pub(crate) fn names(self) -> Vec<PathBuf> {
        self.0.into_iter().map(|(name, _)| name).collect()
    }
}

/// Keeps what has that name at `aside`; `false` if there is nothing.
fn keep(name: &Path, aside: &Path) -> io::Result<bool> {
    let is_folder = match name.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        metadata => metadata?.is_dir(),
    };
    if is_folder {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // A second name, so that there is no time without the first; where there are none, the first.
    match std::fs::hard_link(name, aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(_) => std::fs::rename(name, aside).map(|()| true),
        Ok(()) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_the_names_gets_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["old", "from-0", "from-1", "from-2"] {
            std::fs::write(path(name), name).unwrap();
        }
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("folder/inside"), "inside").unwrap();
        let mut given = Given::default();
        given.replace(&path("from-0"), &path("old"), path("0")).unwrap();
        given.replace(&path("from-1"), &path("new"), path("1")).unwrap();
        given.replace(&path("from-2"), &path("folder"), path("2")).unwrap_err();
        assert_eq!(std::fs::read(path("old")).unwrap(), b"from-0");
        assert_eq!(std::fs::read(path("new")).unwrap(), b"from-1");
        given.take_back();
        assert_eq!(std::fs::read(path("old")).unwrap(), b"old");
        assert!(!path("new").exists());
        assert_eq!(std::fs::read(path("folder/inside")).unwrap(), b"inside");
    }

    /// As where a file has one name only: what was moved comes back if nothing could take its place.
    #[test]
    fn what_was_kept_comes_back_if_nothing_took_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("old"), "old").unwrap();
        // There is something at the second name already, so that only a renaming does.
        std::fs::write(path("aside"), "").unwrap();
        let mut given = Given::default();
        given.replace(&path("none"), &path("old"), path("aside")).unwrap_err();
        assert!(!path("old").exists());
        given.take_back();
        assert_eq!(std::fs::read(path("old")).unwrap(), b"old");
    }
}
