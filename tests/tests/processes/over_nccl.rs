//! Processes that meet over TCP and are linked by NCCL, or by what stands in for it.

use std::process::Command;
use std::time::{Duration, Instant};

use halovae_tests::binary::{self, Run, listing};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::golden::Golden;
use halovae_tests::torchrun::{Ranks, free_port};
use halovae_tests::{gpu, mpirun, npy, tensors};
use serde_json::Value;

use crate::{Folder, decode, own_lines};

/// Where compiled kernels are kept from one run to the next.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");

/// Longer than any rank takes to begin on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

const SHARDED: [&str; 6] = ["--backend", "cuda", "--strategy", "sharded", "--exchange", "nccl"];

fn prepare(command: &mut Command) {
    if !gpu::is_real() {
        command.env("HALOVAE_NVIDIA_LIBRARIES", gpu::stand_in());
    }
    command.env("XDG_CACHE_HOME", CACHE);
}

/// Starts ranks, one of which is prepared further.
fn start(arguments: &[String], ranks: usize, further: impl Fn(usize, &mut Command)) -> Ranks {
    let arguments = vec![arguments.to_vec(); ranks];
    Ranks::start_in(binary::path(), free_port(), &arguments, |rank, command| {
        prepare(command);
        further(rank, command);
    })
}

/// All ranks fail, one of them says why, and nothing is left behind.
fn assert_ends(what: &str, runs: &[Run], folder: &Folder, words: &[&str]) {
    assert!(runs.iter().all(|run| !run.status.success()), "{what}: {runs:?}");
    let lines: Vec<&str> = runs.iter().flat_map(own_lines).collect();
    assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    words.iter().for_each(|word| assert!(lines[0].contains(word), "{what}: {}", lines[0]));
    let left = listing(folder.0.path());
    assert!(!left.iter().any(|name| name == "picture.npy"), "{what}: left behind {left:?}");
}

#[test]
fn the_same_pictures_as_from_threads() {
    if !gpu::are_there(3) {
        return;
    }
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    for ranks in [2, 3] {
        let of = |output: &str, flags: &[&str]| {
            let flags = [&SHARDED, flags].concat();
            decode(&golden.folder, &golden.latents_file(), &folder.path(output), &flags)
        };
        let count = ranks.to_string();
        let mut threads =
            binary::command(of("threads.npy", &["--vae-patch-parallel-size", &count]));
        prepare(&mut threads);
        binary::run_command(threads).expect_success();
        let runs = start(&of("processes.npy", &[]), ranks, |_, _| {}).finish();
        assert!(runs.iter().all(|run| run.status.success()), "{ranks} ranks: {runs:?}");
        assert!(folder.read("processes.npy") == folder.read("threads.npy"), "{ranks} ranks");
    }
}

/// What MPI carries makes the links as well.
#[test]
fn started_by_mpirun() {
    if !gpu::are_there(2) {
        return;
    }
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let report = folder.path("report.json");
    let flags = [&SHARDED[..], &["--report", report.to_str().expect("UTF-8")]].concat();
    let picture = folder.path("picture.npy");
    let arguments = decode(&golden.folder, &golden.latents_file(), &picture, &flags);
    let _alone = mpirun::alone();
    let mut command = mpirun::command(2, binary::path_with_mpi());
    command.args(arguments);
    prepare(&mut command);
    binary::run_command(command).expect_success();
    let (values, shape) = npy::read(&folder.read("picture.npy"));
    let picture = tensors::channels_last(&values, shape.try_into().expect("NCHW"));
    assert_f32_close("by mpirun", &picture, golden.expected("whole"));
    let report: Value = serde_json::from_slice(&folder.read("report.json")).expect("JSON");
    let exchange = report["exchange"].as_str().expect("a way");
    assert!(exchange.starts_with("NCCL 2."), "{exchange}");
}

/// A rank that is killed while others wait for it on their GPUs.
#[test]
fn a_killed_rank() {
    const RANKS: usize = 3;
    // Only the stand-in can be told to hang.
    if gpu::is_real() {
        return;
    }
    let golden = Golden::load("f8-flux");
    for rank in 0..RANKS {
        let what = format!("rank {rank} killed");
        let folder = Folder::new();
        let picture = folder.path("picture.npy");
        // Measured, which must not wait for the device either.
        let report = folder.path("report.json");
        let flags = [&SHARDED[..], &["--report", report.to_str().expect("UTF-8")]].concat();
        let arguments = decode(&golden.folder, &golden.latents_file(), &picture, &flags);
        let stopped = folder.path("stopped");
        // It hangs there: its kernels never come to their exchange.
        let mut ranks = start(&arguments, RANKS, |of, command| {
            if of == rank {
                command.env("HALOVAE_STAND_IN_STOPS", "100");
                command.env("HALOVAE_STAND_IN_STOPPED", &stopped);
            }
        });
        let started = Instant::now();
        while !stopped.exists() {
            assert!(ranks.all_run(), "{what}: it has ended: {:?}", ranks.finish());
            assert!(started.elapsed() < LIMIT, "{what}: it goes on and on");
            std::thread::sleep(Duration::from_millis(10));
        }
        binary::signal("-KILL", ranks.pid(rank));
        let runs = ranks.finish();
        let words = [&format!("rank {rank} failed"), "killed"];
        assert_ends(&what, &runs, &folder, &words);
    }
}

/// A rank whose GPU hangs, and one whose network breaks.
#[test]
fn what_ends_all() {
    if gpu::is_real() {
        return;
    }
    let golden = Golden::load("f8-flux");
    for (variable, count, words) in [
        ("HALOVAE_STAND_IN_STOPS", "100", &["rank 1 failed", "more than 8s"][..]),
        ("HALOVAE_STAND_IN_FAILS", "100", &["rank 1 failed", "CUDA_ERROR_LAUNCH_FAILED"]),
        ("HALOVAE_STAND_IN_NCCL_BREAKS", "0", &["NCCL", "network error"]),
        ("HALOVAE_STAND_IN_NCCL_BREAKS", "7", &["NCCL", "network error"]),
    ] {
        let what = format!("{variable}={count}");
        let folder = Folder::new();
        let picture = folder.path("picture.npy");
        // Long for what an op takes on a machine that is busy.
        let flags = [&SHARDED[..], &["--rank-timeout", "8"]].concat();
        let arguments = decode(&golden.folder, &golden.latents_file(), &picture, &flags);
        let ranks = start(&arguments, 3, |of, command| {
            if of == 1 {
                command.env(variable, count);
            }
        });
        assert_ends(&what, &ranks.finish(), &folder, words);
    }
}
