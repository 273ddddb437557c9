//! Which files a path means, and what is said where no weights can be read: names as diffusers and
//! download tools give them.

#[path = "../checkpoint_common/mod.rs"]
mod checkpoint_common;

#[cfg(unix)]
mod cache;
mod refused;

use std::path::Path;

use checkpoint_common::{Model, Tensors, borrowed, kl_config, serialize, write};
use halovae_engine::checkpoint::{Checkpoint, CheckpointError, ConfigSource};
use safetensors::Dtype;
use tempfile::TempDir;

const STEM: &str = "diffusion_pytorch_model";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

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
                    assert_eq!(kl_config(&checkpoint).norm_num_groups, 2);
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
    assert_eq!(kl_config(&checkpoint).norm_num_groups, 2);
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
