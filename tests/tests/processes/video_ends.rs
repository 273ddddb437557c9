//! Videos of processes that do not reach their end: readers that have enough, Ctrl-C, ranks that are
//! killed, disks that are full, values that are no numbers. All are quiet or say one line, and leave nothing.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Output};

use halovae_tests::binary::{self, Run, listing};
use halovae_tests::decode::long_video;
use halovae_tests::disk::RawFile;
use halovae_tests::golden::Golden;
use halovae_tests::mpirun;
use halovae_tests::torchrun::{Ranks, free_port};

use crate::videos::{Over, SHARDED, TILED, WHOLE};
use crate::{Folder, assert_one_line, decode};

/// Bytes of the golden video's first frame with what is before it.
const FIRST_FRAME: usize = 7500;

/// Every kind of output, and every strategy.
const OUTPUTS: [(&str, &[&str]); 5] =
    [("a.y4m", WHOLE), ("%05d.png", WHOLE), ("%05d.png", TILED), ("a.npy", SHARDED), ("-", WHOLE)];

/// A decode of the golden Wan into a folder of its own.
struct Video {
    folder: Folder,
    arguments: Vec<String>,
}

impl Video {
    fn new(output: &str, flags: &[&str]) -> Self {
        let latents = Golden::load("wan").latents_file();
        Self::of(Folder::new(), &latents, output, flags)
    }

    /// Seconds of work.
    fn long(output: &str, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let latents = folder.path("latents.safetensors");
        RawFile::video_latents(&long_video()).write(&latents);
        Self::of(folder, &latents, output, flags)
    }

    fn of(folder: Folder, latents: &Path, output: &str, flags: &[&str]) -> Self {
        let out = folder.path("out");
        std::fs::create_dir(&out).expect("a folder of the test's own");
        let output = if output == "-" { "-".into() } else { out.join(output) };
        let arguments = decode(&Golden::load("wan").folder, latents, &output, flags);
        Self { folder, arguments }
    }

    fn start(&self, ranks: usize) -> Ranks {
        Ranks::start(binary::path(), free_port(), &vec![self.arguments.clone(); ranks])
    }

    /// Starts it, and returns when rank 0 has begun to write: then all ranks have come together.
    fn start_writing(&self, ranks: usize) -> Ranks {
        let mut ranks = self.start(ranks);
        binary::wait_until_writing(ranks.child(0), &self.folder.path("out"));
        ranks
    }

    /// The same by `mpirun`.
    fn start_writing_over_mpi(&self, ranks: u32) -> Child {
        let mut command = mpirun::command(ranks, binary::path_with_mpi());
        command.args(&self.arguments);
        let mut child = binary::spawn(command);
        let out = self.folder.path("out");
        binary::wait_until_process_writes(&mut child, || self.pid_over_mpi(0), &out);
        child
    }

    fn pid_over_mpi(&self, rank: u32) -> Option<u32> {
        mpirun::pid(rank, &self.folder.path("out").display().to_string())
    }

    #[track_caller]
    fn assert_nothing_left(&self, what: &str) {
        assert_eq!(listing(&self.folder.path("out")), [""; 0], "{what}");
    }
}

/// What all ranks said as if one had said it; fails unless all failed.
#[track_caller]
fn all_failed(what: &str, runs: &[Run]) -> Run {
    assert!(runs.iter().all(|run| !run.status.success()), "{what}: {runs:?}");
    let stderr = runs.iter().map(|run| run.stderr.as_str()).collect();
    Run { status: runs[0].status, stdout: String::new(), stderr }
}

/// Arguments for a shell that sets something up before it is the program.
fn in_shell(before: &str, program: &Path, arguments: &[String]) -> Vec<String> {
    let program = program.to_str().expect("a path of UTF-8").to_owned();
    let script = format!("{before}; exec \"$0\" \"$@\"");
    [&["-c".into(), script, program][..], arguments].concat()
}

/// As in one process: no rank says anything or fails.
#[test]
fn a_reader_that_has_enough() {
    for (flags, bytes) in [(WHOLE, 0), (WHOLE, FIRST_FRAME), (TILED, 1), (SHARDED, FIRST_FRAME)] {
        let what = format!("{flags:?}, {bytes} bytes");
        let video = Video::new("-", flags);
        let mut ranks = video.start(3);
        let mut stdout = ranks.child(0).stdout.take().expect("a pipe");
        stdout.read_exact(&mut vec![0; bytes]).expect("frames");
        drop(stdout);
        for Run { status, stderr, .. } in ranks.finish() {
            assert!(status.success() && stderr.is_empty(), "{what}: {status}\n{stderr}");
        }
    }
}

/// `mpirun` itself takes it for an error if the reader of what it passes on leaves, so a reader of rank 0's own
/// output leaves here. MPI has to be ended by all, or `mpirun` says that it was not.
#[test]
fn a_reader_that_has_enough_over_mpi() {
    const SCRIPT: &str = "if [ \"$OMPI_COMM_WORLD_RANK\" = 0 ]; \
        then { \"$@\"; echo $? > ended; } | head -c 7500 > frames; else exec \"$@\"; fi";
    for flags in [WHOLE, TILED, SHARDED] {
        let video = Video::new("-", flags);
        let out = video.folder.path("out");
        let _alone = mpirun::alone();
        let mut command = mpirun::command(3, Path::new("sh"));
        command.args(["-c", SCRIPT, "sh"]).arg(binary::path_with_mpi()).args(&video.arguments);
        command.current_dir(&out);
        let run = binary::run_command(command);
        assert!(run.status.success() && run.stderr.is_empty(), "{flags:?}: {run:?}");
        let read = |name| std::fs::read(out.join(name)).expect(name);
        assert_eq!((read("ended"), read("frames").len()), (b"0\n".to_vec(), FIRST_FRAME));
    }
}

/// A reader that neither reads nor leaves delays no process's end.
#[test]
fn ctrl_c() {
    for (output, flags) in OUTPUTS {
        let what = format!("{output} {flags:?}");
        let video = Video::long(output, flags);
        let mut ranks;
        if output == "-" {
            ranks = video.start(3);
            let stdout = ranks.child(0).stdout.as_mut().expect("a pipe");
            stdout.read_exact(&mut [0; FIRST_FRAME]).expect("a frame");
        } else {
            ranks = video.start_writing(3);
        }
        // A terminal sends it to all.
        (0..3).for_each(|rank| binary::signal("-INT", ranks.pid(rank)));
        let runs = ranks.outputs();
        let stderr: String = runs.iter().map(|run| String::from_utf8_lossy(&run.stderr)).collect();
        let codes: Vec<_> = runs.iter().map(|run| run.status.code()).collect();
        assert_eq!(codes, [Some(130); 3], "{what}: {stderr}");
        assert_eq!(stderr, "halovae: error: cancelled\n", "{what}");
        video.assert_nothing_left(&what);
    }
}

/// Of one rank alone, which ends all; and of `mpirun`.
#[test]
fn an_end_that_one_was_asked_for() {
    let video = Video::long("%05d.png", TILED);
    let ranks = video.start_writing(3);
    binary::signal("-TERM", ranks.pid(1));
    let runs = ranks.finish();
    let codes: Vec<_> = runs.iter().map(|run| run.status.code()).collect();
    assert_eq!(codes, [Some(130), Some(143), Some(130)], "{runs:?}");
    assert_one_line("one cancelled", &all_failed("one cancelled", &runs), &["cancelled"]);
    video.assert_nothing_left("one cancelled");

    let _alone = mpirun::alone();
    for flags in [WHOLE, TILED] {
        let video = Video::long("%05d.png", flags);
        let child = video.start_writing_over_mpi(2);
        binary::signal("-INT", child.id());
        let run = binary::finish(child);
        assert!(!run.status.success(), "{flags:?}: {run:?}");
        video.assert_nothing_left("mpirun cancelled");
    }
}

/// A rank that decodes, one that writes, and one that has nothing to do but to wait.
#[test]
fn a_killed_rank() {
    for (flags, rank) in [(TILED, 1), (SHARDED, 0), (WHOLE, 0), (WHOLE, 1)] {
        let what = format!("rank {rank} killed, {flags:?}");
        let video = Video::long("%05d.png", flags);
        let ranks = video.start_writing(2);
        binary::signal("-KILL", ranks.pid(rank));
        let run = all_failed(&what, &ranks.finish());
        assert_one_line(&what, &run, &[&format!("rank {rank} failed"), "killed"]);
        assert_killed(&what, &video, rank == 0);
    }
    let _alone = mpirun::alone();
    for rank in 0..2 {
        let what = format!("rank {rank} killed over MPI");
        let video = Video::long("%05d.png", TILED);
        let child = video.start_writing_over_mpi(2);
        binary::signal("-KILL", video.pid_over_mpi(rank).expect("a process"));
        let run = binary::finish(child);
        assert_one_line(&what, &run, &[&format!("rank {rank} failed"), "killed"]);
        assert_killed(&what, &video, rank == 0);
    }
}

/// A process that is killed cannot clean up, but has given no frame its name.
#[track_caller]
fn assert_killed(what: &str, video: &Video, writer: bool) {
    let left = listing(&video.folder.path("out"));
    let is_pending = |name: &String| name.starts_with(".halovae-") && name.ends_with(".partial");
    assert!(left.iter().all(|name| writer && is_pending(name)), "{what}: left behind {left:?}");
}

#[test]
fn a_full_disk() {
    let sh = Path::new("sh");
    for (output, flags) in OUTPUTS {
        let what = format!("{output} {flags:?}");
        let video = Video::new(output, flags);
        // Files of 20 blocks: less than the video, and than any frame of it as a picture.
        let (full, words) = match output {
            "-" => ("exec >/dev/full", "cannot write to standard output: "),
            _ => ("ulimit -f 20", "cannot write `"),
        };
        let in_shell = |before| in_shell(before, binary::path(), &video.arguments);
        let arguments = [in_shell(full), in_shell(":"), in_shell(":")];
        let runs = Ranks::start(sh, free_port(), &arguments).finish();
        let codes: Vec<_> = runs.iter().map(|run| run.status.code()).collect();
        assert_eq!(codes, [Some(1); 3], "{what}: {runs:?}");
        assert_one_line(&what, &all_failed(&what, &runs), &[words]);
        video.assert_nothing_left(&what);
    }
    let video = Video::new("%05d.png", TILED);
    let _alone = mpirun::alone();
    let mut command = mpirun::command(2, sh);
    command.args(in_shell("ulimit -f 20", binary::path_with_mpi(), &video.arguments));
    assert_one_line("over MPI", &binary::run_command(command), &["cannot write `"]);
    video.assert_nothing_left("over MPI");
}

/// In the middle of the video: NaN is found in the file, and what becomes it in the decode. Frames before
/// it may have been written then.
#[test]
fn values_that_are_no_numbers() {
    let folder = Folder::new();
    let with = |name: &str, value: f32| {
        let mut latents = Golden::load("wan").latents;
        let middle = latents.data().len() / 2;
        latents.data_mut()[middle..][..4].fill(value);
        let file = folder.path(name);
        RawFile::video_latents(&latents).write(&file);
        file
    };
    let video = Video::of(Folder::new(), &with("nan.safetensors", f32::NAN), "a.npy", WHOLE);
    let runs: Vec<Run> = Over::Tcp.run(2, &video.arguments).into_iter().map(text).collect();
    assert_one_line("NaN", &all_failed("NaN", &runs), &["NaN at batch 0", "frame 2"]);
    video.assert_nothing_left("NaN");

    let file = with("large.safetensors", f32::MAX);
    for over in [Over::Tcp, Over::Mpi] {
        for (output, flags) in [("%05d.png", WHOLE), ("a.y4m", TILED), ("a.npy", SHARDED)] {
            let what = format!("{output} {flags:?} over {over:?}");
            let video = Video::of(Folder::new(), &file, output, flags);
            let runs = over.run(2, &video.arguments).into_iter().map(text).collect::<Vec<_>>();
            let run = all_failed(&what, &runs);
            assert_one_line(&what, &run, &["rank ", " failed", "not finite"]);
            video.assert_nothing_left(&what);
        }
    }
}

fn text(Output { status, stdout, stderr }: Output) -> Run {
    let [stdout, stderr] =
        [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("halovae prints UTF-8"));
    Run { status, stdout, stderr }
}
