//! The cache of the Hugging Face hub, and links to nothing.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use halovae_engine::checkpoint::{Checkpoint, CheckpointError};
use tempfile::TempDir;

use crate::checkpoint_common::{serialize, write};
use crate::{
    WEIGHTS, assert_told, model, offset, open, open_variant, shard_names, weights, write_shards,
};

/// The hub's cache with one model in it.
struct Cache {
    folder: TempDir,
    root: PathBuf,
}

impl Cache {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("models--org--a-vae");
        std::fs::create_dir_all(root.join("blobs")).unwrap();
        Self { folder, root }
    }

    /// A snapshot with these weights at `file`, as a link to a blob.
    fn snapshot(&self, revision: &str, file: &str, offset: f32) -> PathBuf {
        let blob = format!("blobs/{revision}");
        write(&self.root, &blob, serialize(&weights(offset)));
        let link = self.root.join("snapshots").join(revision).join(file);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(self.root.join(blob), link).unwrap();
        self.root.join("snapshots").join(revision)
    }
}

#[test]
fn the_root_means_the_snapshot_of_main_or_the_only_one() {
    let cache = Cache::new();
    let first = cache.snapshot("0a", &format!("vae/{WEIGHTS}"), 1.0);
    for path in [&cache.root, &cache.root.join("snapshots"), &first] {
        let checkpoint = open(path);
        assert_eq!((checkpoint.path(), offset(&checkpoint)), (&*first.join("vae"), 1.0));
    }
    let second = cache.snapshot("0b", WEIGHTS, 2.0);
    let [a, b] = [&first, &second].map(|path| format!("`{}`", path.display()));
    assert_told(&cache.root, &["2 snapshots", "refs/main", &a, &b]);
    write(&cache.root, "refs/main", "0b\n");
    assert_eq!(offset(&open(&cache.root)), 2.0);
    // The cache itself has the model in it.
    let model = format!("`{}`", cache.root.display());
    assert_told(cache.folder.path(), &["give this if it is meant", &model]);
    // What does not name a snapshot does not count.
    for other in ["0c", "../../elsewhere", ""] {
        write(&cache.root, "refs/main", other);
        assert_told(&cache.root, &["2 snapshots"]);
    }
}

#[test]
fn the_reference_that_tells_the_snapshot_is_among_what_was_read() {
    let cache = Cache::new();
    let snapshot = cache.snapshot("0a", WEIGHTS, 1.0);
    let weights = snapshot.join(WEIGHTS);
    assert_eq!(open(&cache.root).sources(), std::slice::from_ref(&weights));
    // Also where it names no snapshot and the only one counts.
    for revision in ["0a", "0b"] {
        let reference = write(&cache.root, "refs/main", revision);
        assert_eq!(open(&cache.root).sources(), [weights.clone(), reference]);
    }
    assert_eq!(open(&snapshot).sources(), std::slice::from_ref(&weights));

    // The same where there are no weights, with the config that is there.
    std::fs::remove_file(&weights).unwrap();
    let reference = write(&cache.root, "refs/main", "0a");
    for below in ["config.json", "vae/config.json"] {
        let config = write(&snapshot, below, model().config_json(2));
        match Checkpoint::open(&cache.root, None).unwrap_err() {
            CheckpointError::NoWeights { sources, .. } => {
                assert_eq!(sources, [config, reference.clone()])
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_snapshot_without_weights_names_another_that_has_them() {
    let cache = Cache::new();
    let other = cache.snapshot("0a", &format!("vae/{WEIGHTS}"), 1.0);
    write(&cache.root, "snapshots/0b/README.md", "x");
    write(&cache.root, "refs/main", "0b");
    assert_told(&cache.root, &[&format!("give this if it is meant: `{}`", other.display())]);
}

#[test]
fn a_cache_without_weights_tells_how_to_download_them() {
    let cache = Cache::new();
    let command = format!("`hf download org/a-vae --cache-dir {}`", cache.folder.path().display());
    // Nothing but blobs, then a reference to what is not there, then no snapshots.
    assert_told(&cache.root, &["no snapshot", &command]);
    write(&cache.root, "refs/main", "0a");
    assert_told(&cache.root, &["no snapshot", &command]);
    std::fs::create_dir(cache.root.join("snapshots")).unwrap();
    assert_told(&cache.root, &["no snapshot", &command]);
    std::fs::remove_dir(cache.root.join("snapshots")).unwrap();
    // A folder of such a name that was filled by hand is read as it is.
    write(&cache.root, WEIGHTS, serialize(&weights(6.0)));
    assert_eq!(offset(&open(&cache.root)), 6.0);
    std::fs::remove_file(cache.root.join(WEIGHTS)).unwrap();
    write(&cache.root, "snapshots/0a/vae/config.json", model().config_json(2));
    write(&cache.root, "blobs/ff.incomplete", "x");
    assert_told(
        &cache.root,
        &[
            "download was not finished",
            "blobs/ff.incomplete",
            "hf download org/a-vae --revision 0a",
        ],
    );
}

#[test]
fn a_link_to_nothing_is_told_with_what_is_missing() {
    let cache = Cache::new();
    let snapshot = cache.snapshot("0a", &format!("vae/{WEIGHTS}"), 1.0);
    let blob = cache.root.join("blobs/0a");
    std::fs::remove_file(&blob).unwrap();
    let words = [
        &format!("it is a link to `{}`, which is not there", blob.display()),
        &format!("`hf download org/a-vae vae/{WEIGHTS} --revision 0a --cache-dir "),
    ];
    let words = words.map(String::as_str);
    let vae = snapshot.join("vae");
    for path in [&cache.root, &snapshot, &vae, &vae.join(WEIGHTS)] {
        assert_told(path, &words);
    }
    // No other weights take their place unasked.
    let fp16 = "diffusion_pytorch_model.fp16.safetensors";
    write(&vae, fp16, serialize(&weights(4.0)));
    assert_told(&vae, &[words[0], "it also has the variant(s) fp16"]);
    assert_eq!(offset(&open_variant(&vae, "fp16")), 4.0);

    // The same of shards, of files of other names, of configs and of folders.
    let folder = TempDir::new().unwrap();
    let names = shard_names("", "");
    let index = write_shards(folder.path(), &weights(0.0), &names);
    let lost = folder.path().join(&names[0]);
    std::fs::remove_file(&lost).unwrap();
    symlink("lost", &lost).unwrap();
    assert_told(folder.path(), &[&names[0], "a link to `lost`"]);
    write(folder.path(), &format!("{WEIGHTS}.index.json"), index);
    assert_told(folder.path(), &[&names[0], "a link to `lost`"]);

    let folder = TempDir::new().unwrap();
    symlink("lost", folder.path().join("ae.safetensors")).unwrap();
    assert_told(folder.path(), &["`ae.safetensors`: it is a link to `lost`"]);
    let weights = write(folder.path(), WEIGHTS, serialize(&weights(0.0)));
    symlink("gone", folder.path().join("config.json")).unwrap();
    assert_told(folder.path(), &["config.json", "a link to `gone`"]);
    assert_told(&weights, &["config.json", "a link to `gone`"]);
    symlink("away", folder.path().join("folder")).unwrap();
    assert_told(&folder.path().join("folder"), &["a link to `away`"]);
}

#[test]
fn a_damaged_blob_is_downloaded_by_force() {
    let cache = Cache::new();
    let snapshot = cache.snapshot("0a", WEIGHTS, 1.0);
    let bytes = serialize(&weights(1.0));
    write(&cache.root, "blobs/0a", &bytes[..bytes.len() - 1]);
    assert_told(&snapshot, &["truncated", "--force-download`"]);
}
