//! The programs in `examples/` of each package, one for each kind of user, run as their heads say.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use halovae_tests::binary::example;
use halovae_tests::golden::{self, demo_folder};
use halovae_tests::torchrun::free_port;

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("it was just built")
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("a path in UTF-8").into()
}

fn stdout(output: &Output) -> &str {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    std::str::from_utf8(&output.stdout).expect("text")
}

#[test]
fn the_planner_alone() {
    let output = run(&example("plan"), &[]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 6);
    for rank in 0..4 {
        assert!(lines.iter().any(|line| line.starts_with(&format!("rank {rank}: "))), "{lines:?}");
    }
}

#[test]
fn decode_files() {
    let demo = demo_folder();
    let [vae, latents] = ["vae", "latents/astronaut.safetensors"].map(|name| text(demo.join(name)));
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("astronaut.png");
    let output = run(&example("decode"), &[&vae, &latents, &text(&picture)]);
    assert!(stdout(&output).starts_with(&text(&picture)), "{}", stdout(&output));
    // As README's first command has it, which the picture there was made with.
    let picture = image::open(&picture).expect("a picture").into_rgb8();
    let shown = image::open(demo.join("../../docs/images/astronaut.png")).expect("a picture");
    let shown = shown.into_rgb8();
    assert_eq!(picture.dimensions(), shown.dimensions());
    let apart = picture.iter().zip(shown.iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(apart.is_some_and(|most| most <= 1), "{apart:?}");
}

#[test]
fn stream_a_video() {
    let folder = golden::folder().join("wan");
    let [vae, latents] = [text(&folder), text(folder.join("latents.safetensors"))];
    let output = run(&example("stream"), &[&vae, &latents]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let frames: Vec<&str> = stderr.lines().filter(|line| line.starts_with("frame ")).collect();
    assert!(frames.len() > 1 && output.stdout.len().is_multiple_of(3 * frames.len()), "{stderr}");
}

#[test]
fn several_ranks() {
    let demo = demo_folder();
    let [vae, latents] = ["vae", "latents/chelsea.safetensors"].map(|name| text(demo.join(name)));
    let (program, port) = (example("ranks"), free_port().to_string());
    let start = |rank: &str| {
        let mut command = Command::new(&program);
        command.args([rank, "2", "127.0.0.1", &port, &vae, &latents]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it was just built")
    };
    let outputs = [start("0"), start("1")].map(|rank| rank.wait_with_output().expect("it ends"));
    assert!(stdout(&outputs[0]).contains("rank 0 decoded 1 shard(s)\nthe picture is 1x296x448x3"));
    assert_eq!(stdout(&outputs[1]), "rank 1 decoded 1 shard(s)\n");
}

/// What docs/library.md shows runs as it stands there.
#[test]
fn the_page_of_the_library() {
    let root = demo_folder().join("../..").canonicalize().expect("the project's folder");
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("a file");
    let program = lines(&read("tests/examples/library_page.rs"));
    let page = read("docs/library.md");
    let blocks = page.split("\n```rust\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let mut count = 0;
    for block in blocks {
        let wanted = lines(block);
        let stands = program.windows(wanted.len()).any(|found| found == wanted);
        assert!(stands, "the program does not have this block of docs/library.md:\n{block}");
        count += 1;
    }
    assert!(count >= 6, "{count} blocks");

    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(root.join("examples"), folder.path().join("examples"))
        .expect("a link");
    let program = example("library_page");
    let output = Command::new(program).current_dir(folder.path()).output().expect("it runs");
    stdout(&output);
    assert!(folder.path().join("video.mp4").exists());
}
