//! A decode that the user ends.

use halovae_tests::binary::{self, listing};
use halovae_tests::disk::RawFile;

use crate::Setup;

/// A signal in the middle of a decode: nothing stays, neither output nor what it was to become, and the
/// exit code tells the signal.
#[test]
fn interrupt_leaves_no_file() {
    let setup = Setup::new("f8-flux");
    // Many tiles of a small model: seconds of work, and rows in the file long before its end.
    let latents = halovae_tests::decode::random_tensor(
        halovae_engine::tensor::Shape::new(1, 300, 300, 16),
        1,
    );
    let latents = setup.write_latents("latents.safetensors", &RawFile::latents(&latents));
    for (name, signal, code) in
        [("a.png", "-INT", 130), ("a.npy", "-TERM", 143), ("a.webp", "-HUP", 129)]
    {
        let outputs = tempfile::tempdir().expect("a temporary folder");
        let mut command = binary::command(["decode", "--threads", "1", "--vae-use-tiling"]);
        command.arg("--vae").arg(&setup.golden.folder).arg("--latents").arg(&latents);
        command.arg("--output").arg(outputs.path().join(name));
        command.arg("--report").arg(outputs.path().join("report.json"));
        let mut child = command.spawn().expect("the binary");
        binary::wait_until_writing(&mut child, outputs.path());
        binary::signal(signal, child.id());
        let run = binary::finish(child);
        assert_eq!(run.status.code(), Some(code), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("halovae: error: cancelled"), "{name}: {}", run.stderr);
        assert_eq!(listing(outputs.path()), [""; 0], "{name}");
    }

    // Below `nohup` the end of a terminal is nothing: the signal behind it ends the decode.
    let outputs = tempfile::tempdir().expect("a temporary folder");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(binary::path());
    command.args(["decode", "--threads", "1", "--vae-use-tiling"]);
    command.arg("--vae").arg(&setup.golden.folder).arg("--latents").arg(&latents);
    command.arg("--output").arg(outputs.path().join("a.png"));
    let mut child = binary::spawn(command);
    binary::wait_until_writing(&mut child, outputs.path());
    binary::signal("-HUP", child.id());
    binary::signal("-TERM", child.id());
    let run = binary::finish(child);
    assert_eq!(run.status.code(), Some(143), "{}", run.stderr);
    assert_eq!(listing(outputs.path()), [""; 0]);
}
