//! Processes that are killed or frozen while they decode.

use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::binary::{self, Run};
use halovae_tests::disk::RawFile;
use halovae_tests::golden::{demo_folder, demo_latents};
use halovae_tests::mpirun;

use crate::{Folder, assert_one_line, decode};

const RANKS: u32 = 3;

/// A decode that is long enough to be disturbed.
struct Running {
    folder: Folder,
    child: Child,
    _alone: File,
}

impl Running {
    /// Starts it, and returns when it decodes.
    fn start(strategy: &str, flags: &[&str]) -> Self {
        let _alone = mpirun::alone();
        let folder = Folder::new();
        let latents = folder.path("latents.safetensors");
        RawFile::latents(&large_latents()).write(&latents);
        let out = folder.path("out");
        std::fs::create_dir(&out).expect("a folder of the test's own");
        let flags = [&["--strategy", strategy], flags].concat();
        let vae = demo_folder().join("vae");
        let arguments = decode(&vae, &latents, &out.join("picture.png"), &flags);
        let mut command = mpirun::command(RANKS, binary::path_with_mpi());
        command.args(arguments);
        let child = binary::spawn(command);
        let mut running = Self { folder, child, _alone };
        let start = Instant::now();
        // Beginning takes less time on the CPU than that, and decoding several times as much.
        while !(0..RANKS).all(|rank| running.cpu_time(rank) >= Duration::from_secs(1)) {
            if running.child.try_wait().expect("a child of this process").is_some() {
                panic!("it has ended: {:?}", binary::finish(running.child));
            }
            assert!(start.elapsed() < Duration::from_secs(120), "it does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }

    /// The process of a rank, once it runs.
    fn find(&self, rank: u32) -> Option<u32> {
        mpirun::pid(rank, &self.folder.path("out").display().to_string())
    }

    fn pid(&self, rank: u32) -> u32 {
        self.find(rank).unwrap_or_else(|| panic!("no process of rank {rank}"))
    }

    /// What a rank has computed so far.
    fn cpu_time(&self, rank: u32) -> Duration {
        self.find(rank).map_or(Duration::ZERO, cpu_time)
    }

    /// Its end, which must leave no picture.
    fn end(self, what: &str) -> (Run, Vec<String>) {
        let run = binary::finish(self.child);
        let files = binary::listing(&self.folder.path("out"));
        assert!(!files.contains(&"picture.png".to_owned()), "{what}: there is a picture");
        (run, files)
    }
}

/// What a process has computed so far: user time, in hundredths of a second.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Field 14, counted from behind the name, which is the second and may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().nth(11).and_then(|ticks| ticks.parse().ok());
    Duration::from_millis(10 * ticks.unwrap_or(0))
}

/// Nine times the demo's, side by side: some seconds of work.
pub(crate) fn large_latents() -> HostTensor {
    let small = demo_latents("astronaut");
    let Shape { height, width, channels, .. } = small.shape();
    let row = |y: usize| &small.data()[y % height * width * channels..][..width * channels];
    let data = (0..3 * height).flat_map(|y| row(y).repeat(3)).collect();
    HostTensor::new(Shape::new(1, 3 * height, 3 * width, channels), data).expect("as many values")
}

#[test]
fn a_killed_rank() {
    for strategy in ["sharded", "tiled"] {
        for rank in 0..RANKS {
            let what = format!("rank {rank} of a {strategy} decode killed");
            let running = Running::start(strategy, &[]);
            binary::signal("-KILL", running.pid(rank));
            let (run, files) = running.end(&what);
            assert_one_line(&what, &run, &[&format!("rank {rank} failed"), "killed"]);
            // A process that is killed cannot clean up.
            assert!(rank == 0 || files.is_empty(), "{what}: left behind {files:?}");
        }
    }
}

#[test]
fn a_frozen_rank() {
    for rank in 0..RANKS {
        let what = format!("rank {rank} frozen");
        let running = Running::start("sharded", &["--rank-timeout", "10"]);
        binary::signal("-STOP", running.pid(rank));
        let (run, files) = running.end(&what);
        assert_one_line(&what, &run, &[&format!("rank {rank} failed"), "nothing was heard", "10s"]);
        assert!(rank == 0 || files.is_empty(), "{what}: left behind {files:?}");
    }
}

/// A process that is asked to end takes the others with it, and so does the launcher.
#[test]
fn an_end_that_was_asked_for() {
    let running = Running::start("tiled", &[]);
    binary::signal("-TERM", running.pid(1));
    let (run, files) = running.end("rank 1 cancelled");
    assert_one_line("rank 1 cancelled", &run, &["cancelled"]);
    assert_eq!(files, [""; 0]);

    let running = Running::start("sharded", &[]);
    binary::signal("-TERM", running.child.id());
    let (run, files) = running.end("mpirun cancelled");
    assert!(!run.status.success(), "{}", run.stderr);
    assert_eq!(files, [""; 0]);
}

#[test]
fn nothing_happens() {
    let running = Running::start("sharded", &[]);
    let folder: PathBuf = running.folder.path("out");
    let run = binary::finish(running.child);
    assert!(run.status.success(), "{}", run.stderr);
    assert_eq!(binary::listing(&folder), ["picture.png"]);
}
