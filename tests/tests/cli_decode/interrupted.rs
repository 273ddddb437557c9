//! A decode that the user ends.

use std::process::Command;

use halovae_tests::binary::{self, listing};
use halovae_tests::disk::RawFile;

use crate::Setup;

/// Ctrl-C in the middle of a decode: nothing stays, neither output nor what it was to become.
#[test]
fn interrupt_leaves_no_file() {
    let setup = Setup::new("f8-flux");
    // Many tiles of a small model: seconds of work, and rows in the file long before its end.
    let latents = halovae_tests::decode::random_tensor(
        halovae_engine::tensor::Shape::new(1, 300, 300, 16),
        1,
    );
    let latents = setup.write_latents("latents.safetensors", &RawFile::latents(&latents));
    for name in ["a.png", "a.npy", "a.webp"] {
        let outputs = tempfile::tempdir().expect("a temporary folder");
        let mut command = binary::command(["decode", "--threads", "1", "--vae-use-tiling"]);
        command.arg("--vae").arg(&setup.golden.folder).arg("--latents").arg(&latents);
        command.arg("--output").arg(outputs.path().join(name));
        command.arg("--report").arg(outputs.path().join("report.json"));
        let mut child = command.spawn().expect("the binary");
        binary::wait_until_writing(&mut child, outputs.path());
        let id = child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &id]).status().expect("kill");
        assert!(kill.success(), "{name}: it ended before it was interrupted");
        let run = binary::finish(child);
        assert_eq!(run.status.code(), Some(130), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("halovae: error: cancelled"), "{name}: {}", run.stderr);
        assert_eq!(listing(outputs.path()), [""; 0], "{name}");
    }
}
