//! The command line on a GPU, or on software that does as one.

use std::path::Path;
use std::process::Command;

use halovae_tests::adapter;
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::compare::{assert_f32_close, relative_rms};
use halovae_tests::golden::Golden;
use halovae_tests::{npy, tensors};
use serde_json::Value;

/// `halovae decode` of a golden model into a folder.
fn decode(golden: &Golden, folder: &Path, flags: &[&str]) -> Run {
    let mut command = binary::command(["decode", "--vae"]);
    command.arg(&golden.folder).arg("--latents").arg(golden.latents_file());
    command.arg("--output").arg(folder.join("picture.npy"));
    command.arg("--report").arg(folder.join("report.json")).args(flags);
    run(command)
}

/// Where what is measured is kept from one run to the next.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");

/// Without the folder whose absence drivers like to complain of.
fn run(mut command: Command) -> Run {
    command.env("XDG_CACHE_HOME", CACHE).env_remove("XDG_RUNTIME_DIR");
    binary::run_command(command)
}

fn report(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("report.json")).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

fn assert_fails(what: &str, run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.status.code(), Some(code), "{what}: {}", run.stderr);
    let lines: Vec<_> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{what}: {}", run.stderr);
    words.iter().for_each(|word| assert!(lines[0].contains(word), "{what}: {}", lines[0]));
}

#[test]
fn decodes_as_diffusers_does() {
    let golden = Golden::load("f8-flux");
    let device = adapter::name();
    for (flags, strategy) in [
        (&["--strategy", "whole"][..], "whole"),
        (&["--strategy", "tiled", "--vae-patch-parallel-size", "3"], "tiled"),
        (&["--strategy", "sharded", "--vae-patch-parallel-size", "2"], "whole"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [flags, &["--backend", "wgpu", "--device", &device]].concat();
        decode(&golden, folder.path(), &flags).expect_success();
        let bytes = std::fs::read(folder.path().join("picture.npy")).expect("a picture");
        let (values, shape) = npy::read(&bytes);
        let picture = tensors::channels_last(&values, shape.try_into().expect("NCHW"));
        assert_f32_close(strategy, &picture, golden.expected(strategy));
        let told = report(folder.path())["backend"].as_str().expect("a name").to_owned();
        assert!(told.contains(&device), "{told}");
        // What was measured about the adapter is kept for the next time.
        assert!(!listing(&Path::new(CACHE).join("halovae")).is_empty());
    }
}

#[test]
fn decodes_in_f16() {
    let golden = Golden::load("f8-sd");
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--dtype", "f16", "--device", &adapter::name()];
    decode(&golden, folder.path(), &flags).expect_success();
    let bytes = std::fs::read(folder.path().join("picture.npy")).expect("a picture");
    let (values, shape) = npy::read(&bytes);
    let picture = tensors::channels_last(&values, shape.try_into().expect("NCHW"));
    let error = relative_rms(&picture, golden.expected("whole"));
    assert!(error <= 2e-2, "relative rms {error}");
    assert!(error > 1e-6, "as exact as f32: {error}");
}

#[test]
fn says_what_cannot_be() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let with = |flags: &[&str]| decode(&golden, folder.path(), flags);
    let none = with(&["--backend", "wgpu", "--device", "no such adapter"]);
    assert_fails("a name", &none, 1, &["no such adapter", &adapter::name()]);
    let none = with(&["--device", "99"]);
    assert_fails("an index", &none, 1, &["99", &adapter::name()]);
    let cpu = with(&["--backend", "cpu", "--device", "0"]);
    assert_fails("a GPU on the CPU", &cpu, 2, &["--device", "needs a GPU"]);
    let cpu = with(&["--backend", "cpu", "--dtype", "f16"]);
    assert_fails("f16 on the CPU", &cpu, 2, &["--dtype f16", "needs a GPU"]);
    let flags = ["--backend", "wgpu", "--device", &adapter::name()];
    let video = decode(&Golden::load("wan"), folder.path(), &flags);
    assert_fails(
        "a video",
        &video,
        2,
        &["the wgpu backend has no conv over time", "--backend cpu"],
    );
    let left = listing(folder.path());
    assert!(!left.iter().any(|name| name.contains("picture")), "{left:?}");
}

#[test]
fn devices_are_listed_with_their_limits() {
    let listed = run(binary::command(["devices"])).expect_success().stdout;
    assert!(listed.starts_with("cpu  "), "{listed}");
    let adapter = listed.split("wgpu ").find(|text| text.contains(&adapter::name()));
    let adapter = adapter.unwrap_or_else(|| panic!("the adapter is not in:\n{listed}"));
    for word in ["driver", "binding", "buffer", "f16"] {
        assert!(adapter.contains(word), "no {word} in:\n{adapter}");
    }
}
