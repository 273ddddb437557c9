//! Which files a path means, and what is said where no weights can be read: names as diffusers and
//! download tools give them.

mod checkpoint_common;

use std::path::{Path, PathBuf};

use checkpoint_common::{Model, Tensors, borrowed, serialize, values, write};
use halovae_engine::checkpoint::{Checkpoint, CheckpointError, ConfigSource, FileKind};
use safetensors::Dtype;
use tempfile::TempDir;

const STEM: &str = "diffusion_pytorch_model";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const TORCH_ZIP: &[u8] = b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl";

fn model() -> Model {
    Model { block_out_channels: vec![4, 4], layers_per_block: 1, ..Model::default() }
}

/// Weights that `offset` tells from others.
fn weights(offset: f32) -> Tensors {
    let mut tensors = model().diffusers(Dtype::F32);
    for (name, tensor) in &mut tensors {
        if name == "decoder.conv_in.bias" {
            let count = tensor.bytes.len() / 4;
            tensor.bytes = offset.to_le_bytes().repeat(count);
        }
    }
    tensors
}

fn offset(checkpoint: &Checkpoint) -> f32 {
    checkpoint.verify(borrowed(&model().expected())).unwrap();
    let view = checkpoint.tensor("decoder.conv_in.bias").unwrap();
    let mut out = vec![0.0; view.elements()];
    view.to_f32_into(&mut out);
    out[0]
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path, None).unwrap()
}

fn open_variant(path: &Path, variant: &str) -> Checkpoint {
    Checkpoint::open_variant(path, None, Some(variant)).unwrap()
}

fn message(path: &Path) -> String {
    let message = Checkpoint::open(path, None).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

/// All words are in the error.
#[track_caller]
fn assert_told(path: &Path, words: &[&str]) {
    let message = message(path);
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

/// A folder with a config and these weights, whose offsets are their places in the list.
fn folder_of(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "config.json", model().config_json(2));
    for (offset, rest) in names.iter().enumerate() {
        let name = format!("{STEM}{rest}");
        write(folder.path(), &name, serialize(&weights(offset as f32)));
    }
    folder
}

/// Writes weights as shards of these names, and gives the text of their index.
fn write_shards(folder: &Path, tensors: &Tensors, names: &[String]) -> String {
    let mut shards = vec![Tensors::new(); names.len()];
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        shards[index % names.len()].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), names[index % names.len()].as_str().into());
    }
    for (name, shard) in names.iter().zip(&shards) {
        write(folder, name, serialize(shard));
    }
    serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()
}

fn shard_names(before: &str, after: &str) -> Vec<String> {
    (1..=2)
        .map(|number| format!("{STEM}{before}-{number:05}-of-00002{after}.safetensors"))
        .collect()
}

#[test]
fn every_variant_is_read_by_its_name() {
    let names = ["", ".fp32", ".fp16", ".bf16", ".ema", ".non_ema"];
    let files = names.map(|name| format!("{name}.safetensors"));
    let folder = folder_of(&files.each_ref().map(String::as_str));
    assert_eq!(offset(&open(folder.path())), 0.0);
    for (index, name) in names.iter().enumerate().skip(1) {
        let checkpoint = open_variant(folder.path(), &name[1..]);
        assert_eq!(offset(&checkpoint), index as f32, "{name}");
        assert_eq!(checkpoint.variant(), Some(&name[1..]));
        assert_eq!(
            checkpoint.weight_files(),
            [folder.path().join(format!("{STEM}{}", files[index]))]
        );
        assert!(matches!(checkpoint.config_source(), ConfigSource::File(_)));
    }
}

#[test]
fn without_a_choice_the_plain_weights_come_first_and_others_are_not_guessed() {
    let first = |names: &[&str]| open(folder_of(names).path()).variant().map(str::to_owned);
    let variant = |name: &str| Some(name.to_owned());
    assert_eq!(first(&[".ema.safetensors", ".safetensors", ".fp32.safetensors"]), None);
    assert_eq!(first(&[".bf16.safetensors", ".fp32.safetensors"]), variant("fp32"));
    assert_eq!(first(&[".bf16.safetensors", ".fp16.safetensors"]), variant("fp16"));
    assert_eq!(first(&[".ema.safetensors", ".bf16.safetensors"]), variant("bf16"));
    for only in [".ema.safetensors", ".non_ema.safetensors", ".v2.1.safetensors"] {
        let folder = folder_of(&[only]);
        let checkpoint = open(folder.path());
        assert_eq!(offset(&checkpoint), 0.0);
        assert!(!checkpoint.is_plain());
    }
    assert!(open(folder_of(&[".fp16.safetensors"]).path()).is_plain());

    let folder = folder_of(&[".ema.safetensors", ".non_ema.safetensors"]);
    let error = Checkpoint::open(folder.path(), None).unwrap_err();
    assert!(matches!(error, CheckpointError::Variant { .. }), "{error}");
    assert_told(folder.path(), &["not the same: ema, non_ema; choose one"]);
    assert_eq!(offset(&open_variant(folder.path(), "non_ema")), 1.0);
}

#[test]
fn a_variant_that_is_not_there_names_those_that_are() {
    let told = |path: &Path, variant| {
        let error = Checkpoint::open_variant(path, None, Some(variant)).unwrap_err();
        assert!(matches!(error, CheckpointError::Variant { .. }), "{error}");
        error.to_string()
    };
    let folder = folder_of(&[".safetensors", ".fp16.safetensors"]);
    let message = told(folder.path(), "ema");
    assert!(
        message
            .ends_with("no variant ema of its weights; it has the plain one without a name, fp16")
    );
    let file = folder.path().join(WEIGHTS);
    assert!(told(&file, "fp16").contains("is one file, which has no variant fp16"));
    let file = folder.path().join("diffusion_pytorch_model.fp16.safetensors");
    assert_eq!(offset(&open_variant(&file, "fp16")), 1.0);
}

#[test]
fn both_spellings_of_indices_and_shards_are_read() {
    for variant in ["", "fp16", "ema"] {
        let dotted = if variant.is_empty() { String::new() } else { format!(".{variant}") };
        for index in
            [format!("{WEIGHTS}.index{dotted}.json"), format!("{WEIGHTS}{dotted}.index.json")]
        {
            for names in [shard_names(&dotted, ""), shard_names("", &dotted)] {
                let folder = TempDir::new().unwrap();
                let vae = folder.path().join("vae");
                std::fs::create_dir(&vae).unwrap();
                let text = write_shards(&vae, &weights(3.0), &names);
                let index = write(&vae, &index, text);
                write(&vae, "config.json", model().config_json(2));
                let wanted = Some(variant).filter(|variant| !variant.is_empty());
                // The folder, the index and every shard of it mean the same.
                let paths = [folder.path(), &vae, &index, &vae.join(&names[1])];
                for path in paths {
                    let checkpoint = Checkpoint::open_variant(path, None, wanted).unwrap();
                    assert_eq!(offset(&checkpoint), 3.0, "{}", path.display());
                    assert_eq!(checkpoint.weight_files().len(), 2);
                    assert_eq!(checkpoint.config().norm_num_groups, 2);
                }
                assert_eq!(open(&vae).variant(), wanted);
            }
        }
    }
}

#[test]
fn shards_need_no_index_but_each_other() {
    let folder = TempDir::new().unwrap();
    let names = shard_names(".fp16", "");
    write_shards(folder.path(), &weights(5.0), &names);
    assert_eq!(offset(&open(folder.path())), 5.0);
    assert_eq!(offset(&open(&folder.path().join(&names[0]))), 5.0);
    std::fs::remove_file(folder.path().join(&names[1])).unwrap();
    assert_told(folder.path(), &["has no weights that can be read", &names[1], "is missing"]);
    let first = folder.path().join(&names[0]);
    assert_told(&first, &["is one of several shards", &names[1], "is missing"]);
}

#[test]
fn one_safetensors_file_of_another_name_is_read_and_several_are_named() {
    let folder = TempDir::new().unwrap();
    let sole = write(folder.path(), "vae-ft-mse.safetensors", serialize(&weights(7.0)));
    write(folder.path(), "config.json", model().config_json(2));
    let checkpoint = open(folder.path());
    assert_eq!((checkpoint.path(), offset(&checkpoint)), (sole.as_path(), 7.0));
    assert_eq!(checkpoint.config().norm_num_groups, 2);
    let other = write(folder.path(), "sdxl.vae.safetensors", serialize(&weights(8.0)));
    let [sole, other] = [sole, other].map(|path| format!("`{}`", path.display()));
    assert_told(folder.path(), &["give one of these", &sole, &other]);
}

#[test]
fn folders_that_hold_a_vae_are_named() {
    let folder = TempDir::new().unwrap();
    let put = |below: &str, config: &str| {
        write(folder.path(), &format!("{below}/{WEIGHTS}"), serialize(&weights(0.0)));
        write(folder.path(), &format!("{below}/config.json"), config);
    };
    put("vae_1_0", "{}");
    put("autoencoder", "{\"_class_name\": \"AutoencoderKL\"}");
    put("unet", "{\"_class_name\": \"UNet2DConditionModel\"}");
    put("pipeline/vae", "{}");
    let named = message(folder.path());
    for (name, is_named) in
        [("vae_1_0", true), ("autoencoder", true), ("unet", false), ("pipeline", true)]
    {
        let path = format!("`{}`", folder.path().join(name).display());
        assert_eq!(named.contains(&path), is_named, "{name}: {named}");
    }
}

#[test]
fn what_is_not_read_is_named_with_what_helps() {
    let told = |files: &[(&str, &[u8])], words: &[&str]| {
        let folder = TempDir::new().unwrap();
        for (name, bytes) in files {
            write(folder.path(), name, bytes);
        }
        let error = Checkpoint::open(folder.path(), None).unwrap_err();
        assert!(matches!(error, CheckpointError::NoWeights { .. }), "{error}");
        assert_told(folder.path(), words);
        folder
    };
    for (file, output) in [
        ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
        ("diffusion_pytorch_model.fp16.bin", "diffusion_pytorch_model.fp16.safetensors"),
        ("vae.pt", "vae.safetensors"),
        ("vae.pth", "vae.safetensors"),
        ("kl-f8.ckpt", "kl-f8.safetensors"),
    ] {
        let folder = told(&[(file, TORCH_ZIP)], &["convert it: `python3 -c", file]);
        let [input, output] = [file, output].map(|name| folder.path().join(name));
        let command = format!("\" {} {}`", input.display(), output.display());
        assert_told(folder.path(), &[&command]);
        assert_told(&input, &["zip archive", &command]);
    }
    let parts = [1, 2].map(|number| format!("{STEM}-{number:05}-of-00002.bin"));
    let [first, second] = parts.each_ref().map(String::as_str);
    let index = format!("{STEM}.bin.index.json");
    let folder = told(&[(first, TORCH_ZIP), (second, TORCH_ZIP), (&index, b"{}")], &[]);
    let [a, b, whole] = [first, second, WEIGHTS].map(|name| folder.path().join(name));
    let command = format!("\" {} {} {}`", a.display(), b.display(), whole.display());
    assert_told(folder.path(), &[&command]);
    assert_told(&b, &[&command]);
    told(&[(first, TORCH_ZIP)], &["download what is missing of it", second]);

    told(&[("diffusion_flax_model.msgpack", b"\x82\xa7decoder")], &["from_flax=True", "msgpack"]);
    told(&[("model.onnx", b"\x08\x07\x12\x07pytorch")], &["model.onnx cannot be read", "instead"]);
    told(&[("vae.gguf", b"GGUF\x03\0\0\0")], &["vae.gguf cannot be read"]);
    told(
        &[("diffusion_pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1")],
        &["`diffusion_pytorch_model.bin` is a Git LFS pointer", "git lfs pull"],
    );
    told(&[("notes.txt", b"x"), ("config.json", b"{}")], &["but it has config.json, notes.txt"]);
    let part = "diffusion_pytorch_model.safetensors.incomplete";
    told(&[(part, b"")], &["download was not finished", part]);
    let part = ".cache/huggingface/download/vae/x.incomplete";
    let folder = told(&[(part, b""), ("vae/config.json", b"{}")], &["was not finished", part]);
    assert_told(&folder.path().join("vae"), &[part]);

    let folder =
        told(&[("vae.pt", &serialize(&weights(2.0)))], &["is a safetensors file, give that"]);
    assert_eq!(offset(&open(&folder.path().join("vae.pt"))), 2.0);
}

#[test]
fn a_file_saved_under_a_wrong_name_is_called_what_it_is() {
    let folder = TempDir::new().unwrap();
    let cases: [(&[u8], FileKind, &str); 9] = [
        (b"<!DOCTYPE html><html>", FileKind::Html, "an HTML page"),
        (b"version https://git-lfs.github.com/", FileKind::LfsPointer, "git lfs pull"),
        (b"{\"error\":\"denied\"}", FileKind::Refusal("denied".into()), "hf auth login"),
        (b"{\"weight_map\":{}}", FileKind::ShardIndex, "give the folder"),
        (b"{\"_class_name\":\"AutoencoderKL\"}", FileKind::Json, "give the folder"),
        (b"Entry not found", FileKind::Text("Entry not found".into()), "download it again"),
        (TORCH_ZIP, FileKind::TorchZip, "x.converted.safetensors"),
        (b"\x80\x04\x95\0\0\0\0\0\0", FileKind::Pickle, "convert it"),
        (&[0; 100], FileKind::Zeros, "was not finished"),
    ];
    for (bytes, kind, word) in cases {
        let path = write(folder.path(), "x.safetensors", bytes);
        match Checkpoint::open(&path, None).unwrap_err() {
            CheckpointError::Header {
                source: halovae_engine::checkpoint::HeaderError::OtherFormat { found },
                ..
            } => assert_eq!(found, kind),
            other => panic!("{other}"),
        }
        assert_told(&path, &[&kind.to_string(), "expected a safetensors file", word]);
    }
    let empty = write(folder.path(), "x.safetensors", "");
    assert_told(&empty, &["is empty, expected a safetensors file; download it again"]);
    // An index, and a config.
    let weights = write(folder.path(), WEIGHTS, serialize(&weights(0.0)));
    let index = write(folder.path(), "y.safetensors.index.json", "<html></html>");
    assert_told(&index, &["it is an HTML page"]);
    for (text, word) in [
        ("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("<!doctype html><html>", "an HTML page"),
        ("{\"error\": \"Repository not found\"}", "Repository not found"),
        ("{\"weight_map\": {}}", "an index of shards"),
    ] {
        let config = write(folder.path(), "config.json", text);
        assert_told(&weights, &[word, "expected a model's config.json"]);
        assert_told(folder.path(), &[word, "config.json"]);
        std::fs::remove_file(&config).unwrap();
        let other = write(folder.path(), "other.json", text);
        let error = Checkpoint::open(&weights, Some(&other)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let error = Checkpoint::open(&weights, Some(&weights)).unwrap_err().to_string();
    assert!(error.contains("is a safetensors file, expected a model's config.json"), "{error}");
}

#[test]
fn a_name_of_the_hub_is_told_from_a_path() {
    assert_told(Path::new("org/sd-vae-ft-mse"), &["`hf download org/sd-vae-ft-mse`"]);
    for path in ["/org/sd-vae", "./a/b/c", "absent", "org/x.safetensors"] {
        let message = message(Path::new(path));
        assert!(!message.contains("hf download"), "{message}");
    }
}

#[cfg(unix)]
mod cache {
    use std::os::unix::fs::symlink;

    use super::*;

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
        std::fs::create_dir(cache.root.join("snapshots")).unwrap();
        let command =
            format!("`hf download org/a-vae --cache-dir {}`", cache.folder.path().display());
        assert_told(&cache.root, &["no snapshot", &command]);
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
}

/// `values` of the common helpers tell weights apart by themselves; here one bias does.
#[test]
fn offsets_replace_the_common_values() {
    let bias = weights(9.0)["decoder.conv_in.bias"].bytes.clone();
    assert_ne!(
        bias,
        values(0, bias.len() / 4).iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()
    );
}
