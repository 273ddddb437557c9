//! The command line on NVIDIA's GPUs, on what stands in for one, and where there is none.

mod decodes;
mod libraries;
mod links;
mod passed_over;
mod refused;

use std::path::Path;
use std::process::Command;

use halovae_engine::tensor::HostTensor;
use halovae_tests::binary::{self, Run};
use halovae_tests::golden::Golden;
use halovae_tests::{gpu, npy, tensors};
use serde_json::Value;

/// `halovae decode` of a golden model into a folder.
fn decode(golden: &Golden, folder: &Path, flags: &[&str]) -> Command {
    let mut command = binary::command(["decode", "--vae"]);
    command.arg(&golden.folder).arg("--latents").arg(golden.latents_file());
    command.arg("--output").arg(folder.join("picture.npy"));
    command.arg("--report").arg(folder.join("report.json")).args(flags);
    command
}

/// Where compiled kernels are kept from one run to the next.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");

/// Runs it with a GPU, or with what stands in for four.
fn run(mut command: Command) -> Run {
    if !gpu::is_real() {
        command.env("HALOVAE_NVIDIA_LIBRARIES", gpu::stand_in());
    }
    command.env("XDG_CACHE_HOME", CACHE);
    binary::run_command(command)
}

fn picture(folder: &Path) -> HostTensor {
    let bytes = std::fs::read(folder.join("picture.npy")).expect("a picture");
    let (values, shape) = npy::read(&bytes);
    tensors::channels_last(&values, shape.try_into().expect("NCHW"))
}

fn report(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("report.json")).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

fn backend(folder: &Path) -> String {
    report(folder)["backend"].as_str().expect("a name").to_owned()
}

fn assert_fails(what: &str, run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.status.code(), Some(code), "{what}: {}", run.stderr);
    let lines: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("halovae:")).collect();
    assert_eq!(lines.len(), 1, "{what}: {}", run.stderr);
    words.iter().for_each(|word| assert!(lines[0].contains(word), "{what}: {}", lines[0]));
}
