//! Folders: their config, variants of weights, and paths that are no checkpoint.

use std::path::Path;

use halovae_engine::checkpoint::{
    Checkpoint, CheckpointError, ConfigError, ConfigSource, Dtype as Stored,
};
use safetensors::Dtype;
use tempfile::TempDir;

use crate::WEIGHTS;
use crate::checkpoint_common::{
    Model, assert_holds, borrowed, demo_vae, kl_config, read, serialize, write,
};

#[test]
fn a_diffusers_folder_is_opened() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let config = write(folder.path(), "config.json", model.config_json(4));
    write(folder.path(), WEIGHTS, serialize(&model.diffusers(Dtype::F32)));
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_holds(&checkpoint, &model);
    assert_eq!(checkpoint.path(), folder.path());
    assert_eq!(checkpoint.config_source(), &ConfigSource::File(config.clone()));
    assert_eq!(kl_config(&checkpoint).norm_num_groups, 4);
    assert!(checkpoint.guessed().is_empty());

    // The weights alone are part of the same folder.
    let file = Checkpoint::open(&folder.path().join(WEIGHTS), None).unwrap();
    assert_eq!(file.config(), checkpoint.config());
    assert_eq!(file.config_source(), &ConfigSource::File(config));

    // An override wins over the folder's own.
    let other = write(folder.path(), "other.json", model.config_json(2));
    for path in [folder.path(), &folder.path().join(WEIGHTS)] {
        let overridden = Checkpoint::open(path, Some(&other)).unwrap();
        assert_eq!(kl_config(&overridden).norm_num_groups, 2);
        assert_eq!(overridden.config_source(), &ConfigSource::File(other.clone()));
    }
}

#[test]
fn a_folder_without_config_is_inferred_and_a_file_beside_one_is_not_part_of_it() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    write(folder.path(), WEIGHTS, serialize(&model.diffusers(Dtype::F32)));
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_eq!(checkpoint.config_source(), &ConfigSource::Shapes);

    write(folder.path(), "config.json", "{\"_class_name\": \"FluxTransformer2DModel\"}");
    let ae = write(folder.path(), "ae.safetensors", serialize(&model.ldm(Dtype::F32, "", 2)));
    assert_holds(&Checkpoint::open(&ae, None).unwrap(), &model);
}

#[test]
fn a_pipeline_folder_and_variants_are_opened() {
    let model = Model::default();
    for name in [
        "vae/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.bf16.safetensors",
    ] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "model_index.json", "{}");
        let weights = write(folder.path(), name, serialize(&model.diffusers(Dtype::F16)));
        write(weights.parent().unwrap(), "config.json", model.config_json(4));
        let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
        assert_holds(&checkpoint, &model);
        assert!(matches!(checkpoint.config_source(), ConfigSource::File(_)));
    }
}

#[test]
fn the_plain_weights_come_before_a_variant() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let half = serialize(&model.diffusers(Dtype::F16));
    write(folder.path(), "diffusion_pytorch_model.fp16.safetensors", half);
    write(folder.path(), WEIGHTS, serialize(&model.diffusers(Dtype::F32)));
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_eq!(checkpoint.tensor("decoder.conv_in.bias").unwrap().dtype, Stored::F32);
}

#[test]
fn paths_that_are_no_checkpoint_are_explained() {
    let folder = TempDir::new().unwrap();
    let message = |path: &Path| Checkpoint::open(path, None).unwrap_err().to_string();
    let absent = folder.path().join("absent");
    assert!(message(&absent).starts_with(&format!("cannot read `{}`: ", absent.display())));
    let empty = message(folder.path());
    assert!(empty.contains("has no weights; expected a folder with"), "{empty}");
    assert!(empty.ends_with(", but it is empty"), "{empty}");

    let model = Model::default();
    let weights = write(folder.path(), "x.safetensors", serialize(&model.diffusers(Dtype::F16)));
    let config = folder.path().join("absent.json");
    let error = Checkpoint::open(&weights, Some(&config)).unwrap_err();
    assert!(matches!(&error, CheckpointError::Io { path, .. } if *path == config), "{error}");
    let error = Checkpoint::open(&weights, Some(folder.path())).unwrap_err();
    assert!(error.to_string().ends_with("it is a folder, not a file"), "{error}");
}

#[test]
fn the_config_of_another_model_says_so_first() {
    for with_weights in [false, true] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "vae/config.json", "{\"_class_name\": \"AutoencoderKLMochi\"}");
        if with_weights {
            write(folder.path(), &format!("vae/{WEIGHTS}"), "damaged as well");
        }
        let error = Checkpoint::open(folder.path(), None).unwrap_err();
        let is_class = matches!(
            &error,
            CheckpointError::Config { source: ConfigError::Class { found, .. }, .. }
                if found == "\"AutoencoderKLMochi\""
        );
        assert!(is_class, "{error}");
    }
}

#[test]
fn the_demo_vae_is_opened() {
    let checkpoint = Checkpoint::open(&demo_vae().join("vae"), None).unwrap();
    let config = kl_config(&checkpoint);
    assert_eq!(config.block_out_channels, [32, 64, 96, 96]);
    assert_eq!((config.norm_num_groups, config.latent_channels), (16, 16));
    assert_eq!((config.scale(), config.sample_size), (8, [256, 256]));
    assert_eq!(checkpoint.tensor("decoder.conv_in.weight").unwrap().dtype, Stored::Bf16);
    let model = Model {
        latent_channels: 16,
        block_out_channels: vec![32, 64, 96, 96],
        layers_per_block: 1,
        post_quant_conv: false,
        attention: true,
    };
    checkpoint.verify(borrowed(&model.expected())).unwrap();
    let names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    for name in &names {
        let finite = read(&checkpoint, name).iter().all(|value| value.is_finite());
        assert!(finite, "{name}");
    }
    // The pipeline's folder around it is one, too.
    let outer = Checkpoint::open(&demo_vae(), None).unwrap();
    assert_eq!(outer.config(), checkpoint.config());
}
