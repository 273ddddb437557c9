//! Latents in every space and packing, through the binary: the same picture, or one clear line.

mod flux2;
mod packed;
mod spaces;

use std::path::{Path, PathBuf};

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::disk::{RawFile, RawTensor};
use halovae_tests::golden::Golden;
use halovae_tests::tensors;
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
