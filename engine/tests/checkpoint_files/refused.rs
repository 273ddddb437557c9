//! What is said of files and folders that cannot be read.

use std::path::Path;

use halovae_engine::checkpoint::{Checkpoint, CheckpointError, FileKind, HeaderError};
use tempfile::TempDir;

use crate::checkpoint_common::{serialize, write};
use crate::{STEM, WEIGHTS, assert_told, message, offset, open, weights};

const TORCH_ZIP: &[u8] = b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl";

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

/// The folder and the index itself name all shards, in the order of their names, and the command
/// that converts them.
#[test]
fn an_index_of_shards_in_torchs_format_tells_how_to_convert_them() {
    let cases = [
        ("diffusion_pytorch_model.bin.index.json", WEIGHTS),
        ("diffusion_pytorch_model.bin.index.fp16.json", "diffusion_pytorch_model.fp16.safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model.safetensors"),
    ];
    // Names of which none tells the others, too.
    let parts = [1, 2].map(|number| format!("{STEM}-{number:05}-of-00002.bin"));
    for [first, second] in [parts.each_ref().map(String::as_str), ["a.bin", "b.bin"]] {
        for (index, output) in cases {
            let folder = TempDir::new().unwrap();
            let map = serde_json::json!({ "weight_map": { "x": second, "y": first, "z": second } });
            let index = write(folder.path(), index, map.to_string());
            let [a, b, output] =
                [first, second, output].map(|name| folder.path().join(name).display().to_string());
            let files = format!("\" {a} {b} {output}`");
            let told = |words: &[&str]| {
                for path in [folder.path(), &index] {
                    assert_told(
                        path,
                        &["in torch's own format", "convert it: `python3 -c \"", &files],
                    );
                    assert_told(path, words);
                }
            };
            told(&[&format!("download what is missing of it: `{a}`, `{b}`; then")]);
            write(folder.path(), second, TORCH_ZIP);
            told(&[&format!("download what is missing of it: `{a}`; then")]);
            write(folder.path(), first, TORCH_ZIP);
            told(&[]);
            for path in [folder.path(), &index] {
                assert!(!message(path).contains("missing"), "{}", message(path));
            }
            write(folder.path(), second, "version https://git-lfs.github.com/spec/v1");
            for path in [folder.path(), &index] {
                assert_told(path, &[second, "is a Git LFS pointer", "git lfs pull"]);
            }
        }
    }
    // Within the hub's cache, by what downloads them.
    let folder = TempDir::new().unwrap();
    let map = r#"{"weight_map": {"x": "a.bin"}}"#;
    let index = "models--org--name/snapshots/0f/vae/diffusion_pytorch_model.bin.index.json";
    let index = write(folder.path(), index, map);
    let command =
        format!("by `hf download org/name --revision 0f --cache-dir {}`", folder.path().display());
    for path in [&index, &folder.path().join("models--org--name")] {
        assert_told(path, &["what is missing of it", &command]);
    }
    // Those that are read need no conversion; an index that is none says what it is.
    let folder = TempDir::new().unwrap();
    let index = write(folder.path(), "diffusion_pytorch_model.bin.index.json", "<html></html>");
    assert_told(&index, &["an HTML page"]);
    write(folder.path(), WEIGHTS, serialize(&weights(1.0)));
    assert_eq!(offset(&open(folder.path())), 1.0);
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
            CheckpointError::Header { source: HeaderError::OtherFormat { found }, .. } => {
                assert_eq!(found, kind)
            }
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
