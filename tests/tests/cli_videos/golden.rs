//! Wan through the binary against diffusers: one frame, which is an image, and all of them.

use std::path::{Path, PathBuf};

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::binary::{self, Run};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::disk::{RawFile, WEIGHTS};
use halovae_tests::golden::Golden;
use halovae_tests::{naming, npy, tensors};
use tempfile::TempDir;

/// Of how many rows and columns `golden/make_wan_goldens.py` keeps one.
const STEP: usize = 7;
/// The tiles of the golden values.
const TILES: &str = "--strategy tiled --tile-sample-min-size 64 --tile-sample-stride 48";

struct Setup {
    golden: Golden,
    folder: TempDir,
}

impl Setup {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { golden: Golden::load(name), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The first frame of the golden latents, in an array of this shape.
    fn first_frame(&self, name: &str, shape: &[usize]) -> PathBuf {
        let latents = &self.golden.latents;
        let size = latents.shape().size().at_origin();
        let first = latents.crop(0, size.over(0, 1)).expect("a crop");
        let (values, _) = tensors::channels_first(&first);
        let path = self.path(name);
        std::fs::write(&path, npy::write(&values, shape)).expect("a file");
        path
    }

    fn decode(&self, vae: &Path, latents: &Path, flags: &str) -> Run {
        let mut command = binary::command(["decode"]);
        command.args(flags.split_whitespace()).arg("--vae").arg(vae);
        command.arg("--latents").arg(latents).arg("--output").arg(self.path("out.npy"));
        binary::run_command(command)
    }

    /// What the binary makes of latents, as channels last.
    #[track_caller]
    fn picture(&self, vae: &Path, latents: &Path, flags: &str) -> HostTensor {
        self.decode(vae, latents, flags).expect_success();
        let bytes = std::fs::read(self.path("out.npy")).expect("the output");
        let (values, shape) = npy::read(&bytes);
        tensors::channels_last(&values, shape.try_into().expect("four extents"))
    }

    /// Compares with the first frame of diffusers'.
    #[track_caller]
    fn check(&self, what: &str, key: &str, picture: &HostTensor) {
        let expected = self.golden.expected(key);
        let shape = Shape { batch: 1, ..expected.shape() };
        let first = expected.data()[..shape.frame_len()].to_vec();
        let first = HostTensor::new(shape, first).expect("as many elements");
        assert_f32_close(what, &tensors::sampled(picture, STEP), &first);
    }
}

#[test]
fn one_frame_is_an_image() {
    let setup = Setup::new("wan");
    let vae = &setup.golden.folder;
    for (name, shape) in [
        ("batch.npy", &[1, 4, 1, 9, 13][..]),
        ("video.npy", &[4, 1, 9, 13]),
        ("images.npy", &[1, 4, 9, 13]),
        ("image.npy", &[4, 9, 13]),
    ] {
        let latents = setup.first_frame(name, shape);
        setup.check(name, "whole", &setup.picture(vae, &latents, ""));
        setup.check(name, "tiled", &setup.picture(vae, &latents, TILES));
    }
}

#[test]
fn a_file_in_the_original_naming_needs_no_config() {
    let setup = Setup::new("wan");
    let mut file = RawFile::read(&setup.golden.folder.join(WEIGHTS));
    file.tensors = file
        .tensors
        .into_iter()
        .map(|(name, tensor)| (format!("vae.{}", naming::to_wan(1, &name)), tensor))
        .collect();
    let vae = setup.path("wan.safetensors");
    file.write(&vae);
    let latents = setup.first_frame("latents.npy", &[1, 4, 1, 9, 13]);
    setup.check("original names", "whole", &setup.picture(&vae, &latents, ""));

    let told = binary::run(["inspect", "--vae", vae.to_str().expect("a plain path")]);
    let told = told.expect_success();
    for words in [
        "AutoencoderKLWan, decoder",
        "original (Wan), under `vae.`",
        "guessed: latents_mean, latents_std",
        "not told: an AutoencoderKLQwenImage is the same network",
    ] {
        assert!(told.stdout.contains(words), "no {words:?} in {}", told.stdout);
    }
    // Of tiles, values beyond the range are told about where they would be written.
    let assumed = "the weights may be Wan's or Qwen-Image's";
    for (flags, is_told) in [(TILES, true), ("", false)] {
        let said = setup.decode(&vae, &latents, flags).expect_success().stderr;
        assert_eq!(said.contains(assumed), is_told, "{said}");
        std::fs::remove_file(setup.path("out.npy")).expect("the output");
    }
    // Mean and deviation are known for the channels of released models, and this one has 4.
    let run = setup.decode(&vae, &latents, "--latent-space pipeline");
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
    assert!(
        run.stderr.contains("are known for latents of the released models alone (16 channels"),
        "{}",
        run.stderr
    );
}

#[test]
fn plans_and_figures_are_told() {
    let vae = Golden::load("wan").folder;
    let vae = vae.to_str().expect("a plain path");
    let told = binary::run(["inspect", "--vae", vae]).expect_success().stdout;
    for words in
        ["temperal_downsample   no, yes, yes", "tile_sample_stride    192", "conv over time"]
    {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    let flags = ["--height", "320", "--width", "256", "--strategy", "tiled"];
    let plan = binary::run(["plan", "--vae", vae].into_iter().chain(flags)).expect_success();
    assert!(plan.stdout.contains("24"), "{}", plan.stdout);
    let flags = ["--compare", "--compare-sizes", "256", "--compare-ranks", "1,2"];
    binary::run(["plan", "--vae", vae].into_iter().chain(flags)).expect_success();
}

/// All frames, in an array with frames behind the channels.
#[test]
fn a_video_is_decoded() {
    let setup = Setup::new("wan");
    for (flags, key) in [("", "whole"), (TILES, "tiled")] {
        let latents = setup.golden.latents_file();
        setup.decode(&setup.golden.folder, &latents, flags).expect_success();
        let (values, shape) = npy::read(&std::fs::read(setup.path("out.npy")).expect("a file"));
        assert_eq!(shape, [1, 3, 17, 72, 104]);
        let frames = tensors::channels_last(&values, [1, 3, 17 * 72, 104]);
        let shape = Shape::new(17, 72, 104, 3);
        let frames = HostTensor::new(shape, frames.into_data()).expect("as many elements");
        let kept = tensors::sampled(&frames, STEP);
        assert_f32_close(key, &kept, setup.golden.expected(key));
        std::fs::remove_file(setup.path("out.npy")).expect("the output");
    }
}
