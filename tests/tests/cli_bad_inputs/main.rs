//! Every bad input that we could think of, through the binary: it ends with one line that says what
//! is wrong, and leaves nothing behind.

mod checkpoints;
mod flags;
mod latents;
mod videos;
mod weights;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use halovae_tests::binary::{self, listing};
use halovae_tests::disk::{CONFIG, RawFile, WEIGHTS, copy_checkpoint};
use halovae_tests::golden::Golden;
use serde_json::Value;
use tempfile::TempDir;

/// How a case is run.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    /// No file may grow beyond a few kilobytes: what a full disk does, without being root.
    FullDisk,
    /// Standard output is a full device.
    FullStdout,
}

struct Case {
    what: &'static str,
    arguments: Vec<OsString>,
    /// What the error line must contain, in any case of letters.
    words: &'static [&'static str],
    /// What it returns: 2 where the command line cannot be, 1 where an input cannot or where it fails.
    code: i32,
    way: Way,
}

/// Where a case reads and writes. Inputs are shared; every case has outputs of its own.
struct Setup {
    inputs: TempDir,
    outputs: TempDir,
    golden: Golden,
    weights: RawFile,
    cases: Vec<Case>,
}

/// Stands in arguments for the folder of the case's outputs.
const OUT: &str = "{out}";

impl Setup {
    fn new() -> Self {
        let temporary = || tempfile::tempdir().expect("a temporary folder");
        let golden = Golden::load("f2-complete");
        let weights = RawFile::read(&golden.folder.join(WEIGHTS));
        Self { inputs: temporary(), outputs: temporary(), golden, weights, cases: Vec::new() }
    }

    fn input(&self, name: &str) -> PathBuf {
        self.inputs.path().join(name)
    }

    /// A file of these bytes.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.input(name);
        assert!(!path.exists(), "two inputs called {name}");
        std::fs::write(&path, bytes).expect("a file of the test's own");
        path
    }

    /// A copy of the checkpoint's folder.
    fn checkpoint(&self, name: &str) -> PathBuf {
        let folder = self.input(name);
        assert!(!folder.exists(), "two inputs called {name}");
        copy_checkpoint(&self.golden.folder, &folder);
        folder
    }

    /// A copy of the checkpoint's folder with another config.
    fn with_config(&self, name: &str, config: impl AsRef<[u8]>) -> PathBuf {
        let folder = self.checkpoint(name);
        std::fs::write(folder.join(CONFIG), config).expect("a config");
        folder
    }

    /// A copy of the checkpoint's folder with a field of its config changed.
    fn with_field(&self, name: &str, field: &str, value: Value) -> PathBuf {
        let text = std::fs::read(self.golden.folder.join(CONFIG)).expect("a config");
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config[field] = value;
        self.with_config(name, config.to_string())
    }

    /// A copy of the checkpoint's folder with other weights.
    fn with_weights(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let folder = self.checkpoint(name);
        std::fs::write(folder.join(WEIGHTS), bytes).expect("weights");
        folder
    }

    /// A copy of the checkpoint's folder with its weights changed.
    fn with_changed(&self, name: &str, change: impl FnOnce(&mut RawFile)) -> PathBuf {
        let mut weights = self.weights.clone();
        change(&mut weights);
        self.with_weights(name, weights.to_bytes())
    }

    fn add(
        &mut self,
        what: &'static str,
        words: &'static [&'static str],
        arguments: Vec<OsString>,
    ) {
        self.cases.push(Case { what, arguments, words, code: 1, way: Way::Plain });
    }

    /// The last case is refused for its command line.
    fn of_flags(&mut self) {
        self.cases.last_mut().expect("a case").code = 2;
    }

    /// The last case is not refused for its command line.
    fn of_input(&mut self) {
        self.cases.last_mut().expect("a case").code = 1;
    }

    /// The binary with these words as arguments.
    fn flags(&mut self, what: &'static str, words: &'static [&'static str], line: &str) {
        self.add(what, words, line.split_whitespace().map(OsString::from).collect());
        self.of_flags();
    }

    /// `decode` with this checkpoint and otherwise good arguments.
    fn vae(&mut self, what: &'static str, words: &'static [&'static str], vae: &Path) {
        let latents = self.golden.latents_file();
        self.add(what, words, decode_arguments(vae, &latents, "a.png", ""));
    }

    /// `decode` with these latents and otherwise good arguments.
    fn latents(
        &mut self,
        what: &'static str,
        words: &'static [&'static str],
        latents: &Path,
        flags: &str,
    ) {
        let vae = self.golden.folder.clone();
        self.add(what, words, decode_arguments(&vae, latents, "a.png", flags));
    }

    /// `decode` with this output and these flags, and good inputs.
    fn decode(
        &mut self,
        what: &'static str,
        words: &'static [&'static str],
        output: &str,
        flags: &str,
    ) {
        let arguments =
            decode_arguments(&self.golden.folder, &self.golden.latents_file(), output, flags);
        self.add(what, words, arguments);
        self.of_flags();
    }

    /// The last case is run in another way, and fails.
    fn on(&mut self, way: Way) {
        self.cases.last_mut().expect("a case").way = way;
        self.of_input();
    }
}

/// A relative `output` is one in the case's folder.
fn decode_arguments(vae: &Path, latents: &Path, output: &str, flags: &str) -> Vec<OsString> {
    let output = if output.starts_with('/') { output.into() } else { format!("{OUT}/{output}") };
    let mut arguments: Vec<OsString> = vec!["decode".into()];
    arguments.extend(flags.split_whitespace().map(OsString::from));
    arguments.extend(["--vae".into(), vae.into(), "--latents".into(), latents.into()]);
    arguments.extend(["--output".into(), output.into()]);
    arguments
}

#[test]
fn every_bad_input_is_refused_in_one_line() {
    let mut setup = Setup::new();
    checkpoints::places_of_checkpoints(&mut setup);
    checkpoints::configs(&mut setup);
    weights::weight_files(&mut setup);
    weights::weights(&mut setup);
    weights::shards(&mut setup);
    latents::latents_files(&mut setup);
    videos::latents(&mut setup);
    videos::outputs(&mut setup);
    latents::latents_values(&mut setup);
    flags::outputs(&mut setup);
    flags::decode_flags(&mut setup);
    flags::plans(&mut setup);
    flags::other_commands(&mut setup);
    let failures: Vec<String> =
        setup.cases.iter().filter_map(|case| run(&setup, case).err()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} bad inputs are not refused as they should be:\n{}",
        failures.len(),
        setup.cases.len(),
        failures.join("\n")
    );
}

/// The same command line with good inputs succeeds, so that no case fails for another reason.
#[test]
fn good_inputs_are_accepted() {
    let mut setup = Setup::new();
    setup.decode("good inputs", &[], "a.png", "");
    let case = &setup.cases[0];
    let error = run(&setup, case).expect_err("success is not what a bad input gives");
    assert!(error.contains("it succeeded"), "{error}");
}

fn run(setup: &Setup, case: &Case) -> Result<(), String> {
    let outputs = setup.outputs.path();
    let existing = outputs.join("existing.png");
    std::fs::write(&existing, "kept").expect("a file");
    std::fs::create_dir_all(outputs.join("folder.png")).expect("a folder");
    let before = listing(outputs);

    let folder = outputs.to_str().expect("a UTF-8 path");
    let arguments = case.arguments.iter().map(|argument| match argument.to_str() {
        Some(text) => text.replace(OUT, folder).into(),
        None => argument.clone(),
    });
    let mut command = match case.way {
        Way::Plain => Command::new(binary::path()),
        Way::FullDisk => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -f 4; exec \"$0\" \"$@\""]);
            shell.arg(binary::path());
            shell
        }
        Way::FullStdout => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "exec \"$0\" \"$@\" > /dev/full"]).arg(binary::path());
            shell
        }
    };
    command.args(arguments);
    let run = binary::run_command(command);

    let result = judge(case, &run).and_then(|()| {
        let after = listing(outputs);
        if after != before {
            return Err(format!("it left {after:?}, there was {before:?}"));
        }
        match std::fs::read(&existing) {
            Ok(bytes) if bytes == b"kept" => Ok(()),
            other => Err(format!("an existing file was changed: {other:?}")),
        }
    });
    for name in listing(outputs).iter().filter(|name| !before.contains(name)) {
        std::fs::remove_file(outputs.join(name)).expect("a file that was left");
    }
    let indented = run.stderr.trim_end().replace('\n', "\n    ");
    result.map_err(|problem| format!("- {}: {problem}\n    {indented}", case.what))
}

fn judge(case: &Case, run: &binary::Run) -> Result<(), String> {
    if run.status.success() {
        return Err("it succeeded".into());
    }
    if run.status.code() != Some(case.code) {
        return Err(format!("it ended with {}, expected {}", run.status, case.code));
    }
    if run.stderr.contains("panicked") || run.stderr.contains("RUST_BACKTRACE") {
        return Err("it panicked".into());
    }
    let lines = run.stderr.lines().filter(|line| line.starts_with("halovae: error: "));
    let lines: Vec<&str> = lines.collect();
    let [line] = lines[..] else {
        return Err(format!("{} error lines, expected one", lines.len()));
    };
    let line = line.to_lowercase();
    match case.words.iter().find(|word| !line.contains(&word.to_lowercase())) {
        Some(word) => Err(format!("the error line does not contain {word:?}")),
        None => Ok(()),
    }
}
