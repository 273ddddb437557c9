//! What is there after a decode that did not end well, and while it runs.

use std::ffi::OsString;
use std::process::Command;

use halovae_engine::tensor::Shape;
use halovae_tests::binary::{self, listing};
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::RawFile;

use crate::Setup;

/// All files get their names, or none does.
#[cfg(unix)]
#[test]
fn a_report_that_cannot_be_written_leaves_the_old_picture() {
    let setup = Setup::new("f2-complete");
    // A picture of a few bytes, so that the report is what there is no room for.
    let latents = random_tensor(Shape::new(1, 2, 2, 4), 1);
    RawFile::latents(&latents).write(&setup.path("latents.safetensors"));
    for name in ["a.png", "r.json"] {
        std::fs::write(setup.path(name), "old").expect("a file");
    }
    let before = setup.contents();
    let limited = |flags: &str| {
        let mut command = Command::new("sh");
        // Files of one block, beyond which a write fails.
        command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]).arg(binary::path());
        let line = format!("decode --backend cpu --vae vae --latents latents.safetensors {flags}");
        command.args(line.split(' ')).current_dir(setup.folder.path());
        binary::run_command(command)
    };
    let run = limited("--output a.png --report r.json");
    assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
    assert_eq!(run.stderr.matches("cannot write `r.json`").count(), 1, "{}", run.stderr);
    let after = setup.contents();
    assert!(before == after, "the folder changed: {:?}", after.keys());
    // There is room for the picture.
    limited("--output a.png").expect_success();
    assert_ne!(std::fs::read(setup.path("a.png")).expect("a picture"), b"old");
}

/// A batch takes one open file at a time, however many images it has.
#[cfg(unix)]
#[test]
fn a_batch_of_more_images_than_files_can_be_open() {
    const IMAGES: usize = 100;
    let setup = Setup::new("f2-complete");
    let latents = random_tensor(Shape::new(IMAGES, 2, 2, 4), 1);
    RawFile::latents(&latents).write(&setup.path("latents.safetensors"));
    std::fs::create_dir(setup.path("out")).expect("a folder");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(binary::path());
    command.args("decode --vae vae --latents latents.safetensors --output out/a.png".split(' '));
    command.args(["--backend", "cpu"]).current_dir(setup.folder.path());
    binary::run_command(command).expect_success();
    assert_eq!(listing(&setup.path("out")).len(), IMAGES);
}

/// Killed in the middle, a decode of one file leaves nothing, and one of several leaves what the next
/// run to that folder removes, but not while it lives.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_decode_leaves_nothing_for_long() {
    let setup = Setup::new("f8-flux");
    for (images, name) in [(1, "a.png"), (1, "a.npy"), (2, "a.png")] {
        // Many tiles of a small model: seconds of work.
        let latents = random_tensor(Shape::new(images, 300, 300, 16), 1);
        RawFile::latents(&latents).write(&setup.path("latents.safetensors"));
        let outputs = setup.path(&format!("{images}-{name}"));
        std::fs::create_dir(&outputs).expect("a folder");
        let output = outputs.join(name);
        let plan = |expected: &[&str]| {
            let flags =
                "plan --scale 8 --tile-sample-min-size 512 --height 512 --width 512 --output";
            let mut arguments: Vec<OsString> = flags.split(' ').map(Into::into).collect();
            arguments.push(outputs.join("plan.txt").into());
            binary::run(arguments).expect_success();
            std::fs::remove_file(outputs.join("plan.txt")).expect("the plan");
            let left = listing(&outputs);
            let is_as_expected = left.len() == expected.len()
                && left.iter().zip(expected).all(|(name, end)| name.ends_with(end));
            assert!(is_as_expected, "{left:?}, expected {expected:?}");
        };
        let mut command = binary::command(["decode", "--threads", "1", "--vae-use-tiling"]);
        command.args(["--backend", "cpu", "--vae", "vae", "--latents", "latents.safetensors"]);
        command.arg("--output").arg(&output).current_dir(setup.folder.path());
        let mut child = binary::spawn(command);
        binary::wait_until_writing(&mut child, &outputs);
        // On a file system without nameless files, one file is as several.
        let is_named = images > 1 || !listing(&outputs).is_empty();
        let pending = if is_named { &[".partial"][..] } else { &[] };
        // It must not end meanwhile.
        let stop = Command::new("kill").args(["-STOP", &child.id().to_string()]).status();
        assert!(stop.expect("kill").success());
        plan(pending);
        child.kill().expect("a child of this process");
        child.wait().expect("a child of this process");
        plan(&[]);
    }
}
