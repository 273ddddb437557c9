//! Latents in every space and packing, through the binary: the same picture, or one clear line.

use std::path::{Path, PathBuf};

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::{CONFIG, RawFile, RawTensor, WEIGHTS, copy_checkpoint};
use halovae_tests::golden::Golden;
use halovae_tests::{naming, npy, tensors};
use serde_json::Value;
use tempfile::TempDir;

/// A VAE, and a folder for what is made of it.
struct Setup {
    golden: Golden,
    vae: PathBuf,
    folder: TempDir,
}

impl Setup {
    fn new(name: &str) -> Self {
        let golden = Golden::load(name);
        let vae = golden.folder.clone();
        Self { golden, vae, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of tensors by name.
    fn write(&self, name: &str, tensors: &[(&str, RawTensor)]) -> PathBuf {
        let path = self.path(name);
        let named = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
        RawFile { tensors: named.collect() }.write(&path);
        path
    }

    /// `halovae decode` with these flags, words of a line.
    fn decode(&self, latents: &Path, flags: &str) -> Run {
        let mut command = binary::command(["decode"]);
        command.args(flags.split_whitespace()).arg("--vae").arg(&self.vae);
        command.arg("--latents").arg(latents).arg("--output").arg(self.path("out.npy"));
        binary::run_command(command)
    }

    /// The output's bytes, and what was said.
    #[track_caller]
    fn picture(&self, latents: &Path, flags: &str) -> (Vec<u8>, String) {
        let run = self.decode(latents, flags).expect_success();
        let output = self.path("out.npy");
        let bytes = std::fs::read(&output).expect("the output");
        std::fs::remove_file(output).expect("the output");
        (bytes, run.stderr)
    }

    /// That it ends with 2, one line with these words, and no output.
    #[track_caller]
    fn refused(&self, latents: &Path, flags: &str, words: &[&str]) {
        let before = listing(self.folder.path());
        let run = self.decode(latents, flags);
        assert_eq!(run.status.code(), Some(2), "{flags}: {}", run.stderr);
        assert_eq!(listing(self.folder.path()), before, "{flags}");
        for word in words {
            assert!(run.stderr.contains(word), "{flags}: no {word:?} in {}", run.stderr);
        }
    }
}

/// What FLUX.1's pipeline makes of `[batch, channels, height, width]`: its `_pack_latents`.
fn packed(latents: &HostTensor) -> RawTensor {
    let Shape { batch, height, width, channels, .. } = latents.shape();
    let at = |n: usize, c: usize, y: usize, x: usize| {
        latents.data()[((n * height + y) * width + x) * channels + c]
    };
    let mut values = Vec::new();
    for n in 0..batch {
        for row in 0..height / 2 {
            for column in 0..width / 2 {
                for c in 0..channels {
                    for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        values.push(at(n, c, row * 2 + dy, column * 2 + dx));
                    }
                }
            }
        }
    }
    RawTensor::f32(&[batch, height / 2 * (width / 2), 4 * channels], &values)
}

fn plain(latents: &HostTensor) -> RawTensor {
    let (values, shape) = tensors::channels_first(latents);
    RawTensor::f32(&shape, &values)
}

fn without_batch(mut tensor: RawTensor) -> RawTensor {
    assert_eq!(tensor.shape.remove(0), 1);
    tensor
}

#[test]
fn packed_latents_make_the_picture_of_unpacked_ones() {
    const PIPELINE: &str = "--latent-space pipeline";
    let setup = Setup::new("f8-flux");
    let latents = random_tensor(Shape::new(2, 4, 6, 16), 1);
    let file = setup.write("plain.safetensors", &[("latents", plain(&latents))]);
    let (expected, said) = setup.picture(&file, PIPELINE);
    assert!(!said.contains("square") && !said.contains("packed"), "{said}");

    let file = setup.write("packed.safetensors", &[("latents", packed(&latents))]);
    let (got, said) = setup.picture(&file, &format!("{PIPELINE} --height 32 --width 48"));
    assert!(got == expected, "unpacked latents make another picture");
    assert!(!said.contains("packed"), "nothing was assumed: {said}");
    let way_out = ["[2, 6, 64]", "packed", "--latent-space pipeline"];
    setup.refused(&file, "", &way_out);
    setup.refused(&file, "--height 32 --width 48", &way_out);
    setup.refused(&file, PIPELINE, &["6 tokens", "no square", "--height and --width"]);
    setup.refused(&file, &format!("{PIPELINE} --height 32 --width 32"), &["4 tokens", "are 6"]);
    let odd = format!("{PIPELINE} --height 40 --width 48");
    setup.refused(&file, &odd, &["height of 40", "32 or 48"]);
    setup.refused(&file, &format!("{PIPELINE} --height 32"), &["--width"]);
    setup.refused(&file, &format!("{PIPELINE} --height 0 --width 48"), &["--height"]);

    // A square is taken for one, and that is said.
    let latents = random_tensor(Shape::new(1, 4, 4, 16), 2);
    let file = setup.write("square.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, PIPELINE);
    setup.refused(&file, &format!("{PIPELINE} --height 32 --width 32"), &["leave --height"]);
    for tensor in [packed(&latents), without_batch(packed(&latents))] {
        let file = setup.write("packed-square.safetensors", &[("latents", tensor)]);
        let (got, said) = setup.picture(&file, PIPELINE);
        assert!(got == expected, "a packed square makes another picture");
        assert!(said.contains("note: packed latents") && said.contains("32 x 32"), "{said}");
    }
}

/// As many images as the latents have channels, packed, look like one image without a batch.
#[test]
fn a_batch_of_sixteen_is_not_one_image() {
    let setup = Setup::new("f8-flux");
    let latents = random_tensor(Shape::new(16, 4, 4, 16), 3);
    let file = setup.write("plain.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, "--latent-space pipeline");

    let file = setup.write("packed.safetensors", &[("latents", packed(&latents))]);
    let words = ["[16, 4, 64]", "--height 32 --width 512", "--latent-space pipeline"];
    setup.refused(&file, "", &words);
    let (got, said) = setup.picture(&file, "--latent-space pipeline");
    assert!(got == expected, "16 packed images make other pictures");
    assert!(said.contains("16 images of 32 x 32 pixels"), "{said}");

    // One image of that shape: as the error says.
    let latents = random_tensor(Shape::new(1, 4, 64, 16), 4);
    let file = setup.write("one.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, "");
    let file = setup.write("bare.safetensors", &[("latents", without_batch(plain(&latents)))]);
    setup.refused(&file, "", &words);
    let (got, _) = setup.picture(&file, "--height 32 --width 512");
    assert!(got == expected, "one image without a batch makes another picture");
}

/// A picture and its layers follow each other in a sample: the layers are decoded.
#[test]
fn packed_layers_are_images() {
    const PIPELINE: &str = "--latent-space pipeline --height 32 --width 48";
    let setup = Setup::new("qwen-layered");
    let (layers, height, width) = (3, 8, 12);
    let latents = random_tensor(Shape::new(1 + layers, height, width, 16), 7);
    let decoded = Shape { batch: layers, ..latents.shape() };
    let of_layers = latents.data()[height * width * 16..].to_vec();
    let of_layers = HostTensor::new(decoded, of_layers).expect("as many elements");
    let file = setup.write("layers.safetensors", &[("latents", plain(&of_layers))]);
    let (expected, _) = setup.picture(&file, "--latent-space pipeline");

    let mut tokens = packed(&latents);
    tokens.shape = vec![1, (1 + layers) * (height / 2) * (width / 2), 64];
    for tensor in [tokens.clone(), without_batch(tokens)] {
        let file = setup.write("packed.safetensors", &[("latents", tensor)]);
        let (got, _) = setup.picture(&file, PIPELINE);
        assert!(got == expected, "packed layers make other pictures");
        let words = ["96 tokens of a picture and its layers", "give --height and --width"];
        setup.refused(&file, "--latent-space pipeline", &words);
        let words = ["96 in all", "--height and --width that they were made with"];
        setup.refused(&file, "--latent-space pipeline --height 64 --width 96", &words);
    }
}

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

/// Latents as FLUX.2's pipelines and ComfyUI have them make the picture of those that the VAE takes.
#[test]
fn latents_of_flux2_make_the_picture_of_its_vaes() {
    const PIPELINE: &str = "--latent-space pipeline";
    const SIDES: &str = "--latent-space pipeline --height 40 --width 56";
    let setup = Setup::new("flux2");
    let file = RawFile::read(&setup.golden.latents_file());
    let write = |name: &str, tensors: &[(&str, RawTensor)]| setup.write(name, tensors);
    let of = |name: &str| file.tensors[name].clone();
    let plain = write("plain.safetensors", &[("latents", of("latents"))]);
    let (expected, _) = setup.picture(&plain, "");

    let tokens = write("tokens.safetensors", &[("latents", of("tokens"))]);
    let in_place = write("in-place.safetensors", &[("latents", of("in_place"))]);
    let version = RawTensor::f32(&[0], &[]);
    let comfys = [("latent_tensor", of("in_place")), ("latent_format_version_0", version)];
    let comfys = write("comfy.latent", &comfys);
    let mut first = None;
    for (latents, flags) in
        [(&tokens, SIDES), (&in_place, PIPELINE), (&comfys, ""), (&comfys, PIPELINE)]
    {
        let (got, _) = setup.picture(latents, flags);
        // diffusers rounds deviations in another way.
        let (values, shape) = npy::read(&got);
        let shape: [usize; 4] = shape.try_into().expect("NCHW");
        let what = format!("{} {flags}", latents.display());
        let picture = tensors::channels_last(&values, shape);
        assert_f32_close(&what, &picture, setup.golden.expected("whole"));
        let first = first.get_or_insert_with(|| got.clone());
        assert!(got == *first, "{what}: another picture");
    }
    for latents in [&tokens, &in_place] {
        setup.refused(latents, "", &["packed for a transformer", "--latent-space pipeline"]);
    }
    setup.refused(&in_place, SIDES, &["leave --height"]);

    // Pipelines of klein undo the normalization.
    let klein = setup.path("klein");
    copy_checkpoint(&setup.golden.folder, &klein.join("vae"));
    let index = r#"{"_class_name": "Flux2KleinPipeline"}"#;
    std::fs::write(klein.join("model_index.json"), index).expect("a file");
    let setup = Setup { vae: klein, ..setup };
    assert!(setup.picture(&plain, PIPELINE).0 == expected, "klein: another picture");
}
