//! The binary as one of several processes, over MPI and over TCP: the same pictures as with threads,
//! and one clear line when a process fails.

mod decodes;
mod faults;
mod over_nccl;
mod over_tcp;
mod start;
mod video_ends;
mod videos;

use std::path::{Path, PathBuf};

use halovae_tests::binary::{self, Run};
use halovae_tests::mpirun;
use tempfile::TempDir;

/// A folder for what is made.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn listing(&self) -> Vec<String> {
        binary::listing(self.0.path())
    }
}

/// The arguments of a decode.
fn decode(vae: &Path, latents: &Path, output: &Path, flags: &[&str]) -> Vec<String> {
    let path = |path: &Path| path.to_str().expect("a path of UTF-8").to_owned();
    let mut arguments = vec!["decode".to_owned(), "--quiet".to_owned()];
    arguments.extend(["--vae".into(), path(vae), "--latents".into(), path(latents)]);
    arguments.extend(["--output".into(), path(output)]);
    arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
    arguments
}

/// Runs so many processes of the binary with the same arguments.
fn run(ranks: u32, arguments: &[String]) -> Run {
    let _alone = mpirun::alone();
    let mut command = mpirun::command(ranks, binary::path_with_mpi());
    command.args(arguments);
    binary::run_command(command)
}

/// Runs one process of the binary for each list of arguments.
fn run_each(arguments: &[Vec<String>]) -> Run {
    let _alone = mpirun::alone();
    let program = binary::path_with_mpi();
    let mut command = mpirun::command(1, program);
    command.args(&arguments[0]);
    for arguments in &arguments[1..] {
        command.args([":", "-n", "1"]).arg(program).args(arguments);
    }
    binary::run_command(command)
}

/// What the program itself said, without the launcher's remarks.
fn own_lines(run: &Run) -> Vec<&str> {
    run.stderr.lines().filter(|line| line.starts_with("halovae:")).collect()
}

/// Fails unless a run failed with one line of its own, which contains all of `words`.
#[track_caller]
fn assert_one_line(what: &str, run: &Run, words: &[&str]) {
    assert!(!run.status.success(), "{what} succeeded");
    let lines = own_lines(run);
    assert_eq!(lines.len(), 1, "{what}: {}", run.stderr);
    assert!(lines[0].starts_with("halovae: error: "), "{what}: {}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "{what}: `{word}` is not in: {}", lines[0]);
    }
}
