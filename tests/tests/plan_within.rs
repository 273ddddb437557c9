//! `halovae plan --max-memory` against the decode that it plans.

use std::path::Path;

use halovae_tests::binary;
use halovae_tests::golden::{demo_folder, folder};
use serde_json::Value;

/// A model, its latents and their size in cells.
struct Decoded<'a> {
    vae: &'a Path,
    latents: &'a Path,
    size: &'a [&'a str],
}

impl Decoded<'_> {
    fn plan(&self, flags: &[&str]) -> binary::Run {
        let mut command = binary::command(["plan", "--format", "json", "--strategy", "sharded"]);
        command.arg("--vae").arg(self.vae).args(self.size).args(flags);
        binary::run_command(command)
    }

    fn report(&self, flags: &[&str]) -> Value {
        let output = tempfile::tempdir().expect("a folder");
        let mut command = binary::command(["decode", "--backend", "cpu", "--strategy", "sharded"]);
        command.arg("--vae").arg(self.vae).arg("--latents").arg(self.latents).args(flags);
        command.arg("--output").arg(output.path().join("a.npy"));
        command.arg("--report").arg(output.path().join("a.json"));
        binary::run_command(command).expect_success();
        let report = std::fs::read(output.path().join("a.json")).expect("a report");
        serde_json::from_slice(&report).expect("JSON")
    }

    /// The plan is the very one that is decoded, in as much memory.
    fn check(&self, memory: &str, flags: &[&str]) -> Value {
        let flags = [&["--max-memory", memory], flags].concat();
        let plan: Value = serde_json::from_str(&self.plan(&flags).expect_success().stdout)
            .unwrap_or_else(|error| panic!("{error}"));
        let report = self.report(&flags);
        assert_eq!(plan["strategy"], report["strategy"]);
        assert_eq!(plan["ranks"]["effective"], report["ranks"]["effective"]);
        let windows = |pieces: &Value, window: &str| -> Vec<(Value, Value)> {
            let pieces = pieces.as_array().expect("pieces").iter();
            pieces.map(|piece| (piece["rank"].clone(), piece[window].clone())).collect()
        };
        assert_eq!(windows(&plan["pieces"], "window"), windows(&report["pieces"], "rectangle"));
        let at_a_time = &plan["frames"]["latents_at_a_time"];
        assert_eq!(at_a_time, &report["latent_frames_at_a_time"]);
        let live = plan["loads"].as_array().expect("loads").iter();
        let live = live.map(|load| load["peak_live_bytes"].as_u64().expect("bytes"));
        let estimated = plan["weight_bytes"].as_u64().expect("bytes") + live.sum::<u64>();
        assert_eq!(report["peak_bytes"]["estimated"], estimated, "{memory} {flags:?}");
        plan
    }

    /// The least that a plan names when it is refused is planned.
    fn least(&self, flags: &[&str]) -> u64 {
        let refused = self.plan(&[&["--max-memory", "1MiB"], flags].concat());
        assert_eq!((refused.status.code(), refused.stdout.as_str()), (Some(2), ""));
        let (_, least) = refused.stderr.split_once("the least is ").expect("the least");
        let (least, _) = least.split_once(" MiB").expect("a number");
        least.parse().expect("a number")
    }
}

#[test]
fn of_an_image() {
    let demo = demo_folder();
    let decoded = Decoded {
        vae: &demo.join("vae"),
        latents: &demo.join("latents/chelsea.safetensors"),
        size: &["--latent-height", "37", "--latent-width", "56"],
    };
    let least = decoded.least(&[]);
    let shards = |plan: &Value| plan["pieces"].as_array().expect("pieces").len();
    let tight = decoded.check(&format!("{least}MiB"), &[]);
    let roomy = decoded.check("1GiB", &[]);
    assert!(shards(&tight) > shards(&roomy), "{tight:#}");
    assert!(tight["within"]["needed_bytes"].as_u64() <= Some(least << 20), "{tight:#}");
    for flags in [
        &["--vae-patch-parallel-size", "2"][..],
        &["--shard-grid", "3x4"],
        &["--shard-grid", "1x1"],
    ] {
        decoded.check("200MiB", flags);
    }
}

#[test]
fn of_a_video() {
    let wan = folder().join("wan");
    let decoded = Decoded {
        vae: &wan,
        latents: &wan.join("latents.safetensors"),
        size: &["--latent-frames", "5", "--latent-height", "9", "--latent-width", "13"],
    };
    let least = decoded.least(&[]);
    decoded.check(&format!("{least}MiB"), &[]);
    decoded.check("1GiB", &[]);
    decoded.check("1GiB", &["--vae-patch-parallel-size", "2", "--shard-grid", "2x2x1"]);
}

#[test]
fn other_strategies_have_no_such_bound() {
    let demo = demo_folder().join("vae");
    let of = |model: &[&str], flags: &[&str]| {
        let size = ["plan", "--height", "512", "--width", "512", "--max-memory", "1GiB"];
        let mut command = binary::command(size);
        command.args(model).args(flags);
        let run = binary::run_command(command);
        assert_eq!((run.status.code(), run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
        run.stderr
    };
    let vae = ["--vae", demo.to_str().expect("UTF-8")];
    assert!(of(&vae, &[]).contains("--max-memory needs --strategy sharded"));
    let scale = ["--scale", "8", "--tile-sample-min-size", "256"];
    assert!(of(&scale, &["--strategy", "sharded"]).contains("--vae"));
    assert!(of(&vae, &["--compare"]).contains("--compare"));
}
