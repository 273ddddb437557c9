//! The cache of the Hugging Face hub: `models--ORG--NAME` with `blobs/`, `refs/` and
//! `snapshots/REVISION/`, whose files are links to blobs.

use std::ffi::OsStr;
use std::fs::{DirEntry, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::text::{listed, shell};

const PREFIX: &str = "models--";
const SNAPSHOTS: &str = "snapshots";
/// What the cache keeps in a model's folder beside the snapshots.
const BESIDE: [&str; 3] = ["blobs", "refs", ".no_exist"];
/// A revision is 40 digits.
const MAX_REF_BYTES: u64 = 256;

/// The model that `folder` is the cache of, as the hub calls it.
pub(crate) fn repo(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    Some(name.replacen("--", "/", 1))
}

/// A snapshot of a model.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) folder: PathBuf,
    /// The file that was read for the revision of `main`, if it is there.
    pub(crate) reference: Option<PathBuf>,
}

/// The snapshot that a model's folder in the cache means: that of the branch `main`, or else the
/// only one. `None` if `folder` is no such folder.
///
/// # Errors
/// Why there is no such snapshot, as the end of a sentence about the folder, with punctuation.
pub(crate) fn snapshot(folder: &Path) -> Result<Option<Snapshot>, String> {
    let root = match folder.file_name() {
        Some(name) if name == SNAPSHOTS => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    let snapshots = root.join(SNAPSHOTS);
    let is_cache =
        repo(root).is_some() || root.join("refs").is_dir() || root.join("blobs").is_dir();
    if !is_cache || !(snapshots.is_dir() || has_nothing_else(root)) {
        return Ok(None);
    }
    let reference = Some(root.join("refs/main")).filter(|path| path.is_file());
    let main = reference.as_deref().and_then(revision).map(|revision| snapshots.join(revision));
    if let Some(folder) = main.filter(|main| main.is_dir()) {
        return Ok(Some(Snapshot { folder, reference }));
    }
    let mut found: Vec<_> = entries(&snapshots).map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    match found.as_slice() {
        [only] => Ok(Some(Snapshot { folder: only.clone(), reference })),
        [] => {
            let again = download(root).map(|command| format!(": {command}")).unwrap_or_default();
            Err(format!("; no snapshot of it was downloaded, download the model{again}"))
        }
        several => Err(format!(
            " of its own, but {} snapshots, and no `refs/main` that tells which one counts; give one \
             of {}",
            several.len(),
            listed(several.iter().map(|path| format!("`{}`", path.display())))
        )),
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Whether the folder of a model is one of the cache and no model lies in it by another way.
fn has_nothing_else(root: &Path) -> bool {
    let is_beside = |entry: DirEntry| BESIDE.iter().any(|name| entry.file_name() == *name);
    root.read_dir().is_ok_and(|entries| entries.flatten().all(is_beside))
}

/// The revision that a reference names.
fn revision(reference: &Path) -> Option<String> {
    let mut revision = String::new();
    File::open(reference).ok()?.take(MAX_REF_BYTES).read_to_string(&mut revision).ok()?;
    let revision = revision.trim().to_owned();
    let mut components = Path::new(&revision).components();
    let is_name = matches!(components.next(), Some(Component::Normal(_)));
    (is_name && components.next().is_none()).then_some(revision)
}

/// A place in a model's folder of the cache.
struct Place<'a> {
    root: &'a Path,
    repo: String,
    revision: Option<&'a OsStr>,
    /// Within the snapshot.
    file: PathBuf,
}

fn place(path: &Path) -> Option<Place<'_>> {
    let (root, repo) = path.ancestors().find_map(|root| Some((root, repo(root)?)))?;
    let mut inside = path.strip_prefix(root).ok()?.components();
    let in_snapshot = inside.next().is_some_and(|part| part.as_os_str() == SNAPSHOTS);
    let revision = inside.next().filter(|_| in_snapshot).map(Component::as_os_str);
    let file = if in_snapshot { inside.as_path().to_owned() } else { PathBuf::new() };
    Some(Place { root, repo, revision, file })
}

/// The command that downloads what is missing at `path`, in quotes; `None` outside the hub's cache.
pub(crate) fn download(path: &Path) -> Option<String> {
    command(path, "")
}

/// The command that downloads what is damaged at `path`, as [`download`].
pub(crate) fn download_anew(path: &Path) -> Option<String> {
    command(path, " --force-download")
}

fn command(path: &Path, flags: &str) -> Option<String> {
    let Place { root, repo, revision, file } = place(path)?;
    let mut words = vec!["hf download".to_owned(), shell(Path::new(&repo))];
    if path.extension().is_some() && !file.as_os_str().is_empty() {
        words.push(shell(&file));
    }
    if let Some(revision) = revision {
        words.extend(["--revision".into(), shell(Path::new(revision))]);
    }
    let cache = root.parent().filter(|parent| !parent.as_os_str().is_empty());
    words.extend(["--cache-dir".into(), shell(cache.unwrap_or(Path::new(".")))]);
    Some(format!("`{}{flags}`", words.join(" ")))
}

/// A download into the folder, or into the cache around it, that was not finished.
pub(crate) fn unfinished(folder: &Path) -> Option<PathBuf> {
    let blobs = place(folder).map(|place| place.root.join("blobs"));
    // `hf download --local-dir` keeps its own in the folder that it was given.
    let local = |root: &Path, below: &Path| root.join(".cache/huggingface/download").join(below);
    let parent = folder.parent().zip(folder.file_name());
    let above = parent.map(|(root, name)| local(root, Path::new(name)));
    let places = [Some(folder.to_owned()), Some(local(folder, Path::new(""))), above, blobs];
    places.into_iter().flatten().find_map(|place| {
        let entries = std::fs::read_dir(place).ok()?.flatten();
        let mut parts: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| is_unfinished(path)).collect();
        parts.sort();
        parts.into_iter().next()
    })
}

/// What download tools call a file until it is complete, or keep beside it.
fn is_unfinished(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = ["incomplete", "part", "partial", "crdownload", "aria2", "download"];
    path.is_file() && path.extension().is_some_and(|ending| ENDINGS.iter().any(|e| ending == *e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_download_what_is_missing() {
        let command = |path: &str| download(Path::new(path));
        assert_eq!(command("/data/vae/x.safetensors"), None);
        assert_eq!(
            command("/hub/models--org--a-b/snapshots/0f/vae/x.safetensors").unwrap(),
            "`hf download org/a-b vae/x.safetensors --revision 0f --cache-dir /hub`"
        );
        assert_eq!(
            command("models--gpt2/snapshots/0f/vae").unwrap(),
            "`hf download gpt2 --revision 0f --cache-dir .`"
        );
        assert_eq!(
            command("/my hub/models--org--a--b/blobs").unwrap(),
            "`hf download org/a--b --cache-dir '/my hub'`"
        );
    }
}
