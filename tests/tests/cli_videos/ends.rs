//! How decodes of videos end that do not reach their end, and what they leave.
#![cfg(unix)]

use std::io::Read;
use std::process::Command;

use halovae_tests::binary::{self, listing};
use halovae_tests::decode::long_video;
use halovae_tests::disk::RawFile;

use crate::Setup;

/// Bytes of the golden video's first frame with what is before it.
const FIRST_FRAME: usize = 7500;

/// The video is larger than what a pipe holds, so that the decode cannot have ended.
#[test]
fn a_reader_that_has_enough_ends_the_decode_quietly() {
    let setup = Setup::new("wan");
    let line = "decode --backend cpu --vae VAE --latents LATENTS --output -";
    for frames in [0, FIRST_FRAME, 3 * FIRST_FRAME] {
        let mut child = binary::spawn(setup.command(line));
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut bytes = vec![0; frames];
        stdout.read_exact(&mut bytes).expect("frames");
        drop(stdout);
        let output = child.wait_with_output().expect("a child of this process");
        assert!(output.status.success(), "{frames}: {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{frames}");
    }
    assert_eq!(listing(setup.folder.path()), [""; 0]);

    // What was asked for beside it, and is not there, is told.
    let mut child = binary::spawn(setup.command(&format!("{line} --report r.json")));
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("a child of this process");
    assert!(output.status.success(), "{}", output.status);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with("halovae: note: ") && told.contains("no report"), "{told}");
    assert_eq!(listing(setup.folder.path()), [""; 0]);
}

/// Runs the decode of a video in a shell that sets something up first.
fn in_shell(setup: &Setup, before: &str, flags: &str) -> binary::Run {
    let inner = setup.command(&format!("decode --backend cpu --vae VAE --latents LATENTS {flags}"));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(setup.folder.path());
    binary::run_command(command)
}

#[test]
fn a_full_disk_leaves_nothing() {
    let setup = Setup::new("wan");
    std::fs::create_dir(setup.path("out")).expect("a folder");
    // Files of 20 blocks: less than the video, and than any frame of it as a picture.
    for output in ["out/a.y4m", "out/%05d.png", "out/%05d.tiff", "out/a.npy"] {
        let run = in_shell(&setup, "ulimit -f 20", &format!("--output {output}"));
        assert_eq!(run.status.code(), Some(1), "{output}: {}", run.stderr);
        assert!(run.stderr.contains("halovae: error: cannot write `out/"), "{}", run.stderr);
        assert_eq!(listing(&setup.path("out")), [""; 0], "{output}");
    }
    if cfg!(target_os = "linux") {
        let run = in_shell(&setup, "exec >/dev/full", "--output -");
        assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("cannot write to standard output: "), "{}", run.stderr);
    }
}

/// Ctrl-C in the middle of a decode.
#[test]
fn an_interrupted_decode_leaves_nothing() {
    let setup = Setup::new("wan");
    RawFile::video_latents(&long_video()).write(&setup.path("long.safetensors"));
    let on_ranks = |strategy| format!("--strategy {strategy} --vae-patch-parallel-size 2");
    for (output, flags) in [
        ("out/a.y4m", String::new()),
        ("out/%05d.png", String::new()),
        ("out/a.npy", String::new()),
        ("out/%05d.png", on_ranks("tiled")),
        ("out/a.y4m", on_ranks("sharded")),
        ("-", String::new()),
    ] {
        let what = format!("{output} {flags}");
        std::fs::create_dir(setup.path("out")).expect("a folder");
        let line = "decode --quiet --backend cpu --threads 2 --vae VAE --latents long.safetensors";
        let line = format!("{line} --output {output} {flags}");
        let mut child = binary::spawn(setup.command(line.trim_end()));
        match output {
            // It waits there for a reader that reads no more.
            "-" => {
                let stdout = child.stdout.as_mut().expect("a pipe");
                stdout.read_exact(&mut [0; FIRST_FRAME]).expect("a frame");
            }
            _ => binary::wait_until_writing(&mut child, &setup.path("out")),
        }
        binary::signal("-INT", child.id());
        let run = binary::output(child);
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(130), "{what}: {stderr}");
        assert_eq!(stderr, "halovae: error: cancelled\n", "{what}");
        // Fails where something is left.
        std::fs::remove_dir(setup.path("out")).expect(&what);
    }
}
