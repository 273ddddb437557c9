//! Where memory is limited, a decode that does not fit says what does, and that does.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use halovae_engine::tensor::Shape;
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::decode::random_tensor;
use halovae_tests::golden::{self, demo_folder};
use halovae_tests::npy;
use halovae_tests::tensors::video_channels_first;
use halovae_tests::torchrun::{Ranks, free_port};

/// A shell that limits its address space to so many KiB, and then is the binary.
const LIMITED: &str = "ulimit -v \"$0\" && exec \"$@\"";

fn arguments(kib: u64, output: &Path, flags: &[&str]) -> Vec<String> {
    let demo = demo_folder();
    let latents = demo.join("latents/astronaut.safetensors");
    let [vae, latents, output, binary] = [&demo.join("vae"), &latents, output, binary::path()]
        .map(|path| path.to_str().expect("UTF-8").to_owned());
    let run = ["-c".into(), LIMITED.into(), kib.to_string(), binary, "decode".into()];
    let files = ["--vae".into(), vae, "--latents".into(), latents, "--output".into(), output];
    let flags = ["--backend", "cpu"].iter().chain(flags).map(|&flag| flag.to_owned());
    run.into_iter().chain(files).chain(flags).collect()
}

/// A decode in one process, whose ranks are threads.
fn alone(kib: u64, output: &Path, flags: &[&str]) -> Run {
    let mut command = Command::new("sh");
    command.args(arguments(kib, output, flags));
    binary::run_command(command)
}

/// The flags that an error or a notice names, each with what goes with it.
fn said(run: &Run) -> Vec<Vec<String>> {
    let line = run.stderr.lines().find(|line| line.contains("room for `"));
    let words = |flags: &str| flags.split(' ').map(str::to_owned).collect();
    line.into_iter().flat_map(|line| line.split('`').skip(1).step_by(2)).map(words).collect()
}

/// The flag after which `of` has a number.
fn number(flags: &[String], of: &str) -> Option<u32> {
    let at = flags.iter().position(|flag| flag == of)?;
    flags[at + 1].parse().ok()
}

/// Fails unless everything that a decode says does under the limit; says how much that was.
fn check(kib: u64, ranks: &str, folder: &Path) -> usize {
    let output = folder.join("picture.npy");
    let common = ["--vae-patch-parallel-size", ranks, "--threads", "2"];
    let what = format!("{kib} KiB, {ranks} rank(s)");
    let cut = if ranks == "1" { "whole" } else { "sharded" };
    let tried = alone(kib, &output, &[&common[..], &["--strategy", cut]].concat());
    if tried.status.success() {
        return 0;
    }
    assert_eq!(tried.status.code(), Some(1), "{what}: {}", tried.stderr);
    let said = said(&tried);
    for flags in &said {
        let words: Vec<&str> = flags.iter().map(String::as_str).collect();
        let run = alone(kib, &output, &[&common[..], &words].concat());
        assert!(run.status.success(), "{what}: {}\n{words:?}: {}", tried.stderr, run.stderr);
        // And not much less than what would do; of several ranks not all need most at once.
        let side = number(flags, "--tile-sample-min-size").filter(|_| ranks == "1");
        if let Some(side) = side.filter(|side| 2 * side < 512) {
            let side = (2 * side).to_string();
            let larger = ["--strategy", "tiled", "--tile-sample-min-size", &side];
            let run = alone(kib, &output, &[&common[..], &larger].concat());
            assert!(!run.status.success(), "{what}: {words:?} is too little");
        }
    }
    eprintln!("{what}: {said:?}");
    said.len()
}

#[test]
fn what_is_said_to_fit_an_address_space_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The least is soon too little to load the weights, and the most soon enough for anything.
    for (ranks, limits) in [("1", [90_000, 120_000, 150_000]), ("3", [110_000, 140_000, 170_000])] {
        let said: usize = limits.iter().map(|&kib| check(kib, ranks, folder.path())).sum();
        assert!(said >= 3, "{ranks} rank(s): too little is said: {said}");
    }
}

/// A limit that is wide enough for the whole decode if each thread does not reserve its own.
#[test]
fn threads_reserve_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--strategy", "whole", "--threads", "8"];
    let run = alone(300_000, &folder.path().join("picture.npy"), &flags).expect_success();
    assert!(said(&run).is_empty(), "{}", run.stderr);
}

/// Each process has a limit of its own, and the one that stitches needs more than the others.
#[test]
fn what_is_said_to_fit_processes_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("picture.npy");
    let decode = |kib, flags: &[&str]| {
        let arguments = arguments(kib, &output, &[&["--threads", "2"], flags].concat());
        Ranks::start(Path::new("/bin/sh"), free_port(), &[arguments.clone(), arguments]).finish()
    };
    let mut tried = 0;
    for kib in [110_000, 140_000] {
        let runs = decode(kib, &["--strategy", "patch"]);
        for flags in runs.iter().flat_map(said) {
            let words: Vec<&str> = flags.iter().map(String::as_str).collect();
            for run in decode(kib, &words) {
                assert!(run.status.success(), "{kib} KiB, {words:?}: {}", run.stderr);
            }
            tried += 1;
        }
    }
    assert!(tried > 0, "nothing is said");
}

/// Threads that the system refuses end a decode with one line: it neither panics over them nor waits
/// for ranks that never began. At limits of which nothing is left when all threads have begun, an
/// allocation of some bytes may fail, which ends any program of Rust's in its own way.
#[test]
fn refused_threads_end_a_decode_with_a_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("picture.npy");
    let flags = ["--quiet", "--strategy", "sharded", "--vae-patch-parallel-size", "16"];
    let flags = [&flags[..], &["--threads", "2"]].concat();
    let mut told = 0;
    for kib in (60_000..=140_000).step_by(10_000) {
        let run = alone(kib, &output, &flags);
        assert!(!run.stderr.contains("failed to spawn thread"), "{kib} KiB: {}", run.stderr);
        let is_line = run.stderr.starts_with("halovae: error: ") && run.stderr.lines().count() == 1;
        let is_refused = run.stderr.contains("the threads of 16 ranks");
        told += usize::from(is_refused && is_line && run.status.code() == Some(1));
    }
    assert!(told > 0, "no limit refused a thread, and said so in one line");
}

/// A decode of five frames of 384 x 512 pixels into that output.
fn video(kib: u64, folder: &Path, output: &str) -> Run {
    let latents = folder.join("latents.npy");
    let (values, shape) = video_channels_first(&random_tensor(Shape::new(1, 48, 64, 4).over(2), 3));
    std::fs::write(&latents, npy::write(&values, &shape)).expect("latents");
    let mut command = Command::new("sh");
    command.args(["-c", LIMITED, &kib.to_string()]).arg(binary::path()).arg("decode");
    command.args(["--backend", "cpu", "--threads", "2", "--quiet", "--latents"]).arg(&latents);
    command.arg("--vae").arg(golden::folder().join("wan")).arg("--output");
    command.args(output.split(' ')).current_dir(folder);
    binary::run_command(command)
}

/// What encoders hold they take before the decode, or are refused: little memory ends a decode with a file or
/// with a line, and not in the middle of a frame. `scripts/memory_limits` tries many more limits.
#[test]
fn encoders_in_little_memory_end_with_a_file_or_a_line() {
    let mut ends = [0; 2];
    for output in ["a.gif", "a.png --animated", "a.webm", "%d.webp", "a.mp4"] {
        for kib in [60_000, 130_000, 400_000] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let run = video(kib, folder.path(), output);
            let what = format!("{output}, {kib} KiB: {:?}: {}", run.status, run.stderr);
            let files = listing(folder.path()).len() - 1;
            if run.status.success() {
                assert!(files > 0 && run.stderr.is_empty(), "{what}");
            } else {
                assert!(matches!(run.status.code(), Some(1 | 2)), "{what}");
                assert!(run.stderr.starts_with("halovae: error: "), "{what}");
                assert!(run.stderr.lines().count() == 1 && files == 0, "{what}");
            }
            ends[usize::from(run.status.success())] += 1;
        }
    }
    assert!(ends.iter().all(|&count| count > 4), "failed and done: {ends:?}");
}

/// A sink that holds more leaves less for shards, and less than nothing is told with what would do.
#[test]
fn what_encoders_hold_counts_in_max_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let least = |output: &str| -> u64 {
        let output = format!("{output} --strategy sharded --max-memory 1MiB");
        let run = video(4 << 20, folder.path(), &output);
        assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
        let (_, behind) = run.stderr.split_once("the least is ").expect("the least");
        behind.split(' ').next().expect("a number").parse().expect("MiB")
    };
    // Of 384 x 512 pixels 18.5 bytes for each, less what is covered by the share of the program itself, which
    // covers rows of .npy.
    let (gif, npy) = (least("a.gif"), least("a.npy"));
    assert!((npy + 2..npy + 7).contains(&gif), "{gif} and {npy} MiB");
    let enough = format!("a.gif --strategy sharded --max-memory {gif}MiB");
    video(4 << 20, folder.path(), &enough).expect_success();
}
