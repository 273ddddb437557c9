//! LTX-2 and LTX-Video through the binary against diffusers: tiles of frames, and latents that are normalized
//! or packed.

use std::path::{Path, PathBuf};

use halovae_engine::checkpoint::{AutoencoderKlLtxConfig, LtxStatistics};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::disk::{RawFile, RawTensor};
use halovae_tests::golden::Golden;
use halovae_tests::{binary, npy, tensors};
use tempfile::TempDir;

/// Of how many rows and columns `golden/make_ltx_goldens.py` keeps one.
const STEP: usize = 7;

struct Setup {
    golden: Golden,
    folder: TempDir,
}

impl Setup {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { golden: Golden::load(name), folder }
    }

    fn statistics(&self) -> LtxStatistics {
        let config = self.golden.config().downcast_ref::<AutoencoderKlLtxConfig>();
        config.and_then(|config| config.statistics.clone()).expect("statistics")
    }

    fn write<const N: usize>(&self, name: &str, tensors: [(&str, RawTensor); N]) -> PathBuf {
        let path = self.path(name);
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor));
        RawFile { tensors: tensors.into_iter().collect() }.write(&path);
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compares all frames of what the binary makes of latents with diffusers'.
    #[track_caller]
    fn check(&self, latents: &Path, flags: &str, key: &str) {
        let output = self.path("out.npy");
        let mut command = binary::command(["decode"]);
        command.args(flags.split_whitespace()).arg("--vae").arg(&self.golden.folder);
        command.arg("--latents").arg(latents).arg("--output").arg(&output);
        binary::run_command(command).expect_success();
        let (values, shape) = npy::read(&std::fs::read(&output).expect("the output"));
        let [_, channels, frames, height, width] = shape[..] else { panic!("{shape:?}") };
        let plane = height * width;
        let places = (0..frames).flat_map(|t| (0..channels).map(move |c| (c * frames + t) * plane));
        let values: Vec<f32> = places.flat_map(|at| values[at..at + plane].to_vec()).collect();
        let pictures = tensors::channels_last(&values, [frames, channels, height, width]);
        assert_f32_close(flags, &tensors::sampled(&pictures, STEP), self.golden.expected(key));
    }
}

#[test]
fn tiles_of_frames_are_those_of_the_class() {
    let setup = Setup::new("ltx2");
    let latents = setup.golden.latents_file();
    let tiled = "--strategy tiled --tile-sample-min-size 64 --tile-sample-stride 48";
    setup.check(&latents, tiled, "tiled");
    // Both flags, and the part of its own tile by which the class moves on.
    for flags in
        ["--tile-sample-min-frames 8 --tile-sample-stride-frames 4", "--tile-sample-min-frames 8"]
    {
        setup.check(&latents, &format!("{tiled} {flags}"), "tiled_in_time");
    }
}

/// Pipelines of LTX-2 give latents as the VAE takes them, ComfyUI has them normalized.
#[test]
fn latents_of_pipelines_and_of_comfyui() {
    let setup = Setup::new("ltx2");
    setup.check(&setup.golden.latents_file(), "--latent-space pipeline", "whole");
    let LtxStatistics { mean, std } = setup.statistics();
    let (mut values, shape) = tensors::video_channels_first(&setup.golden.latents);
    let of_channel = values.len() / mean.len();
    for (values, (mean, std)) in values.chunks_mut(of_channel).zip(mean.iter().zip(&std)) {
        values.iter_mut().for_each(|value| *value = (*value - mean) / std);
    }
    let latents = ("latent_tensor", RawTensor::f32(&shape, &values));
    let version = ("latent_format_version_0", RawTensor::f32(&[0], &[]));
    setup.check(&setup.write("comfy.latent", [latents, version]), "", "whole");
}

/// Those of LTX-Video's pipelines are normalized and packed, a cell a token, frame by frame.
#[test]
fn latents_of_ltx_videos_pipelines() {
    let setup = Setup::new("ltx");
    let LtxStatistics { mean, std } = setup.statistics();
    let latents = setup.golden.latents.data();
    let channels = mean.len();
    let normalized =
        |(at, value): (usize, &f32)| (value - mean[at % channels]) / std[at % channels];
    let values: Vec<f32> = latents.iter().enumerate().map(normalized).collect();
    let shape = [1, values.len() / channels, channels];
    let tokens = [("latents", RawTensor::f32(&shape, &values))];
    let file = setup.write("packed.safetensors", tokens);
    setup.check(&file, "--latent-space pipeline --height 40 --width 48", "whole");
    let mut command = binary::command(["decode", "--latent-space", "pipeline"]);
    command.arg("--vae").arg(&setup.golden.folder).arg("--latents").arg(&file);
    command.arg("--output").arg(setup.path("refused.npy"));
    let run = binary::run_command(command);
    assert!(run.stderr.contains("how many frames there are"), "{}", run.stderr);
    assert!(run.stderr.contains("give --height and --width"), "{}", run.stderr);
    assert!(!setup.path("refused.npy").exists());
}
