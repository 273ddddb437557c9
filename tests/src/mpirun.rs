//! Processes started by `mpirun`, as a user starts them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// `mpirun` for so many ranks of `program`, more than there are cores if need be. The program's
/// arguments follow.
///
/// # Panics
/// If there is no `mpirun`.
pub fn command(ranks: u32, program: &Path) -> Command {
    let found = Command::new("mpirun")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "mpirun is missing; install it with: apt-get install openmpi-bin libopenmpi-dev libclang-dev"
    );
    let mut command = Command::new("mpirun");
    command
        .args(["-n", &ranks.to_string(), "--oversubscribe", "--bind-to", "none"])
        .arg(program)
        // CI runs as root, in a container.
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

/// Waits until no other test here runs `mpirun`, for as long as the file lives: several at once are
/// in the way of each other's folders and timing.
///
/// # Panics
/// If the system has no locks on files.
#[must_use]
pub fn alone() -> File {
    let path = std::env::temp_dir().join("halovae-mpirun.lock");
    let file = File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.lock().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file
}

/// The process of a rank that has `argument` within its arguments, once it runs.
///
/// # Panics
/// If the system does not tell of processes.
pub fn pid(rank: u32, argument: &str) -> Option<u32> {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let mut pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let environment = read("environ");
        let has_rank = environment.split(|&byte| byte == 0).any(|set| set == wanted.as_bytes());
        has_rank && String::from_utf8_lossy(&read("cmdline")).contains(argument)
    })
}
