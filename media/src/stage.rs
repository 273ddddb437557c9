//! Folders for files that are not complete: one beside where the files will be, called
//! `.halovae-HOST-RANDOM.partial`.
//!
//! A folder belongs to a process as long as that holds the lock on the file `lock` in it, which the
//! system takes from a process that is gone, however it went. [`sweep`] removes the folders that
//! no process holds any more.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, TempDir};
use twox_hash::XxHash3_64;

const PREFIX: &str = ".halovae-";
const SUFFIX: &str = ".partial";
const LOCK: &str = "lock";
/// A sweep of another process may take a folder between its creation and its lock; not that often.
const ATTEMPTS: u32 = 16;

/// The folders of this process.
static PENDING: Mutex<Pending> = Mutex::new(Pending(Vec::new()));

/// The folders that there are. As long as a thread has it, no other one of this process creates or
/// removes a folder.
#[derive(Debug)]
pub(crate) struct Pending(Vec<PathBuf>);

impl Pending {
    /// A panic cannot leave a list of names half-changed, so poison is ignored.
    pub(crate) fn lock() -> MutexGuard<'static, Self> {
        PENDING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes every folder with what is in it.
    pub(crate) fn remove_all(&mut self) {
        for path in self.0.drain(..) {
            // The process is about to end, with an error that has been told.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// A folder for files that are not complete. Dropping it removes it, with what is in it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Given back before the folder goes.
    _lock: File,
    folder: TempDir,
    files: Cell<u64>,
}

impl Stage {
    /// A folder in `folder`.
    ///
    /// # Errors
    /// That nothing can be created there.
    pub(crate) fn create(pending: &mut Pending, folder: &Path) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{}-", *HOST);
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        for _ in 0..ATTEMPTS {
            let folder = builder.tempdir_in(folder).map_err(without_path)?;
            if let Some(lock) = take(folder.path())? {
                pending.0.push(folder.path().into());
                return Ok(Self { _lock: lock, folder, files: Cell::new(0) });
            }
        }
        Err(io::Error::other("another process removes every folder that is created there"))
    }

    /// A name for one more file in it.
    pub(crate) fn next(&self) -> PathBuf {
        let number = self.files.get();
        self.files.set(number + 1);
        self.folder.path().join(number.to_string())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut pending = Pending::lock();
        // What this cannot remove because of the open lock, the folder's own drop does after it.
        let _ = std::fs::remove_dir_all(self.folder.path());
        pending.0.retain(|path| path != self.folder.path());
    }
}

/// Creates and locks the lock of a new folder; `None` if a sweep was faster.
fn take(folder: &Path) -> io::Result<Option<File>> {
    let name = folder.join(LOCK);
    let lock = match File::create_new(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    match lock.try_lock() {
        Ok(()) => Ok(name.try_exists()?.then_some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // Where there are no locks, a sweep gets none either and removes nothing.
        Err(TryLockError::Error(_)) => Ok(Some(lock)),
    }
}

/// What the system said, without the random name, which tells the user nothing.
pub(crate) fn without_path(error: io::Error) -> io::Error {
    // `tempfile` keeps what the system said to itself, but for the text.
    match error.to_string().rsplit_once(" at path ") {
        Some((what, _)) => io::Error::new(error.kind(), what),
        None => error,
    }
}

/// Stands in names for the system that runs this process, from its start to its end: locks on a
/// network's file system may be seen by that system alone. Elsewhere than on Linux such locks are the
/// server's, or refused.
static HOST: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{:016x}", XxHash3_64::oneshot(&boot))
});

/// Removes the folders in `folder` that processes of this user left behind which are gone. One of
/// which that is not certain stays, as does whatever cannot be removed.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if let Some(host) = host_of(&entry.file_name()) {
            // That what others left cannot be removed is no failure of this decode.
            let _ = remove_if_left(&entry.path(), &host);
        }
    }
}

/// The host in the name of a stage.
fn host_of(name: &OsStr) -> Option<String> {
    let inner = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    inner.split_once('-').map(|(host, _)| host.to_owned())
}

fn remove_if_left(stage: &Path, host: &str) -> io::Result<()> {
    if !is_own_folder(stage)? {
        return Ok(());
    }
    let name = stage.join(LOCK);
    let lock = match OpenOptions::new().write(true).open(&name) {
        // Its process has just created it, and takes another one then; or is just removing it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return std::fs::remove_dir(stage),
        lock => lock?,
    };
    if lock.try_lock().is_err() || (host != *HOST && !is_of_one_system(&lock)) {
        return Ok(());
    }
    let entries = std::fs::read_dir(stage)?.map(|entry| Ok(entry?.file_name()));
    let (locks, files): (Vec<_>, Vec<_>) =
        entries.collect::<io::Result<Vec<_>>>()?.into_iter().partition(|name| name == LOCK);
    // A folder with anything else in it was not made here alone.
    let is_numbered = |name: &OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    if files.iter().all(is_numbered) {
        for name in files.iter().chain(&locks) {
            std::fs::remove_file(stage.join(name))?;
        }
        std::fs::remove_dir(stage)?;
    }
    Ok(())
}

/// Whether it is a folder, not a link to one, of the user that this process runs for: what others put
/// there may change into something else at any time.
fn is_own_folder(path: &Path) -> io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata("/proc/self")?.uid() != metadata.uid() {
            return Ok(false);
        }
    }
    Ok(metadata.is_dir())
}

/// Whether the file system is one that a single system mounts, so that every lock on it is seen here.
#[cfg(target_os = "linux")]
fn is_of_one_system(file: &File) -> bool {
    const EXT: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    const F2FS: i64 = 0xf2f5_2010;
    let kind = rustix::fs::fstatfs(file).map(|system| system.f_type);
    // The field has other types on other machines.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "its type varies")]
    kind.is_ok_and(|kind| [EXT, XFS, BTRFS, F2FS].contains(&(kind as i64)))
}

#[cfg(not(target_os = "linux"))]
fn is_of_one_system(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as a killed process of that host leaves one.
    fn leave(folder: &Path, host: &str, files: &[&str]) -> PathBuf {
        let left = folder.join(format!("{PREFIX}{host}-abcdef{SUFFIX}"));
        std::fs::create_dir(&left).unwrap();
        for name in files {
            std::fs::write(left.join(name), "some of an image").unwrap();
        }
        left
    }

    #[test]
    fn a_sweep_removes_what_no_process_holds() {
        let folder = tempfile::tempdir().unwrap();
        let left = leave(folder.path(), &HOST, &[LOCK, "0", "1", "17"]);
        sweep(folder.path());
        assert!(!left.exists());
        let barely_begun = leave(folder.path(), &HOST, &[]);
        sweep(folder.path());
        assert!(!barely_begun.exists());
    }

    #[test]
    fn a_sweep_leaves_what_a_process_holds() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::create(&mut Pending::lock(), folder.path()).unwrap();
        let file = stage.next();
        std::fs::write(&file, "some of an image").unwrap();
        sweep(folder.path());
        assert_eq!(std::fs::read(file).unwrap(), b"some of an image");
        drop(stage);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_random_name_cannot_be_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        let error = Stage::create(&mut Pending::lock(), &none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(PREFIX), "{error}");
    }

    /// Another system's processes may hold it without our seeing that, unless only one system can.
    #[test]
    fn a_sweep_asks_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let left = leave(folder.path(), "0123456789abcdef", &[LOCK, "0"]);
        let is_of_one_system = is_of_one_system(&File::open(left.join(LOCK)).unwrap());
        sweep(folder.path());
        assert_eq!(left.exists(), !is_of_one_system);
    }

    #[test]
    fn a_sweep_leaves_everything_else() {
        let folder = tempfile::tempdir().unwrap();
        let with_notes = leave(folder.path(), &HOST, &[LOCK, "0", "notes"]);
        let elsewhere = tempfile::tempdir().unwrap();
        let real = leave(elsewhere.path(), &HOST, &[LOCK, "0"]);
        #[cfg(unix)]
        {
            let link = folder.path().join(format!("{PREFIX}{}-link{SUFFIX}", *HOST));
            std::os::unix::fs::symlink(&real, link).unwrap();
        }
        let file = folder.path().join(format!("{PREFIX}{}-file{SUFFIX}", *HOST));
        std::fs::write(&file, "a file").unwrap();
        let other = folder.path().join(".halovae-notes");
        std::fs::create_dir(&other).unwrap();
        sweep(folder.path());
        assert!(with_notes.join("0").exists() && real.join("0").exists());
        assert!(file.exists() && other.exists());
    }

    /// A sweep that comes between the creation of a folder and its lock takes it away; then there is
    /// another one.
    #[test]
    fn sweeps_and_stages_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(path);
                }
            });
            for _ in 0..200 {
                let stage = Stage::create(&mut Pending::lock(), path).unwrap();
                let file = stage.next();
                std::fs::write(&file, "held").unwrap();
                assert_eq!(std::fs::read(file).unwrap(), b"held");
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }
}
