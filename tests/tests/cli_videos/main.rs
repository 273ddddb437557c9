//! Videos on the command line: what is written, to files and to standard output, what is refused, what
//! is left behind, and what plans and reports say.

mod encoded;
mod ends;
mod golden;
mod inputs;
mod ltx;
mod outputs;
mod plans;
mod shards;

use std::path::PathBuf;
use std::process::{Command, Output};

use halovae_tests::binary::{self, Run, listing};
use halovae_tests::golden::Golden;
use halovae_tests::npy;
use halovae_tests::tensors::video_channels_first as channels_first;
use tempfile::TempDir;

/// A folder for the files of a test, and a golden model.
struct Setup {
    folder: TempDir,
    golden: Golden,
}

impl Setup {
    fn new(name: &str) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), golden: Golden::load(name) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs in the folder, with these words as arguments; `VAE` and `LATENTS` are the model's own.
    fn command(&self, line: &str) -> Command {
        let words = line.split(' ').map(|word| match word {
            "VAE" => self.golden.folder.clone().into_os_string(),
            "LATENTS" => self.golden.latents_file().into_os_string(),
            word => word.into(),
        });
        let mut command = binary::command(words);
        command.current_dir(self.folder.path());
        command
    }

    fn run(&self, line: &str) -> Run {
        binary::run_command(self.command(line))
    }

    /// Decodes the model's own latents on the CPU.
    fn decode(&self, flags: &str) -> Run {
        self.run(&format!("decode --backend cpu --vae VAE --latents LATENTS {flags}"))
    }

    /// The same, with what may be no text on standard output.
    fn decode_to_stdout(&self, flags: &str) -> Output {
        let line = format!("decode --backend cpu --vae VAE --latents LATENTS {flags} --output -");
        self.command(&line).output().expect("the binary")
    }

    /// Decodes other latents.
    fn decode_from(&self, latents: &str, flags: &str) -> Run {
        self.run(&format!("decode --backend cpu --vae VAE --latents {latents} {flags}"))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Values and extents of an array.
    fn read_npy(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        npy::read(&self.read(name))
    }

    /// Writes values as an array of these extents.
    fn write_npy(&self, name: &str, values: &[f32], shape: &[usize]) {
        std::fs::write(self.path(name), npy::write(values, shape)).expect("a file");
    }

    /// Fails unless the decode is refused as bad usage, with these words, and nothing is written.
    #[track_caller]
    fn assert_refused(&self, flags: &str, words: &[&str]) {
        let before = listing(self.folder.path());
        let run = self.decode(flags);
        assert_eq!(run.status.code(), Some(2), "{flags}\n{}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{flags}\n{word:?} is not in {}", run.stderr);
        }
        assert_eq!(listing(self.folder.path()), before, "{flags}");
    }
}
