//! Files that get their name when they are complete, and leave nothing behind otherwise.
//!
//! One file has no name until then where the system has such files. Those of a batch, and any file
//! where it has not, lie in a [`Stage`]: a file without a name has to stay open, and no process has
//! as many open files as a batch may have images.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::children;
use crate::error::about;
use crate::given::Given;
use crate::stage::{Pending, Stage};
use crate::take_over::take_over;
#[cfg(target_os = "linux")]
use crate::unnamed;

/// A file that will have the name of its target. Dropping it deletes it.
#[derive(Debug)]
pub struct Temporary {
    content: Content,
    target: PathBuf,
}

#[derive(Debug)]
enum Content {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Staged(Staged),
}

#[derive(Debug)]
struct Staged {
    /// Until it is complete.
    file: Option<File>,
    path: PathBuf,
    stage: Rc<Stage>,
}

/// The stages of the files of a batch, by folder: links may lead to several.
#[derive(Debug, Default)]
pub(crate) struct Stages(BTreeMap<PathBuf, Rc<Stage>>);

/// The folder that a file of that name lies in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => PathBuf::from("."),
    }
}

/// What a name leads to: if it is a link, the file at its end.
///
/// # Errors
/// That the link leads nowhere.
pub(crate) fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    match path.is_symlink() {
        true => path.canonicalize(),
        false => Ok(path.to_path_buf()),
    }
}

impl Temporary {
    /// An empty file that will be called `target`. If that is a link, the file that it leads to
    /// will be replaced, not the link. The new file takes over the mode of one that it replaces, and
    /// its owner as far as this process may give files away.
    ///
    /// # Errors
    /// That the folder takes no file.
    pub fn create(target: &Path) -> io::Result<Self> {
        let target = end_of_links(target)?;
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed(&folder_of(&target)) {
            take_over(&file, &target)?;
            return Ok(Self { content: Content::Unnamed(file), target });
        }
        let stage = Stage::create(&mut Pending::lock(), &folder_of(&target))?;
        Self::create_on(&Rc::new(stage), target)
    }

    /// The same for one of many, which takes no open file once it is [`closed`](Self::close).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn create_in(stages: &mut Stages, target: &Path) -> io::Result<Self> {
        let target = end_of_links(target)?;
        let folder = folder_of(&target);
        let stage = match stages.0.get(&folder) {
            Some(stage) => stage.clone(),
            None => {
                let stage = Rc::new(Stage::create(&mut Pending::lock(), &folder)?);
                stages.0.insert(folder, stage.clone());
                stage
            }
        };
        Self::create_on(&stage, target)
    }

    fn create_on(stage: &Rc<Stage>, target: PathBuf) -> io::Result<Self> {
        let path = stage.next();
        let file = File::create_new(&path)?;
        take_over(&file, &target)?;
        let staged = Staged { file: Some(file), path, stage: stage.clone() };
        Ok(Self { content: Content::Staged(staged), target })
    }

    /// The file, for writing; until it is closed.
    ///
    /// # Errors
    /// That it is closed.
    pub fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.content {
            #[cfg(target_os = "linux")]
            Content::Unnamed(file) => Ok(file),
            Content::Staged(Staged { file, .. }) => file.as_mut().ok_or_else(closed),
        }
    }

    /// A second handle to the file, for encoders that take one for good.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn handle(&self) -> io::Result<File> {
        match &self.content {
            #[cfg(target_os = "linux")]
            Content::Unnamed(file) => file.try_clone(),
            Content::Staged(Staged { file, .. }) => file.as_ref().ok_or_else(closed)?.try_clone(),
        }
    }

    /// Where it lies until then, if it is one of [`create_in`](Self::create_in).
    pub(crate) fn staged_name(&self) -> Option<&Path> {
        match &self.content {
            #[cfg(target_os = "linux")]
            Content::Unnamed(_) => None,
            Content::Staged(staged) => Some(&staged.path),
        }
    }

    /// The name that it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Everything has been written. What needs no open file gives it back.
    pub(crate) fn close(&mut self) {
        if let Content::Staged(staged) = &mut self.content {
            staged.file = None;
        }
    }

    /// Gives every file its name, and returns the names in order.
    ///
    /// # Errors
    /// What the system says, and of which file. Names that files already had got are taken back then,
    /// so that half a batch is not taken for the whole: what was replaced is there again, and the
    /// other names are gone.
    pub fn commit(files: Vec<Self>) -> io::Result<Vec<PathBuf>> {
        let mut given = Given::default();
        // Dropped after the lock, which they need for that.
        let mut stages: Vec<_> = files.iter().filter_map(|file| file.content.stage()).collect();
        // Another thread that removes what is pending finds all files of a batch or none.
        let mut pending = Pending::lock();
        let last = files.len().saturating_sub(1);
        for (index, Self { content, target }) in files.into_iter().enumerate() {
            let free = content.name_if_free(&target, &mut pending, &mut stages);
            let named = free.and_then(|staged| match staged {
                None => {
                    given.add(&target);
                    Ok(())
                }
                Some((path, _)) if index == last => given.replace_for_good(&path, &target),
                Some((path, stage)) => given.replace(&path, &target, stage.next()),
            });
            if let Err(error) = named {
                given.take_back();
                return Err(about(&target, error));
            }
        }
        Ok(given.names())
    }

    /// Deletes every temporary file of the process and ends it, and the programs that it has started, without
    /// waiting for other threads.
    pub fn delete_all_and_exit(code: u8) -> ! {
        // Locked to the end: no file can get its name any more.
        let mut pending = Pending::lock();
        pending.remove_all();
        children::kill_all();
        std::process::exit(code.into())
    }
}

impl Content {
    /// Gives a file without a name that of its target, if nothing has it. Else returns where the file
    /// lies then, and in what.
    fn name_if_free(
        self,
        target: &Path,
        pending: &mut Pending,
        stages: &mut Vec<Rc<Stage>>,
    ) -> io::Result<Option<(PathBuf, Rc<Stage>)>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => match unnamed::link(&file, target) {
                // A link replaces nothing, a renaming does: so the file has a name in between.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let stage = Rc::new(Stage::create(pending, &folder_of(target))?);
                    stages.push(stage.clone());
                    let path = stage.next();
                    unnamed::link(&file, &path)?;
                    Ok(Some((path, stage)))
                }
                linked => linked.map(|()| None),
            },
            Self::Staged(Staged { path, stage, .. }) => Ok(Some((path, stage))),
        }
    }

    fn stage(&self) -> Option<Rc<Stage>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(_) => None,
            Self::Staged(Staged { stage, .. }) => Some(stage.clone()),
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the file is complete")
}

/// A file without a name, if one in that folder can get a name later: that is tried with another one.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    let trial = unnamed::create(folder).ok()?;
    let stage = Stage::create(&mut Pending::lock(), folder).ok()?;
    unnamed::link(&trial, &stage.next()).ok()?;
    unnamed::create(folder).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A file alone, and one of a batch.
    fn both(target: &Path) -> [Temporary; 2] {
        let alone = Temporary::create(target).unwrap();
        [alone, Temporary::create_in(&mut Stages::default(), target).unwrap()]
    }

    #[test]
    fn a_file_appears_on_commit_and_vanishes_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.png");
        for mut file in both(&target) {
            file.file().unwrap().write_all(b"x").unwrap();
            assert!(!target.exists());
        }
        assert_eq!(names(folder.path()), [""; 0]);

        // The second one replaces the first.
        for (content, mut file) in [b"first", b"other"].into_iter().zip(both(&target)) {
            file.file().unwrap().write_all(content).unwrap();
            file.close();
            assert_eq!(Temporary::commit(vec![file]).unwrap(), std::slice::from_ref(&target));
            assert_eq!(std::fs::read(&target).unwrap(), content);
        }
        let mut third = Temporary::create(&target).unwrap();
        third.file().unwrap().write_all(b"third").unwrap();
        Temporary::commit(vec![third]).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"third");
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[test]
    fn a_commit_that_fails_midway_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for is_batch in [false, true] {
            for name in ["old-0", "old-1"] {
                std::fs::write(path(name), name).unwrap();
            }
            let mut stages = Stages::default();
            let mut create = |name| match is_batch {
                false => Temporary::create(&path(name)).unwrap(),
                true => Temporary::create_in(&mut stages, &path(name)).unwrap(),
            };
            let files = ["old-0", "new", "old-1", "blocked"].map(&mut create).into();
            std::fs::create_dir(path("blocked")).unwrap();
            let error = Temporary::commit(files).unwrap_err();
            assert!(error.to_string().contains("cannot write"), "{error}");
            drop(stages);
            assert_eq!(names(folder.path()), ["blocked", "old-0", "old-1"]);
            for name in ["old-0", "old-1"] {
                assert_eq!(std::fs::read(path(name)).unwrap(), name.as_bytes());
            }
            std::fs::remove_dir(path("blocked")).unwrap();
        }
    }

    /// What is alone on Linux has no name that a killed process could leave.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_alone_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        if unnamed::create(folder.path()).is_err() {
            // A file system without such files.
            return;
        }
        let _file = Temporary::create(&folder.path().join("a")).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
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
        for file in both(&target) {
            Temporary::commit(vec![file]).unwrap();
            assert_eq!(mode(&target), mode(&plain));
            std::fs::remove_file(&target).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        for mode in [0o600, 0o640, 0o444, 0o666] {
            std::fs::write(&target, "old").unwrap();
            std::fs::set_permissions(&target, PermissionsExt::from_mode(mode)).unwrap();
            for file in both(&target) {
                Temporary::commit(vec![file]).unwrap();
                assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, mode);
            }
            std::fs::remove_file(&target).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().join("real.png");
        let link = folder.path().join("link.png");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for index in 0..2 {
            std::fs::write(&real, "old").unwrap();
            let [alone, of_batch] = both(&link);
            Temporary::commit(vec![if index == 0 { alone } else { of_batch }]).unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read(&real).unwrap(), b"");
        }
        assert_eq!(names(elsewhere.path()), ["real.png"]);
    }

    /// As many files as a batch has images, of which only one is open at a time.
    #[test]
    fn closed_files_of_a_batch_are_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut stages = Stages::default();
        let files: Vec<_> = (0..3)
            .map(|index| {
                let target = folder.path().join(index.to_string());
                let mut file = Temporary::create_in(&mut stages, &target).unwrap();
                file.close();
                assert!(file.file().is_err() && file.handle().is_err());
                file
            })
            .collect();
        Temporary::commit(files).unwrap();
        drop(stages);
        assert_eq!(names(folder.path()), ["0", "1", "2"]);
    }
}
