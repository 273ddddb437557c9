//! `halovae inspect`.

use std::path::Path;

use halovae_tests::binary::{self, Run};
use halovae_tests::golden::{Golden, demo_folder};
use serde_json::Value;

fn inspect(vae: &Path, flags: &[&str]) -> Run {
    let mut command = binary::command(["inspect", "--vae"]);
    command.arg(vae).args(flags);
    binary::run_command(command)
}

fn json(vae: &Path, flags: &[&str]) -> Value {
    let told = inspect(vae, &[&["--json"], flags].concat()).expect_success().stdout;
    serde_json::from_str(&told).expect("JSON")
}

/// The plan of a decode of that size as JSON.
fn plan(vae: &Path, flags: &[&str]) -> Value {
    let mut command = binary::command(["plan", "--format", "json", "--vae"]);
    command.arg(vae).args(flags);
    let told = binary::run_command(command).expect_success().stdout;
    serde_json::from_str(&told).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn people_read_what_a_checkpoint_is() {
    let run = inspect(&demo_folder().join("vae"), &[]).expect_success();
    for word in ["AutoencoderKL", "16", "receptive field", "FLOP", "attention", "memory"] {
        assert!(run.stdout.contains(word), "no {word:?} in\n{}", run.stdout);
    }
}

/// Figures of a decode that no machine can do are figures all the same.
#[test]
fn any_size_has_figures() {
    for (height, width) in [("8", "8"), ("4294967288", "8"), ("4294967288", "4294967288")] {
        let flags = ["--height", height, "--width", width];
        let run = inspect(&demo_folder().join("vae"), &flags).expect_success();
        assert!(run.stdout.contains(height), "{}", run.stdout);
        let json = json(&demo_folder().join("vae"), &flags);
        assert_eq!(json["image"]["pixels"][0].to_string(), height, "{json:#}");
    }
}

/// What a description counts, files and plans count alike.
#[test]
fn figures_are_those_of_files_and_plans() {
    let image = ["--height", "96", "--width", "160"];
    for name in ["f8-sd", "wan", "wan-residual", "qwen-image-21", "flux2", "hunyuan-image"] {
        let Golden { folder, .. } = Golden::load(name);
        let told = json(&folder, &image);
        assert!(inspect(&folder, &image).expect_success().stdout.contains("96 x 160"), "{name}");
        let file = std::fs::read(folder.join("diffusion_pytorch_model.safetensors"));
        let file = file.expect("weights");
        let file = safetensors::SafeTensors::deserialize(&file).expect("safetensors");
        // A decoder of single frames has no use for what makes several of one.
        let is_image = told["video"].is_null();
        let of_decoder = |name: &str| {
            (name.starts_with("decoder.") || name.starts_with("post_quant_conv."))
                && !(is_image && name.contains(".time_conv."))
        };
        let elements =
            |name: &str| file.tensor(name).expect("a tensor").shape().iter().product::<usize>();
        let weights: usize =
            file.names().into_iter().filter(|name| of_decoder(name)).map(elements).sum();
        assert_eq!(number(&told["checkpoint"]["parameters"]), weights as u64, "{name}");

        let flags = [&image[..], &["--strategy", "whole"]].concat();
        let load = &plan(&folder, &flags)["loads"][0];
        assert_eq!(told["image"]["value_bytes"], load["peak_live_bytes"], "{name}");
        assert_eq!(told["image"]["flops"].as_f64(), load["work"].as_f64(), "{name}");
    }
}

/// Memory of a video by strategy is what plans say.
#[test]
fn videos_have_the_memory_of_their_plans() {
    let Golden { folder, .. } = Golden::load("wan");
    let size = ["--height", "96", "--width", "160", "--frames", "33"];
    let video = &json(&folder, &size)["video"];
    let [row] = &video["memory"].as_array().expect("rows")[..] else { panic!("{video:#}") };
    assert_eq!([&row["frames"], &row["latent_frames"]], [33, 9], "{video:#}");
    let ranks = video["sharded_ranks"].to_string();
    for (strategy, ranks) in [("whole", "1"), ("tiled", "1"), ("sharded", &ranks)] {
        let flags = ["--strategy", strategy, "--vae-patch-parallel-size", ranks];
        let plan = plan(&folder, &[&size[..], &flags].concat());
        let stitching = number(&plan["stitching_bytes"]);
        let loads = plan["loads"].as_array().expect("loads").iter().enumerate();
        let bytes = |(rank, load): (usize, &Value)| {
            number(&load["peak_live_bytes"]) + if rank == 0 { stitching } else { 0 }
        };
        assert_eq!(number(&row[strategy]), loads.map(bytes).max().expect("a rank"), "{strategy}");
    }
    assert!(number(&row["at_once"]) > number(&row["whole"]), "{row:#}");
    let every = &json(&folder, &[])["video"]["memory"];
    assert!(every.as_array().is_some_and(|rows| rows.len() > 2), "{every:#}");
}

#[test]
fn sizes_that_no_decode_has_are_refused() {
    let images = demo_folder().join("vae");
    let videos = Golden::load("wan").folder;
    for (vae, flags, why) in [
        (&images, ["--frames", "5"], "images"),
        (&images, ["--height", "100"], "96 or 104"),
        (&videos, ["--frames", "6"], "5 or 9"),
        (&videos, ["--frames", "0"], "at least 1"),
        (&videos, ["--frames", "4294967293"], "at most --frames 65533"),
    ] {
        for json in [&[][..], &["--json"]] {
            let run = inspect(vae, &[&flags[..], json].concat());
            assert_eq!(run.status.code(), Some(2), "{flags:?}: {}", run.stderr);
            assert!(run.stderr.contains(why) && run.stderr.contains(flags[0]), "{}", run.stderr);
            assert_eq!(run.stdout, "", "{flags:?}");
        }
    }
}
