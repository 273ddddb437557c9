//! Checkpoints of FLUX.2: configs, both namings, the statistics that latents are normalized by, and what
//! the pipeline around a VAE tells.

mod checkpoint_common;

use std::path::Path;

use checkpoint_common::{LDM, Model, Tensor, Tensors, serialize};
use halovae_engine::checkpoint::{
    AutoencoderKlFlux2Config, Checkpoint, CheckpointError, ConfigSource, Flux2Pipeline, Naming,
    VaeConfig, parse_config,
};
use halovae_engine::latents::{LatentSpace, LatentsFile, LatentsFormat, TokenOrder, Wanted};
use halovae_engine::model::Model as _;
use safetensors::Dtype;
use serde_json::{Value, json};

const CHANNELS: usize = 4;

fn model() -> Model {
    Model { latent_channels: CHANNELS, ..Model::default() }
}

fn mean() -> Vec<f32> {
    (0..4 * CHANNELS).map(|value| value as f32 - 3.0).collect()
}

fn variance() -> Vec<f32> {
    (0..4 * CHANNELS).map(|value| 0.5 + value as f32).collect()
}

/// The file with what the batch norm has.
fn with_statistics(mut tensors: Tensors, prefix: &str) -> Tensors {
    let vector = |values: &[f32]| Tensor::new(Dtype::F32, &[values.len()], values);
    tensors.insert(format!("{prefix}bn.running_mean"), vector(&mean()));
    tensors.insert(format!("{prefix}bn.running_var"), vector(&variance()));
    let count = Tensor::new(Dtype::I64, &[], &[0.0]);
    tensors.insert(format!("{prefix}bn.num_batches_tracked"), count);
    tensors
}

/// The names of FLUX.2's own code, whose convs around the latents are in encoder and decoder.
fn original(prefix: &str) -> Tensors {
    let ldm = model().ldm(Dtype::F16, prefix, 2);
    let renamed = |name: String| match name.contains("post_quant_conv") {
        true => name.replace("post_quant_conv", "decoder.post_quant_conv"),
        false => name,
    };
    ldm.into_iter().map(|(name, tensor)| (renamed(name), tensor)).collect()
}

fn open(tensors: &Tensors) -> Checkpoint {
    Checkpoint::from_bytes(serialize(tensors), None).unwrap()
}

fn config(checkpoint: &Checkpoint) -> &AutoencoderKlFlux2Config {
    checkpoint.config().downcast_ref().expect("the config of a FLUX.2")
}

fn std_of(eps: f32) -> Vec<f32> {
    variance().iter().map(|variance| (variance + eps).sqrt()).collect()
}

#[test]
fn a_file_without_a_config_is_known_by_its_statistics_in_every_naming() {
    for prefix in ["", "vae.", "first_stage_model."] {
        let mut diffusers = Tensors::new();
        for (name, tensor) in model().diffusers(Dtype::F16) {
            diffusers.insert(format!("{prefix}{name}"), tensor);
        }
        let ldm = model().ldm(Dtype::F16, prefix, 2);
        for (tensors, naming) in
            [(diffusers, Naming::Diffusers), (ldm, LDM), (original(prefix), LDM)]
        {
            let checkpoint = open(&with_statistics(tensors, prefix));
            assert_eq!((checkpoint.naming(), checkpoint.prefix()), (naming, prefix));
            assert_eq!(*checkpoint.config_source(), ConfigSource::Shapes);
            assert!(checkpoint.ignored().is_empty());
            let found = config(&checkpoint);
            assert_eq!(found.network.latent_channels, CHANNELS as u32);
            assert_eq!(found.network.sample_size, [1024, 1024]);
            assert_eq!(found.patch_size, [2, 2]);
            let program = found.decoder().unwrap();
            let wanted = program.weights().iter().map(|spec| (&*spec.name, &*spec.shape));
            checkpoint.verify(wanted).unwrap();
            let space = checkpoint.latent_space().unwrap();
            assert_eq!(space.mean_and_std, Some((mean(), std_of(1e-4))));
            assert_eq!(space.of_tokens, found.packing());
            assert_eq!(found.comfy_space(), Some(LatentSpace { cells_untold: None, ..space }));
        }
    }
}

#[test]
fn without_statistics_latents_of_pipelines_are_refused() {
    let lacks = |checkpoint: Checkpoint| {
        let error = checkpoint.latent_space().unwrap_err();
        assert!(matches!(error, CheckpointError::NoStatistics { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("`bn.running_mean`, `bn.running_var`"), "{message}");
        assert_eq!(checkpoint.config().comfy_space(), None);
    };
    lacks(open(&original("")));
    // Of a type that is not read.
    let mut tensors = with_statistics(original(""), "");
    tensors.insert("bn.running_var".into(), Tensor::new(Dtype::I64, &[16], &[1.0; 16]));
    lacks(Checkpoint::from_bytes(serialize(&tensors), Some(small().into())).unwrap());
    // Without a config, their number tells the cells of a token.
    let mut tensors = with_statistics(original(""), "");
    tensors.insert("bn.running_mean".into(), Tensor::new(Dtype::F32, &[8], &[0.0; 8]));
    let error = Checkpoint::from_bytes(serialize(&tensors), None).map(drop).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("8 values, expected those of a square of cells"), "{error}");
}

/// Statistics that cannot be those of this VAE, each with the name of its tensor.
#[test]
fn impossible_statistics_are_refused() {
    let refused = |config: AutoencoderKlFlux2Config, name: &str, values: &[f32], words: &[&str]| {
        let mut tensors = with_statistics(original(""), "");
        tensors.insert(name.into(), Tensor::new(Dtype::F32, &[values.len()], values));
        let opened = Checkpoint::from_bytes(serialize(&tensors), Some(config.into()));
        let error = opened.map(drop).unwrap_err();
        assert!(matches!(error, CheckpointError::Statistics { .. }), "{error}");
        let message = error.to_string();
        for word in [&*format!("`{name}`"), "<memory>"].iter().chain(words) {
            assert!(message.contains(word), "{message}");
        }
    };
    let [mean, variance] = ["bn.running_mean", "bn.running_var"];
    let with = |values: Vec<f32>, value: f32| {
        let mut values = values;
        values[5] = value;
        values
    };
    refused(small(), mean, &[0.0; 4], &["has 4 values", "have 16", "`patch_size`"]);
    refused(small(), variance, &[1.0; 32], &["has 32 values", "have 16"]);
    for value in [f32::NAN, f32::INFINITY] {
        for (name, values) in [(mean, self::mean()), (variance, self::variance())] {
            refused(small(), name, &with(values, value), &["at 5", "expected finite numbers"]);
        }
    }
    // Not enough to make the sum with `batch_norm_eps` negative.
    let below = with(self::variance(), -1e-6);
    refused(small(), variance, &below, &["has -0.000001", "at 5", "never below 0"]);
    // A patch of other cells than the statistics are of.
    let patch_size = [1, 2];
    let other = AutoencoderKlFlux2Config { patch_size, ..small() };
    let words = ["has 16 values", "have 8: 4 (`latent_channels`) of 1 x 2 cells (`patch_size`)"];
    refused(other, mean, &self::mean(), &words);
    // A value that never changes, with nothing added to divide by.
    let constant = with(self::variance(), 0.0);
    let without_eps = AutoencoderKlFlux2Config { batch_norm_eps: 0.0, ..small() };
    refused(without_eps, variance, &constant, &["has 0", "at 5", "`batch_norm_eps`"]);
    let mut tensors = with_statistics(original(""), "");
    tensors.insert(variance.into(), Tensor::new(Dtype::F32, &[16], &constant));
    let space = open(&tensors).latent_space().unwrap();
    assert_eq!(space.mean_and_std.unwrap().1[5], 1e-4f32.sqrt());
}

/// A config without a class beside the weights is of the class that these tell.
#[test]
fn a_config_without_a_class_is_of_the_weights() {
    let folder = folder_of(&json!("Flux2Pipeline"));
    let vae = folder.path().join("vae");
    let mut fields = small().to_json();
    let fields = fields.as_object_mut().unwrap();
    for own in ["_class_name", "batch_norm_eps", "patch_size"] {
        fields.remove(own).unwrap();
    }
    std::fs::write(vae.join("config.json"), Value::Object(fields.clone()).to_string()).unwrap();
    let checkpoint = Checkpoint::open(&vae, None).unwrap();
    assert_eq!(*checkpoint.config_source(), ConfigSource::File(vae.join("config.json")));
    assert_eq!(config(&checkpoint).network, small().network);
    assert_eq!(checkpoint.latent_space().unwrap().mean_and_std, Some((mean(), std_of(1e-4))));
    // Fields of one family alone are not those of another's weights.
    fields.insert("batch_norm_eps".into(), json!(1e-4));
    std::fs::write(vae.join("config.json"), Value::Object(fields.clone()).to_string()).unwrap();
    let weights = serialize(&model().ldm(Dtype::F16, "", 2));
    std::fs::write(vae.join("diffusion_pytorch_model.safetensors"), weights).unwrap();
    let error = Checkpoint::open(&vae, None).map(drop).unwrap_err();
    assert!(matches!(error, CheckpointError::OtherFamily { .. }), "{error}");
}

/// What unpacked latents are is not known without a pipeline; packed ones are normalized.
#[test]
fn unpacked_latents_need_the_pipeline() {
    let untold = |checkpoint: &Checkpoint| checkpoint.latent_space().unwrap().cells_untold;
    let alone = open(&with_statistics(original(""), ""));
    assert!(untold(&alone).is_some_and(|cells| cells.contains("klein")));
    assert_eq!(alone.config().comfy_space().unwrap().cells_untold, None);
    for (class, is_told) in [("Flux2Pipeline", true), ("AnotherPipeline", false)] {
        let folder = folder_of(&json!(class));
        let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
        assert_eq!(untold(&checkpoint).is_none(), is_told, "{class}");
    }

    let file = |shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        let latents = Tensor::new(Dtype::F32, shape, &values);
        let bytes = serialize(&Tensors::from([("latents".to_owned(), latents)]));
        LatentsFile::from_bytes(bytes, LatentsFormat::Safetensors, None).unwrap()
    };
    let wanted = Wanted {
        channels: CHANNELS,
        scale: 2,
        video: false,
        packing: alone.config().packing(),
        sides: None,
        comfy: None,
    };
    let space = alone.latent_space().unwrap();
    let error = file(&[1, 4, 2, 6]).for_decoder(&wanted, Some(&space)).unwrap_err().to_string();
    assert!(error.contains("[1, 4, 2, 6], unpacked") && error.contains("klein"), "{error}");
    file(&[1, 4, 2, 6]).for_decoder(&wanted, None).unwrap();
    for packed in [&[1, 4, 16][..], &[1, 16, 1, 3]] {
        file(packed).for_decoder(&wanted, Some(&space)).unwrap();
    }
    let told = LatentSpace { cells_untold: None, ..space };
    file(&[1, 4, 2, 6]).for_decoder(&wanted, Some(&told)).unwrap();
}

/// The config of [`model`].
fn small() -> AutoencoderKlFlux2Config {
    let found = open(&with_statistics(original(""), ""));
    AutoencoderKlFlux2Config { statistics: None, ..config(&found).clone() }
}

#[test]
fn an_autoencoder_kl_has_no_statistics() {
    let tensors = with_statistics(model().ldm(Dtype::F16, "", 2), "");
    let config = parse_config(b"{}").unwrap();
    let error = Checkpoint::from_bytes(serialize(&tensors), Some(config)).map(drop).unwrap_err();
    assert!(matches!(
        &error,
        CheckpointError::OtherFamily { told: "AutoencoderKLFlux2", class: "AutoencoderKL", .. }
    ));
    // Nor has a VAE of FLUX.2 the weights of another one.
    let tensors = model().ldm(Dtype::F16, "", 2);
    let opened = Checkpoint::from_bytes(serialize(&tensors), Some(small().into()));
    let error = opened.map(drop).unwrap_err();
    assert!(matches!(error, CheckpointError::OtherFamily { .. }), "{error}");
}

/// A pipeline's folder, with an index of that class.
fn folder_of(class: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let vae = folder.path().join("vae");
    std::fs::create_dir(&vae).unwrap();
    std::fs::write(vae.join("config.json"), small().to_json().to_string()).unwrap();
    let weights = serialize(&with_statistics(original(""), ""));
    std::fs::write(vae.join("diffusion_pytorch_model.safetensors"), weights).unwrap();
    let index = json!({ "_class_name": class });
    std::fs::write(folder.path().join("model_index.json"), index.to_string()).unwrap();
    folder
}

#[test]
fn the_pipeline_tells_what_it_does_with_latents() {
    let read = |class: Value| {
        let folder = folder_of(&class);
        let vae = folder.path().join("vae");
        let weights = vae.join("diffusion_pytorch_model.safetensors");
        let [of_pipeline, of_vae, of_file]: [&Path; 3] = [folder.path(), &vae, &weights];
        let opened =
            [of_pipeline, of_vae, of_file].map(|path| Checkpoint::open(path, None).unwrap());
        let index = folder.path().join("model_index.json");
        for checkpoint in &opened {
            assert_eq!(checkpoint.sources().contains(&index), class.is_string());
            assert_eq!(config(checkpoint), config(&opened[0]));
        }
        let space = opened[0].latent_space().unwrap();
        let order = config(&opened[0]).packing().unwrap().order;
        (config(&opened[0]).pipeline, space, order)
    };
    for (class, expected) in [
        (json!("Flux2Pipeline"), Flux2Pipeline::Flux2),
        (json!("BriaFibo2Pipeline"), Flux2Pipeline::Flux2),
        (json!("AnotherPipeline"), Flux2Pipeline::Untold),
        (json!(null), Flux2Pipeline::Untold),
        (json!(1), Flux2Pipeline::Untold),
    ] {
        let (pipeline, space, order) = read(class);
        assert_eq!((pipeline, order), (expected, TokenOrder::ChannelsFirst));
        assert_eq!(space.mean_and_std, Some((mean(), std_of(1e-4))));
    }
    let (pipeline, space, _) = read(json!("ErnieImagePipeline"));
    assert_eq!(pipeline, Flux2Pipeline::ErnieImage);
    assert_eq!(space.mean_and_std, Some((mean(), std_of(1e-5))));
    for class in ["Flux2KleinPipeline", "Flux2KleinInpaintPipeline"] {
        let (pipeline, space, _) = read(json!(class));
        assert_eq!((pipeline, space), (Flux2Pipeline::Klein, LatentSpace::VAE));
    }
    let (pipeline, space, order) = read(json!("Ideogram4Pipeline"));
    assert_eq!((pipeline, order), (Flux2Pipeline::Ideogram4, TokenOrder::ChannelsLast));
    assert_eq!(space.mean_and_std, Some((mean(), std_of(1e-4))));
    assert_eq!(space.of_tokens.unwrap().order, TokenOrder::ChannelsLast);
}

fn parse(change: Value) -> Result<AutoencoderKlFlux2Config, String> {
    let mut fields = json!({ "_class_name": "AutoencoderKLFlux2" });
    for (name, value) in change.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let parsed = parse_config(fields.to_string().as_bytes()).map_err(|error| error.to_string())?;
    Ok(parsed.downcast_ref::<AutoencoderKlFlux2Config>().expect("its class").clone())
}

#[test]
fn absent_fields_are_those_of_the_class() {
    assert_eq!(parse(json!({})).unwrap(), AutoencoderKlFlux2Config::default());
    let config = parse(json!({
        "decoder_block_out_channels": [96, 192, 384, 384], "batch_norm_eps": 1e-5,
        "scaling_factor": 7.0, "force_upcast": false,
    }));
    let config = config.unwrap();
    assert_eq!(config.block_out_channels, [128, 256, 512, 512]);
    assert_eq!(config.network.block_out_channels, [96, 192, 384, 384]);
    assert_eq!(config.network.scaling_factor, 1.0);
    let read = parse_config(config.to_json().to_string().as_bytes()).unwrap();
    assert_eq!(read.downcast_ref(), Some(&config));
    let same = parse(json!({ "decoder_block_out_channels": null }));
    assert_eq!(same.unwrap(), AutoencoderKlFlux2Config::default());
}

#[test]
fn impossible_fields_are_named() {
    for (change, words) in [
        (
            json!({ "decoder_block_out_channels": [32, 32] }),
            "as many levels as `block_out_channels`",
        ),
        (
            json!({ "decoder_block_out_channels": [96, 192, 384, 0] }),
            "`decoder_block_out_channels` is 0",
        ),
        (
            json!({ "decoder_block_out_channels": [96, 192, 384, 383] }),
            "`decoder_block_out_channels` is 383, expected multiples of `norm_num_groups` (32)",
        ),
        (
            json!({ "decoder_block_out_channels": [] }),
            "`decoder_block_out_channels` is a list of 0 levels, expected as many",
        ),
        (
            json!({ "decoder_block_out_channels": [96, 192, 384, 65568] }),
            "`decoder_block_out_channels` is 65568, expected a whole number from 1 to 65536",
        ),
        (
            json!({ "decoder_block_out_channels": [96, 192, 384, 384], "norm_num_groups": 0 }),
            "`norm_num_groups` is 0",
        ),
        (
            json!({ "block_out_channels": [128, 256, 512, 511] }),
            "`norm_num_groups` is 32, expected a divisor of every one of `block_out_channels`",
        ),
        (json!({ "decoder_block_out_channels": 8 }), "`decoder_block_out_channels` is 8"),
        (json!({ "batch_norm_eps": -1e-4 }), "`batch_norm_eps` is -0.0001"),
        (json!({ "patch_size": [2] }), "expected height and width, in cells"),
        (json!({ "patch_size": [2, 0] }), "`patch_size` is 0"),
        (json!({ "up_block_types": ["UpDecoderBlock2D"] }), "`up_block_types`"),
    ] {
        let error = parse(change.clone()).unwrap_err();
        assert!(error.contains(words), "{change}: {error}");
    }
}
