//! How decodes of videos end that do not reach their end, and what they leave.
#![cfg(unix)]

use std::io::Read;
use std::process::Command;

use halovae_engine::tensor::Shape;
use halovae_tests::binary::{self, listing};
use halovae_tests::decode::random_tensor;

use crate::{Setup, channels_first};

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
    // Seconds of work, and frames in the file long before its end.
    let latents = random_tensor(Shape::new(1, 24, 24, 4).over(60), 1);
    let (values, shape) = channels_first(&latents);
    setup.write_npy("long.npy", &values, &shape);
    for name in ["a.y4m", "%05d.png", "a.npy"] {
        let outputs = tempfile::tempdir().expect("a folder");
        let output = outputs.path().join(name);
        let mut command = setup.command("decode --backend cpu --threads 1 --vae VAE");
        command.args(["--latents", "long.npy", "--output"]).arg(&output);
        let mut child = binary::spawn(command);
        binary::wait_until_writing(&mut child, outputs.path());
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(kill.expect("kill").success(), "{name}: it ended before it was interrupted");
        let run = binary::finish(child);
        assert_eq!(run.status.code(), Some(130), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("halovae: error: cancelled"), "{name}: {}", run.stderr);
        assert_eq!(listing(outputs.path()), [""; 0], "{name}");
    }
}
