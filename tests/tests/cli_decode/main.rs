//! The command line as a user runs it: what it writes, what it says, what it leaves behind.

#[cfg(unix)]
mod interrupted;
mod latents;
mod outputs;
mod strategies;
mod told;

use std::path::{Path, PathBuf};

use halovae_engine::tensor::HostTensor;
use halovae_tests::binary::{self, Run};
use halovae_tests::disk::RawFile;
use halovae_tests::golden::Golden;
use halovae_tests::{npy, tensors};
use serde_json::Value;
use tempfile::TempDir;

/// A golden model, and a folder for what is made of it.
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

    /// `halovae decode` of these latents into that file.
    fn decode_from(&self, latents: &Path, output: &str, flags: &[&str]) -> Run {
        let mut command = binary::command(["decode"]);
        command.args(flags).arg("--vae").arg(&self.golden.folder);
        command.arg("--latents").arg(latents).arg("--output").arg(self.path(output));
        binary::run_command(command)
    }

    fn decode(&self, output: &str, flags: &[&str]) -> Run {
        self.decode_from(&self.golden.latents_file(), output, flags)
    }

    fn read_npy(&self, name: &str) -> HostTensor {
        let (values, shape) = npy::read(&std::fs::read(self.path(name)).expect("an output"));
        tensors::channels_last(&values, shape.try_into().expect("NCHW"))
    }

    /// What the picture in `name` decodes to if its latents are these, or close to them.
    fn write_latents(&self, name: &str, file: &RawFile) -> PathBuf {
        let path = self.path(name);
        file.write(&path);
        path
    }
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}
