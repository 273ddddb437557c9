//! The commands that decode nothing, as a user runs them.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use halovae_tests::binary::{self, Run, listing};
use halovae_tests::drawing::assert_is_svg;
use halovae_tests::golden::demo_folder;
use serde_json::Value;

fn plan(arguments: &[&str]) -> Run {
    binary::run([&["plan"], arguments].concat())
}

const LARGE: [&str; 8] =
    ["--scale", "8", "--tile-sample-min-size", "512", "--height", "2048", "--width", "1536"];

#[test]
fn plan_as_a_table() {
    let ranks = ["--vae-patch-parallel-size", "4", "--vae-use-tiling"];
    let run = plan(&[&LARGE[..], &ranks[..]].concat()).expect_success();
    // 256 x 192 cells in tiles of 64 with a step of 48: six rows of four.
    assert!(run.stdout.contains("tiled"), "{}", run.stdout);
    assert!(run.stdout.contains("24"), "{}", run.stdout);
    assert!(!run.stdout.contains('\x1b'), "{:?}", run.stdout);
}

#[test]
fn plan_as_json() {
    let ranks = ["--vae-patch-parallel-size", "4", "--format", "json"];
    let run = plan(&[&LARGE[..], &ranks[..]].concat()).expect_success();
    let plan: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(plan["strategy"], "tiled", "{plan:#}");
    assert_eq!(plan["pieces"].as_array().map(Vec::len), Some(24), "{plan:#}");
    let owners = plan["pieces"].as_array().expect("pieces").iter();
    let mut loads = [0; 4];
    owners.for_each(|piece| loads[piece["rank"].as_u64().expect("a rank") as usize] += 1);
    assert!(loads.iter().all(|&load| load > 0), "{plan:#}");
}

/// With a decoder the plan tells what ranks exchange, and the grid is that with the least of it.
#[test]
fn plan_of_shards() {
    let vae = demo_folder();
    let vae = ["--vae", vae.to_str().expect("UTF-8"), "--height", "1024", "--width", "512"];
    let of = |flags: &[&str]| {
        let sharded = ["--strategy", "sharded", "--format", "json"];
        let run = plan(&[&vae[..], &sharded[..], flags].concat()).expect_success();
        serde_json::from_str::<Value>(&run.stdout).expect("JSON")["shards"].clone()
    };
    let auto = of(&["--vae-patch-parallel-size", "4"]);
    assert_eq!((&auto["rows"], &auto["cols"]), (&Value::from(4), &Value::from(1)), "{auto:#}");
    let bytes = |shards: &Value| shards["traffic"]["halo_bytes"].as_u64().expect("bytes");
    for grid in ["2x2", "1x4"] {
        let other = of(&["--shard-grid", grid]);
        assert!(bytes(&other) >= bytes(&auto), "{grid}: {other:#}, auto {auto:#}");
    }
    let table = plan(&[&vae[..], &["--strategy", "sharded", "--shard-grid", "2x2"]].concat());
    let table = table.expect_success().stdout;
    assert!(table.contains("exchanged") && table.contains("collectives"), "{table}");
}

#[test]
fn plan_as_a_drawing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("plan.svg");
    let file_flag = file.to_str().expect("UTF-8");
    for strategy in ["whole", "tiled", "patch", "sharded"] {
        let ranks = if strategy == "whole" { "1" } else { "6" };
        let flags = ["--vae-patch-parallel-size", ranks, "--strategy", strategy];
        let output = ["--format", "svg", "--output", file_flag];
        let run = plan(&[&LARGE[..], &flags[..], &output[..]].concat()).expect_success();
        assert_eq!(run.stdout, "");
        let svg = std::fs::read_to_string(&file).expect("the drawing");
        assert_is_svg(&svg);
        let pieces = match strategy {
            "whole" => 1,
            "patch" | "sharded" => 6,
            _ => 24,
        };
        let shapes = svg.matches("<rect").count() + svg.matches("<path").count();
        assert!(shapes >= pieces, "{strategy}: {shapes} shapes for {pieces} pieces");
    }
    assert_eq!(listing(folder.path()), ["plan.svg"]);
}

#[test]
fn the_name_of_a_file_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, start) in
        [("a.SVG", "<svg"), ("a.json", "{"), ("a.txt", "strategy"), ("a", "strategy")]
    {
        let file = folder.path().join(name);
        let output = ["--output", file.to_str().expect("UTF-8")];
        plan(&[&LARGE[..], &output[..]].concat()).expect_success();
        let text = std::fs::read_to_string(&file).expect("a plan");
        assert!(text.starts_with(start), "{name}: {text}");
    }
    let file = folder.path().join("table.svg");
    let output = ["--format", "table", "--output", file.to_str().expect("UTF-8")];
    plan(&[&LARGE[..], &output[..]].concat()).expect_success();
    assert!(std::fs::read_to_string(&file).expect("a plan").starts_with("strategy"));
}

/// The same numbers with a checkpoint and without one.
#[test]
fn plan_for_a_checkpoint() {
    let demo = demo_folder().join("vae");
    let json_of = |arguments: &[OsString]| -> Value {
        let mut command = binary::command(["plan", "--format", "json", "--vae-use-tiling"]);
        command.args(arguments);
        let run = binary::run_command(command).expect_success();
        serde_json::from_str(&run.stdout).expect("JSON")
    };
    let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    let mut with_vae = words("--latent-height 64 --latent-width 50 --vae");
    with_vae.push(demo.into());
    let with_vae = json_of(&with_vae);
    let without = json_of(&words("--scale 8 --tile-sample-min-size 256 --height 512 --width 400"));
    assert_eq!(with_vae["strategy"], without["strategy"]);
    let windows = |plan: &Value| plan["pieces"].as_array().expect("pieces").len();
    // Tiles of 32 with a step of 24: three rows of three.
    assert_eq!(windows(&with_vae), 9, "{with_vae:#}");
    assert_eq!(windows(&without), 9, "{without:#}");
}

/// A folder with a config plans as the same folder with weights does.
#[test]
fn a_config_is_enough_to_plan() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let demo = demo_folder().join("vae");
    let config = folder.path().join("config.json");
    std::fs::copy(demo.join("config.json"), &config).expect("a copy");
    let size = ["--height", "512", "--width", "512", "--format", "json"];
    let of = |vae: &Path, flags: &[&str]| {
        let vae = ["--vae", vae.to_str().expect("UTF-8")];
        plan(&[&vae[..], &size[..], flags].concat())
    };
    for flags in [&["--vae-patch-parallel-size", "4"][..], &["--compare"]] {
        let with_weights = of(&demo, flags).expect_success().stdout;
        assert_eq!(of(folder.path(), flags).expect_success().stdout, with_weights);
    }
    std::fs::write(&config, "{\"layers_per_block\": 0}").expect("a file");
    let run = of(folder.path(), &[]);
    assert_eq!((run.status.code(), run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("layers_per_block"), "{}", run.stderr);
}

/// The three situations of the guide in plain words.
#[test]
fn plan_notices() {
    let group = ["--data-parallel-size", "1", "--ulysses-degree", "2", "--ring-degree", "1"];
    let ranks = ["--vae-patch-parallel-size", "8"];
    let run = plan(&[&LARGE[..], &group[..], &ranks[..]].concat()).expect_success();
    assert!(run.stderr.contains("clamped to 2"), "{}", run.stderr);
    assert!(run.stderr.contains("tiling"), "{}", run.stderr);
    let quiet = plan(&[&["--quiet"], &LARGE[..], &group[..], &ranks[..]].concat()).expect_success();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn no_command() {
    let run = binary::run([""; 0]);
    assert_eq!(run.status.code(), Some(2));
    assert!(run.stderr.contains("Usage: halovae"), "{}", run.stderr);
}

#[test]
fn completions_man_help_version() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = binary::run(["completions", shell]).expect_success();
        assert!(run.stdout.contains("vae-patch-parallel-size"), "{shell}:\n{}", run.stdout);
    }
    let man = binary::run(["man"]).expect_success();
    assert!(man.stdout.contains(".TH halovae"), "{}", man.stdout);
    assert!(man.stdout.contains("decode"), "{}", man.stdout);
    let help = binary::run(["decode", "--help"]).expect_success();
    for flag in [
        "--vae",
        "--latents",
        "--output",
        "--latents-key",
        "--latent-space",
        "--backend",
        "--threads",
        "--vae-patch-parallel-size",
        "--vae-use-tiling",
        "--strategy",
        "--tile-sample-min-size",
        "--tile-overlap-factor",
        "--report",
    ] {
        assert!(help.stdout.contains(flag), "{flag}");
    }
    let version = binary::run(["--version"]).expect_success();
    assert_eq!(version.stdout.trim(), format!("halovae {}", env!("CARGO_PKG_VERSION")));
}

/// A reader that goes away is no failure: `halovae plan ... | head`.
#[cfg(unix)]
#[test]
fn closed_stdout_is_no_failure() {
    let mut command = Command::new("sh");
    // The subshell's status goes through a third descriptor, past the pipe.
    command.arg("-c").arg("{ { \"$0\" \"$@\"; echo $? >&3; } | true; } 3>&1");
    command.arg(binary::path()).args(["plan", "--format", "json"]).args(LARGE);
    let run = binary::run_command(command);
    assert_eq!(run.stdout.trim(), "0", "{}", run.stderr);
    assert_eq!(run.stderr, "");
}
