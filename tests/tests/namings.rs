//! One decoder under every naming and in every layout of files gives the same bytes.

use std::path::{Path, PathBuf};

use halovae_engine::checkpoint::{
    AutoencoderKlConfig, AutoencoderKlFlux2Config, Checkpoint, ConfigSource, Naming,
};
use halovae_engine::tensor::HostTensor;
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, cpu_decoder, decode, plan, size_of};
use halovae_tests::disk::{CONFIG, RawFile, RawTensor, WEIGHTS, copy_checkpoint};
use halovae_tests::golden::{self, Golden};
use halovae_tests::{binary, naming, npy};
use safetensors::Dtype;
use tempfile::TempDir;

struct Case {
    golden: Golden,
    weights: RawFile,
    expected: HostTensor,
    folder: TempDir,
}

impl Case {
    fn new(name: &str) -> Self {
        let golden = Golden::load(name);
        let weights = RawFile::read(&golden.folder.join(WEIGHTS));
        let expected = whole(&golden.checkpoint, &golden);
        assert_f32_close(name, &expected, golden.expected("whole"));
        Self { golden, weights, expected, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.golden.folder.join(CONFIG)
    }

    /// The decoder's weights under the names of the LDM and BFL code.
    fn ldm(&self, prefix: &str) -> RawFile {
        let levels = config(&self.golden.checkpoint).block_out_channels.len();
        let decoder = RawFile {
            tensors: self
                .weights
                .tensors
                .iter()
                .filter(|(name, _)| is_of_decoder(name) || name.starts_with("bn."))
                .map(|(name, tensor)| (name.clone(), tensor.clone()))
                .collect(),
        };
        decoder.renamed(|name, tensor| naming::to_ldm(prefix, levels, name, tensor))
    }

    #[track_caller]
    fn check(&self, what: &str, vae: &Path, config: Option<&Path>) -> Checkpoint {
        let checkpoint = Checkpoint::open(vae, config).expect(what);
        assert_same_bytes(what, &whole(&checkpoint, &self.golden), &self.expected);
        checkpoint
    }
}

fn is_of_decoder(name: &str) -> bool {
    name.starts_with("decoder.") || name.starts_with("post_quant_conv.")
}

/// The network as an `AutoencoderKL` has it.
fn config(checkpoint: &Checkpoint) -> &AutoencoderKlConfig {
    let config = checkpoint.config();
    let of_flux2 = || Some(&config.downcast_ref::<AutoencoderKlFlux2Config>()?.network);
    config.downcast_ref().or_else(of_flux2).expect("the config of an AutoencoderKL")
}

fn whole(checkpoint: &Checkpoint, golden: &Golden) -> HostTensor {
    let plan = plan(checkpoint.config(), size_of(&golden.latents), Cut::Whole);
    decode(&cpu_decoder(checkpoint, 1), &golden.latents, &plan)
}

#[test]
fn ldm_under_every_prefix() {
    for name in golden::NAMES {
        let case = Case::new(name);
        for prefix in ["", "first_stage_model.", "vae."] {
            let file = case.path("model.safetensors");
            case.ldm(prefix).write(&file);
            let what = format!("{name} as LDM under `{prefix}`");
            let checkpoint = case.check(&what, &file, Some(&case.config()));
            assert_eq!(checkpoint.prefix(), prefix);
            assert_eq!(checkpoint.naming(), Naming::Original("LDM, BFL"), "{name}");
        }
    }
}

#[test]
fn ldm_from_converters_that_know_the_new_attention() {
    for name in golden::NAMES {
        let case = Case::new(name);
        for prefix in ["", "first_stage_model.", "model.vae."] {
            for matrices in [false, true] {
                let file = case.path("converted.safetensors");
                let renamed = case
                    .ldm(prefix)
                    .renamed(|name, tensor| naming::to_converted_ldm(matrices, name, tensor));
                let attention = config(&case.golden.checkpoint).mid_block_add_attention;
                let converted = format!("{prefix}decoder.mid.attn_1.to_out.0.weight");
                assert_eq!(renamed.tensors.contains_key(&converted), attention, "{name}");
                renamed.write(&file);
                let what = format!("{name} converted, under `{prefix}`, as matrices: {matrices}");
                let checkpoint = case.check(&what, &file, Some(&case.config()));
                assert_eq!(checkpoint.prefix(), prefix);
            }
        }
    }
}

/// Tencent's names, which ComfyUI's files have, with kernels of images or of one frame.
#[test]
fn hunyuan_image_own_names() {
    let case = Case::new("hunyuan-image");
    for (prefix, has_frames) in [("", false), ("vae.", true)] {
        let file = case.path("hunyuan-image-vae.safetensors");
        let renamed = case.weights.clone().renamed(|name, mut tensor| {
            if has_frames && tensor.shape.len() == 4 {
                tensor.shape.insert(2, 1);
            }
            (format!("{prefix}{}", naming::to_tencent(1, 2, name)), tensor)
        });
        renamed.write(&file);
        let checkpoint = case.check("Tencent's names", &file, Some(&case.config()));
        assert_eq!(checkpoint.naming(), Naming::Original("Tencent"));
        assert_eq!(checkpoint.prefix(), prefix);
        // Without a config the network is the same, and its latents' scale is not told.
        let inferred = case.check("without a config", &file, None);
        assert_eq!(inferred.config().decoder(), case.golden.config().decoder());
        assert_eq!(inferred.guessed_of_space(), ["scaling_factor"]);
        assert!(inferred.latent_space().is_err());
    }
}

/// FLUX.2's own code, and ComfyUI's files, have the convs around the latents within encoder and decoder.
#[test]
fn flux2_own_names() {
    let case = Case::new("flux2");
    let file = case.path("flux2-vae.safetensors");
    for prefix in ["", "vae.", "first_stage_model."] {
        let conv = format!("{prefix}post_quant_conv.");
        let own = |name: &str, tensor| match name.strip_prefix(&conv) {
            Some(part) => (format!("{prefix}decoder.post_quant_conv.{part}"), tensor),
            None => (name.to_owned(), tensor),
        };
        case.ldm(prefix).renamed(own).write(&file);
        // The shapes tell the same network, and the statistics the family.
        for config in [Some(case.config()), None] {
            let what = format!("FLUX.2's own names under `{prefix}`, config: {}", config.is_some());
            let checkpoint = case.check(&what, &file, config.as_deref());
            assert_eq!(checkpoint.prefix(), prefix);
            let space = checkpoint.latent_space().expect("statistics");
            assert_eq!(space, case.golden.checkpoint.latent_space().expect("statistics"), "{what}");
        }
    }
}

/// Diffusers' names in a file of a whole model, without a config.
#[test]
fn flux2_under_a_prefix() {
    let case = Case::new("flux2");
    let file = case.path("whole-model.safetensors");
    case.weights.renamed(|name, tensor| (format!("vae.{name}"), tensor)).write(&file);
    let checkpoint = case.check("diffusers' names under `vae.`", &file, None);
    assert_eq!((checkpoint.naming(), checkpoint.prefix()), (Naming::Diffusers, "vae."));
}

/// Without a config the shapes say what the model is. This one has 32 groups, as all real ones.
#[test]
fn config_from_shapes() {
    let case = Case::new("f8-sd");
    let file = case.path("sd.safetensors");
    case.ldm("first_stage_model.").write(&file);
    let checkpoint = case.check("f8-sd without a config", &file, None);
    assert_eq!(*checkpoint.config_source(), ConfigSource::Shapes);
    let (got, expected) = (config(&checkpoint), config(&case.golden.checkpoint));
    assert_eq!(got.block_out_channels, expected.block_out_channels);
    assert_eq!(got.layers_per_block, expected.layers_per_block);
    assert_eq!(got.latent_channels, expected.latent_channels);
    assert_eq!(got.norm_num_groups, expected.norm_num_groups);
    assert_eq!(got.use_post_quant_conv, expected.use_post_quant_conv);
    assert!(checkpoint.guessed().contains(&"sample_size"));
}

/// A checkpoint of a whole model: a diffusion model and a text encoder beside the VAE.
#[test]
fn among_other_models() {
    let case = Case::new("f8-sd");
    let mut file = case.ldm("first_stage_model.");
    let other = RawTensor { dtype: Dtype::I64, shape: vec![2], bytes: vec![0; 16] };
    for name in [
        "model.diffusion_model.out.2.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "model_ema.decay",
        "alphas_cumprod",
        "first_stage_model.encoder.conv_in.weight",
    ] {
        let tensor = match name.contains("encoder.conv_in") {
            true => RawTensor::f32(&[1, 3, 3, 3], &[0.5; 27]),
            false => other.clone(),
        };
        file.tensors.insert(name.to_owned(), tensor);
    }
    let path = case.path("whole-model.safetensors");
    file.write(&path);
    case.check("f8-sd among other models", &path, Some(&case.config()));
}

/// Tensors that a training leaves beside the decoder are named in a note, and change nothing.
#[test]
fn with_what_a_training_leaves_behind() {
    let case = Case::new("f2-complete");
    let folder = case.path("trained");
    copy_checkpoint(&case.golden.folder, &folder);
    let mut file = case.weights.clone();
    for name in ["epoch", "logvar", "discriminator.main.0.weight", "loss.logvar", "model_ema.decay"]
    {
        let tensor = RawTensor { dtype: Dtype::I64, shape: vec![], bytes: vec![0; 8] };
        file.tensors.insert(name.into(), tensor);
    }
    file.write(&folder.join(WEIGHTS));
    let checkpoint = case.check("with what a training leaves", &folder, None);
    assert_eq!(checkpoint.ignored(), ["discriminator.main.0.weight", "epoch", "logvar"]);

    const NOTE: &str = "note: tensors outside the decoder that nothing reads were ignored: \
                        discriminator.main.0.weight, epoch, logvar\n";
    for (arguments, told) in [
        (&["inspect"][..], true),
        (&["plan", "--height", "64", "--width", "64"], true),
        (&["plan", "--compare"], true),
        (&["inspect", "--quiet"], false),
    ] {
        let mut command = binary::command(arguments);
        command.arg("--vae").arg(&folder);
        let run = binary::run_command(command).expect_success();
        assert_eq!(run.stderr.contains(NOTE), told, "{arguments:?}: {}", run.stderr);
    }
    let report = case.path("report.json");
    let mut command = binary::command(["decode", "--quiet"]);
    command.arg("--vae").arg(&folder).arg("--output").arg(case.path("trained.png"));
    command.arg("--latents").arg(case.golden.latents_file()).arg("--report").arg(&report);
    binary::run_command(command).expect_success();
    let report = std::fs::read_to_string(report).expect("a report");
    assert!(report.contains("ignored: discriminator.main.0.weight, epoch, logvar"), "{report}");
}

/// The value of an E4M3 code by its definition.
fn e4m3(code: u8) -> f32 {
    let sign = if code >= 128 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
    match exponent {
        0 => sign * mantissa * 2f32.powi(-6),
        _ => sign * (1.0 + mantissa) * 2f32.powi(exponent - 7),
    }
}

/// Kernels and matrices in 8 bits with a scale each, as ComfyUI's files have them, decode as the
/// same numbers in f32 do.
#[test]
fn in_eight_bits() {
    let case = Case::new("f2-complete");
    let [mut small, mut wide] = [RawFile::default(), RawFile::default()];
    for (name, tensor) in case.ldm("vae.").tensors {
        let module = name.strip_suffix(".weight").filter(|_| tensor.shape.len() > 1);
        let Some(module) = module else {
            small.tensors.insert(name.clone(), tensor.clone());
            wide.tensors.insert(name, tensor);
            continue;
        };
        let values: Vec<f32> = tensor
            .bytes
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes")))
            .collect();
        let scale = values.iter().fold(0f32, |most, value| most.max(value.abs())) / 448.0;
        let distance = |code: u8, value: f32| (e4m3(code) * scale - value).abs();
        let nearest = |&value: &f32| {
            (0..=255u8)
                .filter(|code| code & 127 != 127)
                .min_by(|&a, &b| distance(a, value).total_cmp(&distance(b, value)))
                .expect("codes")
        };
        let bytes: Vec<u8> = values.iter().map(nearest).collect();
        let widened: Vec<f32> = bytes.iter().map(|&code| e4m3(code) * scale).collect();
        wide.tensors.insert(name.clone(), RawTensor::f32(&tensor.shape, &widened));
        small.tensors.insert(format!("{module}.scale_weight"), RawTensor::f32(&[], &[scale]));
        let fp8 = RawTensor { dtype: Dtype::F8_E4M3, shape: tensor.shape, bytes };
        small.tensors.insert(name, fp8);
    }
    let marker = RawTensor { dtype: Dtype::F8_E4M3, shape: vec![2], bytes: vec![0; 2] };
    small.tensors.insert("vae.scaled_fp8".into(), marker);

    let files = [case.path("fp8.safetensors"), case.path("wide.safetensors")];
    small.write(&files[0]);
    wide.write(&files[1]);
    let pictures = files.each_ref().map(|file| {
        let checkpoint = Checkpoint::open(file, Some(&case.config())).expect("a checkpoint");
        whole(&checkpoint, &case.golden)
    });
    assert_same_bytes("in fp8", &pictures[0], &pictures[1]);

    let mut command = binary::command(["inspect"]);
    command.arg("--vae").arg(&files[0]).arg("--config").arg(case.config());
    let run = binary::run_command(command).expect_success();
    assert!(run.stdout.contains(" f8_e4m3"), "{}", run.stdout);
    assert!(!run.stderr.contains("ignored"), "{}", run.stderr);
}

#[test]
fn old_attention_names() {
    let case = Case::new("f2-complete");
    let folder = case.path("old");
    copy_checkpoint(&case.golden.folder, &folder);
    let renamed = case.weights.renamed(naming::to_old_diffusers);
    assert_ne!(renamed, case.weights);
    renamed.write(&folder.join(WEIGHTS));
    case.check("old attention names", &folder, None);
}

/// The encoder's weights do not matter: absent, or there, or of any type.
#[test]
fn with_and_without_encoder() {
    let case = Case::new("f2-complete");
    let folder = case.path("decoder");
    copy_checkpoint(&case.golden.folder, &folder);
    let mut file = case.weights.clone();
    assert!(file.tensors.keys().any(|name| name.starts_with("encoder.")));
    file.tensors.retain(|name, _| is_of_decoder(name));
    file.write(&folder.join(WEIGHTS));
    case.check("decoder only", &folder, None);
}

#[test]
fn pipeline_folder() {
    let case = Case::new("f4-batch");
    let pipeline = case.path("pipeline");
    copy_checkpoint(&case.golden.folder, &pipeline.join("vae"));
    std::fs::write(pipeline.join("model_index.json"), "{}").expect("a file");
    case.check("a pipeline's folder", &pipeline, None);
}

#[test]
fn variant_file() {
    let case = Case::new("f4-no-attention");
    let folder = case.path("variant");
    copy_checkpoint(&case.golden.folder, &folder);
    let variant = folder.join("diffusion_pytorch_model.fp16.safetensors");
    std::fs::rename(folder.join(WEIGHTS), &variant).expect("a file of the test's own");
    case.check("the fp16 variant", &folder, None);
    case.check("the variant's file itself", &variant, None);
}

#[test]
fn in_shards() {
    let case = Case::new("f8-flux");
    let folder = case.path("sharded");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(case.config(), folder.join(CONFIG)).expect("a config");
    let mut shards = [RawFile::default(), RawFile::default(), RawFile::default()];
    let mut weight_map = serde_json::Map::new();
    for (index, (name, tensor)) in case.weights.tensors.iter().enumerate() {
        let shard = index % shards.len();
        shards[shard].tensors.insert(name.clone(), tensor.clone());
        weight_map.insert(name.clone(), shard_name(shard).into());
    }
    for (index, shard) in shards.iter().enumerate() {
        shard.write(&folder.join(shard_name(index)));
    }
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": weight_map });
    let index_file = folder.join(format!("{WEIGHTS}.index.json"));
    std::fs::write(index_file, index.to_string()).expect("a file");
    case.check("three shards", &folder, None);
}

fn shard_name(shard: usize) -> String {
    format!("diffusion_pytorch_model-{:05}-of-00003.safetensors", shard + 1)
}

/// Both namings through the binary, tiled, by their pictures.
#[test]
fn through_the_binary() {
    let case = Case::new("f8-flux");
    let file = case.path("ae.safetensors");
    case.ldm("").write(&file);
    let decode = |vae: &Path, config: Option<&Path>, output: &Path| {
        let mut command = binary::command(["decode", "--quiet", "--strategy", "tiled"]);
        command.arg("--vae").arg(vae).arg("--output").arg(output);
        command.arg("--latents").arg(case.golden.latents_file());
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        binary::run_command(command).expect_success();
        std::fs::read(output).expect("the output")
    };
    let diffusers = decode(&case.golden.folder, None, &case.path("diffusers.npy"));
    let ldm = decode(&file, Some(&case.config()), &case.path("ldm.npy"));
    assert_eq!(npy::read(&diffusers).1, [1, 3, 72, 112]);
    assert!(diffusers == ldm, "the two namings give different files");
}
