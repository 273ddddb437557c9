//! The commands in README.md and in docs/: those in blocks of `sh` are run as they stand, in a folder that has
//! the examples, and so are README's own, with the binary that is tested in the place of `cargo run`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use halovae_tests::binary;
use halovae_tests::golden::demo_folder;
use tempfile::TempDir;

/// The project's folder.
fn root() -> PathBuf {
    demo_folder().join("../..").canonicalize().expect("the project's folder")
}

/// Blocks of code in a page with that word behind the fence.
fn blocks<'a>(page: &'a str, word: &str) -> Vec<&'a str> {
    let fence = format!("\n```{word}\n");
    page.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// The names of the files that a script makes.
fn made_by(script: &str) -> Vec<String> {
    let folder = run(script);
    let entries = fs::read_dir(folder.path()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    names
        .map(|name| name.expect("UTF-8"))
        .filter(|name| name != "bin" && name != "examples")
        .collect()
}

/// Runs a script where the examples are, with `halovae` on the path; gives the folder with what it made.
fn run(script: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("a folder");
    symlink(binary::path(), bin.join("halovae")).expect("a link");
    symlink(root().join("examples"), folder.path().join("examples")).expect("a link");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-e", "-c", script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", bin.display()))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{}: {stderr}", output.status);
    folder
}

/// What a script says it writes.
fn outputs(script: &str) -> Vec<&str> {
    let mut words = script.split_whitespace();
    let mut outputs = Vec::new();
    while let Some(word) = words.next() {
        if ["--output", "--report"].contains(&word) {
            outputs.extend(words.next());
        }
    }
    outputs
}

fn check(page: &Path, script: &str) {
    let made = made_by(script);
    for output in outputs(script) {
        assert!(
            made.iter().any(|name| name == output),
            "{}: no {output}: {made:?}",
            page.display()
        );
    }
}

#[test]
fn pages_have_commands_that_run() {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let mut count = 0;
    for page in docs.map(|entry| entry.expect("an entry").path()) {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).expect("a page");
        for script in blocks(&text, "sh") {
            check(&page, script);
            count += 1;
        }
    }
    assert!(count >= 7, "{count} blocks of commands");
}

/// The commands by which a user begins.
#[test]
fn readme_has_commands_that_run() {
    let page = root().join("README.md");
    let text = fs::read_to_string(&page).expect("README.md");
    let begin: Vec<&str> = text.lines().filter(|line| line.starts_with("cargo run ")).collect();
    assert_eq!(begin.len(), 2, "a picture and a video: {begin:?}");
    for line in begin {
        check(&page, &line.replace("cargo run --release --", "halovae"));
    }
}

/// The strip of frames in the README is what its command for the video decodes.
#[test]
fn the_strip_shows_the_demo_video() {
    // A frame is as wide as in the strip, where some white lies between two.
    const GAP: u32 = 4;
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let line = text.lines().find(|line| line.starts_with("cargo run ") && line.contains(".mp4"));
    let line = line.expect("a command for a video").replace("cargo run --release --", "halovae");
    let folder = run(&line.replace(" --fps 25", "").replace("bunny.mp4", "%05d.png"));
    let strip = image::open(root().join("docs/images/video-strip.jpg")).expect("a picture");
    let strip = strip.into_rgb8();
    let frames = fs::read_dir(folder.path()).expect("a folder");
    let count = frames.filter(|entry| {
        let path = entry.as_ref().expect("an entry").path();
        path.extension().is_some_and(|extension| extension == "png")
    });
    assert_eq!(count.count(), 49);
    for (place, number) in [0, 12, 24, 36, 48].into_iter().enumerate() {
        let frame = image::open(folder.path().join(format!("{number:05}.png"))).expect("a frame");
        let frame = frame.into_rgb8();
        let (width, height) = frame.dimensions();
        let left = place as u32 * (width + GAP);
        let shown = image::imageops::crop_imm(&strip, left, 0, width, height).to_image();
        assert_eq!(shown.dimensions(), frame.dimensions());
        let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
        let squares: f64 = frame.iter().zip(shown.iter()).map(square).sum();
        let psnr = 10.0 * (255.0f64.powi(2) * frame.len() as f64 / squares).log10();
        // The strip is a JPEG of quality 93.
        assert!(psnr > 32.0, "frame {number}: {psnr} dB");
    }
}

/// Every page that another one names is there, and so is every picture.
#[test]
fn links_lead_somewhere() {
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for page in pages.into_iter().chain(docs) {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || link.contains("://") {
                continue;
            }
            let target = page.parent().expect("a folder").join(file);
            assert!(target.exists(), "{} links to {link}", page.display());
        }
    }
}
