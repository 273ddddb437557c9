//! In which space latents are, and what tells it.

use halovae_engine::tensor::Shape;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::{CONFIG, RawFile, RawTensor, WEIGHTS};
use halovae_tests::{binary, naming, npy, tensors};
use serde_json::Value;

use crate::{Setup, plain};

/// ComfyUI's files are known by their keys, and are in the VAE's space.
#[test]
fn comfyuis_latents_whatever_they_are_called() {
    let setup = Setup::new("f8-sd");
    let mut latents = random_tensor(Shape::new(1, 3, 5, 4), 5);
    let version = ("latent_format_version_0", RawTensor::f32(&[0], &[]));
    let new = [("latent_tensor", plain(&latents)), version];
    let old = [("latent_tensor", plain(&latents))];
    let as_it_is = setup.write("as-it-is.safetensors", &[("latents", plain(&latents))]);
    latents.data_mut().iter_mut().for_each(|value| *value *= (1.0 / 0.18215) as f32);
    let divided = setup.write("divided.safetensors", &[("latents", plain(&latents))]);
    for (what, tensors, expected) in [("new", &new[..], &as_it_is), ("old", &old, &divided)] {
        let (expected, _) = setup.picture(expected, "");
        for name in ["a.latent", "a.safetensors"] {
            let file = setup.write(name, tensors);
            let (got, _) = setup.picture(&file, "");
            assert!(got == expected, "{what}, as {name}: another picture");
            let words = ["latent_tensor", "leave --latent-space pipeline out"];
            setup.refused(&file, "--latent-space pipeline", &words);
        }
    }
}

/// Checkpoints of whole models, without a config: what is beside the VAE tells how to scale.
#[test]
fn a_whole_checkpoint_scales_a_pipelines_latents() {
    let mut setup = Setup::new("f8-sd");
    let weights = RawFile::read(&setup.golden.folder.join(WEIGHTS));
    let of_decoder = |name: &str| name.starts_with("decoder.") || name.starts_with("post_quant");
    let decoder = RawFile {
        tensors: weights.tensors.into_iter().filter(|(name, _)| of_decoder(name)).collect(),
    };
    let vae = decoder.renamed(|name, tensor| naming::to_ldm("first_stage_model.", 4, name, tensor));
    let latents = setup.golden.latents_file();
    let text = std::fs::read(setup.golden.folder.join(CONFIG)).expect("a config");
    let config: Value = serde_json::from_slice(&text).expect("JSON");

    let one = RawTensor::f32(&[1], &[0.0]);
    let mean = [-1.6574f32, 1.886, -1.383, 2.5155];
    let std = [8.4927f32, 5.9022, 6.5498, 5.2299];
    let [edm_mean, edm_std] = [mean, std].map(|values| RawTensor::f32(&[4], &values));
    let sdxl = "conditioner.embedders.1.model.ln_final.weight";
    let cases = [
        ("SDXL", vec![(sdxl, one.clone())], serde_json::json!({ "scaling_factor": 0.13025 })),
        (
            "Playground 2.5",
            vec![(sdxl, one.clone()), ("edm_mean", edm_mean), ("edm_std", edm_std)],
            serde_json::json!({
                "scaling_factor": 0.5,
                "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
                "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
            }),
        ),
        (
            "SD 1.x",
            vec![("cond_stage_model.transformer.text_model.final_layer_norm.bias", one.clone())],
            serde_json::json!({ "scaling_factor": 0.18215 }),
        ),
        ("nothing", vec![("model.diffusion_model.out.2.weight", one)], Value::Null),
    ];
    for (model, beside, fields) in cases {
        let mut file = vae.clone();
        file.tensors.extend(beside.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)));
        setup.vae = setup.path("model.safetensors");
        file.write(&setup.vae);
        let mut config = config.clone();
        for (field, value) in fields.as_object().into_iter().flatten() {
            config[field] = value.clone();
        }
        let config_file = setup.path("config.json");
        std::fs::write(&config_file, config.to_string()).expect("a config");
        let with_config =
            format!("--latent-space pipeline --config {}", config_file.to_str().expect("UTF-8"));
        let (expected, _) = setup.picture(&latents, &with_config);
        std::fs::remove_file(config_file).expect("the config");
        if fields.is_null() {
            // Neither quietly nor with a note; in the VAE's space nothing has to be told.
            let words = ["model.safetensors", "--config", "vae"];
            setup.refused(&latents, "--latent-space pipeline", &words);
            setup.refused(&latents, "-q --latent-space pipeline", &words);
            setup.picture(&latents, "");
            continue;
        }
        let (got, _) = setup.picture(&latents, "--latent-space pipeline");
        assert!(got == expected, "{model}: another picture than with its config");
        let mut inspect = binary::command(["inspect", "--vae"]);
        inspect.arg(&setup.vae);
        let told = binary::run_command(inspect).expect_success().stdout;
        assert!(told.contains(model), "{model}: {told}");
    }
}

/// The pipeline of HunyuanImage 2.1 divides latents by the scale; ComfyUI has done so where it saves them.
#[test]
fn latents_of_hunyuan_image() {
    let setup = Setup::new("hunyuan-image");
    let own = &setup.golden.latents;
    let (expected, _) = setup.picture(&setup.golden.latents_file(), "");
    let version = ("latent_format_version_0", RawTensor::f32(&[0], &[]));
    let comfys = setup.write("comfy.latent", &[("latent_tensor", plain(own)), version]);
    assert!(setup.picture(&comfys, "").0 == expected, "another picture of ComfyUI's latents");

    let mut scaled = own.clone();
    scaled.data_mut().iter_mut().for_each(|value| *value *= 0.75289);
    let of_pipeline = setup.write("pipeline.safetensors", &[("latents", plain(&scaled))]);
    let (got, _) = setup.picture(&of_pipeline, "--latent-space pipeline");
    let (values, shape) = npy::read(&got);
    let picture = tensors::channels_last(&values, shape.try_into().expect("NCHW"));
    assert_f32_close("a pipeline's latents", &picture, setup.golden.expected("whole"));
}

/// Pipelines of Wan normalize each channel of a video's latents by the config's mean and deviation.
#[test]
fn latents_of_wans_pipelines() {
    for name in ["wan", "wan-residual"] {
        let setup = Setup::new(name);
        let config = std::fs::read_to_string(setup.golden.folder.join(CONFIG)).expect("a config");
        let config: Value = serde_json::from_str(&config).expect("JSON");
        let per_channel = |key: &str| -> Vec<f32> {
            let values = config[key].as_array().expect("numbers").iter();
            values.map(|value| value.as_f64().expect("a number") as f32).collect()
        };
        let [mean, std] = ["latents_mean", "latents_std"].map(per_channel);
        let mut latents = RawFile::read(&setup.golden.latents_file()).tensors["latents"].clone();
        let [_, channels, frames, height, width] = latents.shape[..] else { panic!("no video") };
        assert!(frames > 1 && mean.iter().chain(&std).all(|&value| value != 0.0), "{name}");
        let (expected, _) = setup.picture(&setup.golden.latents_file(), "");
        for (place, bytes) in latents.bytes.chunks_exact_mut(4).enumerate() {
            let channel = place / (frames * height * width) % channels;
            let value = f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
            let normal = (value - mean[channel]) / std[channel];
            bytes.copy_from_slice(&normal.to_le_bytes());
        }
        let file = setup.write("pipeline.safetensors", &[("latents", latents)]);
        let (got, _) = setup.picture(&file, "--latent-space pipeline");
        let [(got, of_got), (expected, of_expected)] =
            [&got, &expected].map(|file| npy::read(file));
        assert_eq!(of_got, of_expected, "{name}");
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-4;
        assert!(!got.iter().zip(&expected).any(far), "{name}: another video");
        assert!(setup.picture(&file, "").0 != setup.picture(&file, "--latent-space pipeline").0);
    }
}
