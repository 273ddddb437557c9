//! Processes that talk over TCP, started as `torchrun` does, and by `mpirun` without MPI.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use halovae_tests::binary::{self, Run};
use halovae_tests::disk::RawFile;
use halovae_tests::golden::{Golden, demo_folder};
use halovae_tests::mpirun;
use halovae_tests::torchrun::{Ranks, free_port};

use crate::faults::{cpu_time, large_latents};
use crate::{Folder, assert_one_line, decode, own_lines};

/// Runs a process for each list of arguments, and all that they say as if one had said it.
fn run_each(port: u16, arguments: &[Vec<String>]) -> (Vec<Run>, Run) {
    let runs = Ranks::start(binary::path(), port, arguments).finish();
    let stderr = runs.iter().map(|run| run.stderr.as_str()).collect();
    let worst = runs.iter().map(|run| run.status).max_by_key(|status| !status.success());
    let said = Run { status: worst.expect("a run"), stdout: String::new(), stderr };
    (runs, said)
}

#[test]
fn the_same_pictures_as_from_threads() {
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let decode = |output: &str, flags: &[&str]| {
        decode(&golden.folder, &golden.latents_file(), &folder.path(output), flags)
    };
    for (ranks, strategy) in
        [(2, "whole"), (3, "tiled"), (2, "patch"), (2, "sharded"), (3, "sharded"), (4, "sharded")]
    {
        let what = format!("{strategy} on {ranks} ranks");
        let flags = ["--strategy", strategy];
        let count = ranks.to_string();
        let threads = [&flags[..], &["--vae-patch-parallel-size", &count]].concat();
        binary::run(decode("threads.npy", &threads)).expect_success();
        let arguments = vec![decode("processes.npy", &flags); ranks];
        let (runs, said) = run_each(free_port(), &arguments);
        assert!(runs.iter().all(|run| run.status.success()), "{what}: {}", said.stderr);
        assert_eq!(own_lines(&said), [""; 0], "{what}");
        assert!(folder.read("processes.npy") == folder.read("threads.npy"), "{what}");
    }
}

/// The launcher of an MPI library starts processes that know nothing of MPI.
#[test]
fn mpirun_without_mpi() {
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let decode = |output: &str, flags: &[&str]| {
        decode(&golden.folder, &golden.latents_file(), &folder.path(output), flags)
    };
    binary::run(decode(
        "threads.npy",
        &["--strategy", "sharded", "--vae-patch-parallel-size", "2"],
    ))
    .expect_success();
    let _alone = mpirun::alone();
    let mut command = mpirun::command(2, binary::path());
    command.args(decode("processes.npy", &["--strategy", "sharded"]));
    command.env("MASTER_PORT", free_port().to_string());
    binary::run_command(command).expect_success();
    assert!(folder.read("processes.npy") == folder.read("threads.npy"));
}

#[test]
fn a_killed_rank() {
    const RANKS: usize = 3;
    for rank in 0..RANKS {
        let what = format!("rank {rank} killed");
        let folder = Folder::new();
        let latents = folder.path("latents.safetensors");
        RawFile::latents(&large_latents()).write(&latents);
        let out = folder.path("out");
        std::fs::create_dir(&out).expect("a folder of the test's own");
        let flags = ["--strategy", "sharded"];
        let vae = demo_folder().join("vae");
        let arguments = vec![decode(&vae, &latents, &out.join("picture.png"), &flags); RANKS];
        let mut ranks = Ranks::start(binary::path(), free_port(), &arguments);
        let start = Instant::now();
        while !(0..RANKS).all(|rank| cpu_time(ranks.pid(rank)) >= Duration::from_secs(1)) {
            assert!(ranks.all_run(), "{what}: it has ended: {:?}", ranks.finish());
            assert!(start.elapsed() < Duration::from_secs(120), "it does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        binary::signal("-KILL", ranks.pid(rank));
        let runs = ranks.finish();
        assert!(runs.iter().all(|run| !run.status.success()), "{what}: {runs:?}");
        let lines: Vec<&str> = runs.iter().flat_map(own_lines).collect();
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        for word in [&format!("rank {rank} failed"), "killed"] {
            assert!(lines[0].contains(word), "{what}: {}", lines[0]);
        }
        let files = binary::listing(&out);
        // A process that is killed cannot clean up.
        let left = files.iter().filter(|name| rank > 0 || *name == "picture.png").count();
        assert_eq!(left, 0, "{what}: left behind {files:?}");
    }
}

/// What differs between ranks, or cannot be for one of them, is told once.
#[test]
fn ranks_that_do_not_fit() {
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let picture = folder.path("picture.png");
    let same = decode(&golden.folder, &golden.latents_file(), &picture, &[]);
    let flags = ["--strategy", "sharded"];
    let other = decode(&golden.folder, &golden.latents_file(), &picture, &flags);
    let nowhere = decode(&golden.folder, &folder.path("nowhere.npy"), &picture, &[]);
    let run = |first: &Vec<String>, second: &Vec<String>| {
        let (runs, said) = run_each(free_port(), &[first.clone(), second.clone()]);
        assert!(runs.iter().all(|run| !run.status.success()), "{runs:?}");
        assert!(folder.listing().is_empty(), "left behind: {:?}", folder.listing());
        said
    };
    assert_one_line("flags", &run(&same, &other), &["rank 1 failed", "its flags differ"]);
    assert_one_line("no latents", &run(&same, &nowhere), &["rank 1 failed", "nowhere.npy"]);
    assert_one_line("no latents", &run(&nowhere, &same), &["nowhere.npy"]);
}

/// A place where the processes cannot meet.
#[test]
fn nowhere_to_meet() {
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let arguments =
        decode(&golden.folder, &golden.latents_file(), &folder.path("picture.png"), &[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its address").port().to_string();
    let rank_0 = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")];
    let mpirun = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2")];
    let refused = |what: &str, place: &[(&str, &str)], words: &[&str]| {
        let mut command = Command::new(binary::path());
        command.args(&arguments).envs(place.iter().copied());
        assert_one_line(what, &binary::run_command(command), words);
        assert!(folder.listing().is_empty(), "left behind: {:?}", folder.listing());
    };
    let at = |port| [&rank_0[..], &[("MASTER_PORT", port)]].concat();
    refused("taken", &at(&taken), &["MASTER_PORT", &taken]);
    refused("no port", &at("http"), &["MASTER_PORT", "http"]);
    refused("no place", &mpirun, &["MASTER_ADDR"]);
}
