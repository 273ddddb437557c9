//! Files that were there before keep what protects them.

use std::process::Command;

use halovae_tests::binary;

use crate::Setup;

/// As `cp` has it: a user that may not write to a file is refused, and one that may (root may always) leaves its
/// mode as it is.
#[cfg(unix)]
#[test]
fn modes_of_outputs_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new("f4-batch");
    let is_allowed = |mode: u32| {
        let path = setup.path("probe");
        std::fs::write(&path, "old").expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its owner");
        let is_allowed = std::fs::OpenOptions::new().write(true).open(&path).is_ok();
        std::fs::remove_file(path).expect("a file");
        is_allowed
    };
    for mode in [0o444, 0o600, 0o640, 0o666] {
        let files = ["a.npy", "b-0.png", "report.json"];
        for flags in ["--output a.npy --report report.json", "--output b.png"] {
            for name in files {
                let path = setup.path(name);
                std::fs::write(&path, "old").expect("a file");
                std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its owner");
            }
            match is_allowed(mode) {
                true => drop(setup.decode(flags).expect_success()),
                false => setup.assert_decode_refused(flags, &["protected"]),
            }
            for name in files {
                let found = setup.path(name).metadata().expect("a file").permissions().mode();
                assert_eq!(found & 0o777, mode, "{name} after {flags}");
                std::fs::remove_file(setup.path(name)).expect("a file");
            }
        }
    }
}

/// Root may write to any file; the same command without that privilege is refused before it decodes.
#[cfg(target_os = "linux")]
#[test]
fn protected_files_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new("f4-batch");
    let cases = [
        ("a.npy", "--output a.npy"),
        ("b-1.png", "--output b.png"),
        ("report.json", "--output c.npy --report report.json"),
    ];
    for (name, flags) in cases {
        let path = setup.path(name);
        std::fs::write(&path, "old").expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).expect("its owner");
        let is_privileged = std::fs::OpenOptions::new().write(true).open(&path).is_ok();
        let mut command = match is_privileged {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set=-dac_override", "--inh-caps=-dac_override"]);
                command.arg(binary::path());
                command
            }
            false => Command::new(binary::path()),
        };
        let line = format!("decode --quiet --vae vae --latents latents.safetensors {flags}");
        command.args(line.split_whitespace()).current_dir(setup.folder.path());
        let before = setup.contents();
        let run = binary::run_command(command);
        assert_eq!(run.status.code(), Some(2), "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(name) && run.stderr.contains("protected"), "{}", run.stderr);
        assert!(before == setup.contents(), "{flags} changed the folder");
    }
}
