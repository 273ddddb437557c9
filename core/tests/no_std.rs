//! The planner needs no std: a program that has none links it, plans, and says what it found.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::path::Path;
use std::process::Command;

#[test]
fn a_program_without_std_plans() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_std/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    let build = Command::new(env!("CARGO"))
        .args(["rustc", "--offline", "--locked", "--release", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        // No start files and no C library either.
        .args(["--", "-Clink-arg=-nostdlib"])
        // Flags meant for programs that have std, such as those of coverage tools.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs, since it runs this test");
    let log = String::from_utf8_lossy(&build.stderr);
    assert!(build.status.success(), "the build failed:\n{log}");
    let program = target.join("release/halovae-no-std");
    let status = Command::new(&program).status().expect("it was just built");
    // Six tiles times ten, and four terms where they meet.
    assert_eq!(status.code(), Some(64), "{} ended with {status}", program.display());
}
