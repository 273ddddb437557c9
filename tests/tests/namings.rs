//! One decoder under every naming and in every layout of files gives the same bytes.

use std::path::{Path, PathBuf};

use halovae_engine::checkpoint::{Checkpoint, ConfigSource, Naming};
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
        let levels = self.golden.config().block_out_channels.len();
        let decoder = RawFile {
            tensors: self
                .weights
                .tensors
                .iter()
                .filter(|(name, _)| is_of_decoder(name))
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
            assert_eq!(checkpoint.naming(), Naming::Ldm, "{name}");
        }
    }
}

/// Without a config the shapes say what the model is. This one has 32 groups, as all real ones.
#[test]
fn config_from_shapes() {
    let case = Case::new("f8-sd");
    let file = case.path("sd.safetensors");
    case.ldm("first_stage_model.").write(&file);
    let checkpoint = case.check("f8-sd without a config", &file, None);
    assert_eq!(*checkpoint.config_source(), ConfigSource::Shapes);
    let (got, expected) = (checkpoint.config(), case.golden.config());
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
