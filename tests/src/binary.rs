//! The `halovae` binary, run as a user runs it.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long any run of the binary may take before the test fails.
const LIMIT: Duration = Duration::from_secs(300);

/// What Cargo calls it.
const BINARY: [&str; 4] = ["--package", "halovae-cli", "--bin", "halovae"];

/// The binary, built once with the profile of the running test: Cargo has no dependency of one
/// package's tests on another package's binary.
///
/// # Panics
/// If it cannot be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("halovae-tested", &BINARY))
}

/// The binary with MPI.
///
/// # Panics
/// If it cannot be built.
pub fn path_with_mpi() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        build("halovae-tested-mpi", &[&BINARY[..], &["--features", "mpi"]].concat())
    })
}

/// An example of a package of the workspace.
///
/// # Panics
/// If it cannot be built.
pub fn example(name: &str) -> PathBuf {
    // As the tests of the workspace are built: alone, a package's dependencies may have other features,
    // and all of them would be built once more.
    build(&format!("{name}-tested"), &["--workspace", "--example", name])
}

/// Builds a program and keeps it under a name of its own: the next build, with other features,
/// takes Cargo's.
fn build(name: &str, flags: &[&str]) -> PathBuf {
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _one = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let built = cargo_build(flags);
    let kept = built.with_file_name(name);
    // Not overwritten in place: one that runs cannot be.
    let copy = built.with_file_name(format!("{name}-{}", std::process::id()));
    std::fs::copy(&built, &copy)
        .and_then(|_| std::fs::rename(&copy, &kept))
        .unwrap_or_else(|e| panic!("cannot keep `{}`: {e}", built.display()));
    kept
}

fn cargo_build(flags: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = std::env::current_exe().expect("a running test has a file");
    // target/PROFILE/deps/test, or with a target triple before the profile.
    let profile = test.ancestors().nth(2).expect("a profile folder");
    let target = halovae_cuda_stand_in::target().expect("tests run from Cargo's target folder");
    let mut command = Command::new(cargo);
    command
        .args(["build", "--message-format=json"])
        .args(flags)
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    match profile.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("{command:?} built no binary"))
}

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Run {
    /// Fails unless the run succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
        self
    }
}

/// The binary with these arguments, its output captured, nothing on its input.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(path());
    command.args(arguments);
    capture(&mut command);
    command
}

fn capture(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What a user may have set and a test does not expect.
    command.env_remove("RUST_BACKTRACE").env_remove("RUST_LOG");
}

/// Runs the binary with these arguments to its end.
///
/// # Panics
/// If it does not start, or hangs.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = command(arguments);
    finish(command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}")))
}

/// Runs a command that ends in the binary, such as a shell with limits set, to its end.
///
/// # Panics
/// If it does not start, or hangs.
#[track_caller]
pub fn run_command(command: Command) -> Run {
    finish(spawn(command))
}

/// Starts such a command, its outputs piped.
///
/// # Panics
/// If it does not start.
#[track_caller]
pub fn spawn(mut command: Command) -> Child {
    capture(&mut command);
    command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
}

/// Waits for the end of a child whose outputs are piped.
///
/// # Panics
/// If it hangs.
#[track_caller]
pub fn finish(child: Child) -> Run {
    let Output { status, stdout, stderr } = output(child);
    let text = |bytes| String::from_utf8(bytes).expect("halovae prints UTF-8");
    Run { status, stdout: text(stdout), stderr: text(stderr) }
}

/// The same where standard output is no text. A pipe that was taken from the child gives nothing.
///
/// # Panics
/// If it hangs.
#[track_caller]
pub fn output(mut child: Child) -> Output {
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().expect("a child of this process");
            child.wait().expect("a child of this process");
            panic!("halovae was not done after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let bytes = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader.map(|reader| reader.join().expect("no panic")).unwrap_or_default()
    };
    Output { status, stdout: bytes(stdout), stderr: bytes(stderr) }
}

/// Sends a process a signal, such as `-INT`.
///
/// # Panics
/// If it is gone.
#[track_caller]
pub fn signal(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill").success(), "kill {signal} {pid}: it is gone");
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe of a child");
        bytes
    })
}

/// The names in a folder, sorted: what a run left there.
///
/// # Panics
/// If the folder cannot be read.
pub fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder of the test's own");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// Waits until a child has a file open in a folder and keeps it: one that comes and goes only tried
/// whether there can be one. Files without a name count.
///
/// # Panics
/// If the child ends before, or is not writing after two minutes.
#[track_caller]
pub fn wait_until_writing(child: &mut Child, folder: &Path) {
    let pid = child.id();
    wait_until_process_writes(child, || Some(pid), folder);
}

/// The same for a process that `child` starts; `pid` gives it, once it runs.
///
/// # Panics
/// As there.
#[track_caller]
pub fn wait_until_process_writes(child: &mut Child, pid: impl Fn() -> Option<u32>, folder: &Path) {
    let start = Instant::now();
    let mut seen = 0;
    while seen < 10 {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            let mut said = String::new();
            let read = child.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut said));
            panic!("it ended before it was writing: {status} ({read:?}): {said}");
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it does not write");
        std::thread::sleep(Duration::from_millis(10));
        seen = if pid().is_some_and(|pid| is_writing(pid, folder)) { seen + 1 } else { 0 };
    }
}

#[cfg(target_os = "linux")]
fn is_writing(pid: u32, folder: &Path) -> bool {
    let folder = folder.canonicalize().expect("a folder of the test's own");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| file.path().read_link().is_ok_and(|file| file.starts_with(&folder)))
}

#[cfg(not(target_os = "linux"))]
fn is_writing(_: u32, folder: &Path) -> bool {
    !listing(folder).is_empty()
}
