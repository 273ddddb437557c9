//! What plans, reports and `inspect` say of videos.

use halovae_tests::drawing::assert_is_svg;
use serde_json::{Value, json};

use crate::Setup;

const PLAN: &str = "plan --vae VAE --height 72 --width 104";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_plan_says_how_many_frames_come_out() {
    let setup = Setup::new("wan");
    let by_frames = setup.run(&format!("{PLAN} --frames 17")).expect_success().stdout;
    let by_latents = setup.run(&format!("{PLAN} --latent-frames 5")).expect_success().stdout;
    assert_eq!(by_frames, by_latents);
    for line in [
        "output          17 x 72 x 104 pixels (frames x height x width)",
        "latents         5 x 9 x 13 cells of 8 x 8 pixels",
        "frames          17 of 5 frames of latents: 1 for the first, 4 for each later one",
        "streams         frames are finished as their latents go in",
    ] {
        assert!(by_frames.lines().any(|got| got == line), "{line}\n{by_frames}");
    }
    // What goes through its frames piece by piece waits for all of them.
    for (flags, words) in [
        (
            "--strategy sharded --vae-patch-parallel-size 2",
            "frames are finished as their latents go in, in all shards",
        ),
        ("--strategy patch --vae-patch-parallel-size 2", "no: a patch goes through all"),
        (
            "--strategy tiled --tile-sample-min-size 64 --tile-sample-stride 48",
            "no: a tile goes through all",
        ),
    ] {
        let text = setup.run(&format!("{PLAN} --frames 17 {flags}")).expect_success().stdout;
        let line = text.lines().find(|line| line.starts_with("streams"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(words), "{line}");
    }
    let image = setup.run(PLAN).expect_success().stdout;
    assert!(!image.contains("frames") && !image.contains("streams"), "{image}");

    let plan = parsed(&setup.run(&format!("{PLAN} --frames 17 --format json")).stdout);
    let frames = &plan["frames"];
    for (key, value) in [
        ("per_latent", json!(4)),
        ("first_alone", json!(true)),
        ("streams", json!(true)),
        ("latents_at_a_time", json!(1)),
        ("chunks_waited_for", json!(1)),
    ] {
        assert_eq!(frames[key], value, "{key}: {frames:#}");
    }
    // Each frame of the latents goes in alone, and its frames come out with it.
    let counts = |of: &str| -> Vec<u64> {
        let chunks = frames["chunks"].as_array().expect("chunks").iter();
        chunks.map(|chunk| chunk[of]["count"].as_u64().expect("a number")).collect()
    };
    assert_eq!(counts("latents"), [1; 5]);
    assert_eq!(counts("output"), [1, 4, 4, 4, 4]);
    assert_eq!(plan["latents"], json!({ "frames": 5, "height": 9, "width": 13 }));
    assert_eq!(plan["output"], json!({ "frames": 17, "height": 72, "width": 104 }));
    assert_eq!(plan["pieces"][0]["window"]["frames"], 5);
    // A part of a video that is its first frame has the axis of time as well.
    let slices = "--latent-frames 2 --strategy sharded --shard-grid 2x1x1 --format json";
    let plan = parsed(&setup.run(&format!("{PLAN} {slices}")).stdout);
    for (piece, first) in [(0, 0), (1, 1)] {
        let window = &plan["pieces"][piece]["window"];
        assert_eq!([&window["first"], &window["frames"]], [&json!(first), &json!(1)], "{window}");
    }
    let endless = setup.run(&format!("{PLAN} --frames 4294967293"));
    assert_eq!(endless.status.code(), Some(2));
    assert!(endless.stderr.contains("plan at most --latent-frames 16384"), "{}", endless.stderr);
    let plan = parsed(&setup.run(&format!("{PLAN} --format json")).stdout);
    assert!(plan.get("frames").is_none(), "{plan}");
    assert_eq!(plan["output"], json!({ "height": 72, "width": 104 }));

    let drawing = setup.run(&format!("{PLAN} --frames 17 --format svg")).expect_success().stdout;
    assert!(drawing.contains("17 frames of 72 × 104 pixels"));
    assert!(drawing.contains("5 frames of 9 × 13 latent cells"));
    assert_is_svg(&drawing);
    assert!(drawing.contains("streaming: frames are finished as their latents go in"));
    // From each frame of the latents to those that come of it.
    assert_eq!(drawing.matches("<polygon").count(), 5);
    let image = setup.run(&format!("{PLAN} --format svg")).expect_success().stdout;
    assert!(!image.contains("frames"), "{image}");

    let sizes = "--compare-sizes 64 --compare-ranks 1,2 --frames 17";
    let compare = |format: &str| {
        let line = format!("plan --vae VAE --compare {sizes} --format {format}");
        setup.run(&line).expect_success().stdout
    };
    let table = compare("table");
    assert!(table.contains("\n17 frames of 64 x 64 pixels:\n"));
    for heading in [" streams |", " at a time |", " first frame |"] {
        assert!(table.contains(heading), "{heading}\n{table}");
    }
    let drawing = compare("svg");
    assert_is_svg(&drawing);
    for words in ["17 frames of 64 × 64 pixels", "Which rank decodes when", "all frames at the end"]
    {
        assert!(drawing.contains(words), "{words}");
    }
    let rows = parsed(&compare("json"));
    // By strategy, then by ranks: 1 frame of 17 comes of the first of the latents, and patches wait.
    for (row, streams, first) in [(0, true, 1.0 / 17.0), (5, false, 1.0), (7, true, 1.0 / 17.0)] {
        let row = &rows["rows"][row];
        assert_eq!((&row["streams"], &row["latents_at_a_time"]), (&json!(streams), &json!(1)));
        let at = row["first_frame"].as_f64().expect("a number");
        assert!((at - first).abs() < 1e-9, "{row:#}");
    }
    assert_eq!(
        (&rows["rows"][0]["frames"], &rows["rows"][0]["latents"]["frames"]),
        (&json!(17), &json!(5))
    );
}

/// Slices are named wherever there are several; a grid that cannot be gets coarser, with a notice.
#[test]
fn a_plan_tells_its_slices() {
    let setup = Setup::new("wan");
    let plan = |flags: &str| {
        let size = "--scale 8 --tile-sample-min-size 64 --height 72 --width 104";
        setup.run(&format!("plan {size} --strategy sharded {flags}")).expect_success()
    };
    let table = plan("--frames 9 --shard-grid 2x2x1 --vae-patch-parallel-size 4").stdout;
    for line in [
        "grid            2 x 2 x 1: 4 shards (slices x rows x columns)",
        "first shard     4 x 4 x 13 cells",
        " slice  shards          frames of latents   frames",
        "     1  2 to 3          4 to 8              4 to 8",
        "     2     2  5 x 4 x 13 at (4, 0, 0)           5 x 32 x 104 at (4, 0, 0)",
    ] {
        assert!(table.lines().any(|got| got == line), "{line}\n{table}");
    }
    let json = parsed(&plan("--frames 9 --shard-grid 2x2x1 --format json").stdout);
    let span = |first: u32, count: u32| json!({ "first": first, "count": count });
    assert_eq!(
        json["frames"]["slices"][1],
        json!({ "pieces": span(2, 2), "latents": span(4, 5), "output": span(4, 5), "blended": 0 })
    );
    let drawing = plan("--frames 9 --shard-grid 2x2x1 --format svg").stdout;
    assert_is_svg(&drawing);
    for words in ["; shown: slice 0 of 2", "slice 1: 2 shards, 2 to 3"] {
        assert!(drawing.contains(words), "{words}\n{drawing}");
    }
    // One frame each, which is told as such.
    let coarser = plan("--frames 3 --shard-grid 9x1x1");
    let notice = "9 x 1 x 1 shards would have bands thinner than a halo, or no cells at all; the decode \
                  is cut into 3 x 1 x 1 (slices x rows x columns)";
    assert!(coarser.stderr.contains(notice), "{}", coarser.stderr);
    let first = "     0     0  1 x 9 x 13 at (0, 0, 0)           1 x 72 x 104 at (0, 0, 0)";
    assert!(coarser.stdout.lines().any(|line| line == first), "{}", coarser.stdout);
    let none = setup.run(&format!("{PLAN} --frames 9 --strategy sharded --shard-grid 0x1x1"));
    assert_eq!(none.status.code(), Some(2));
    assert!(none.stderr.contains("at least 1 along each axis"), "{}", none.stderr);
}

#[test]
fn numbers_of_frames_that_cannot_be_are_refused() {
    let wan = Setup::new("wan");
    let refused = |setup: &Setup, flags: &str, words: &[&str]| {
        let run = setup.run(&format!("{PLAN} {flags}"));
        assert_eq!(run.status.code(), Some(2), "{flags}\n{}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{word:?} is not in {}", run.stderr);
        }
    };
    refused(&wan, "--frames 16", &["--frames 16", "13 or 17"]);
    refused(&wan, "--frames 0", &["--frames", "at least 1"]);
    refused(&wan, "--latent-frames 0", &["--latent-frames"]);
    refused(&wan, "--frames 5 --latent-frames 2", &["--latent-frames"]);
    let image = Setup::new("f8-sd");
    refused(&image, "--frames 5", &["decodes images", "--frames"]);
    refused(&image, "--latent-frames 5", &["decodes images", "--latent-frames"]);
    assert!(image.run(&format!("{PLAN} --frames 1")).status.success());
}

#[test]
fn a_report_has_frames() {
    let setup = Setup::new("wan");
    setup.decode("--output a.y4m --report a.json").expect_success();
    let report = parsed(&String::from_utf8(setup.read("a.json")).expect("text"));
    assert_eq!(report["latents"]["shape"], json!([1, 4, 5, 9, 13]));
    assert_eq!(report["image"]["shape"], json!([1, 3, 17, 72, 104]));
    assert_eq!(report["output"], json!(["a.y4m"]));
    assert_eq!(report["pieces"][0]["rectangle"]["frames"], 5);
    assert_eq!(report["latent_frames_at_a_time"], 1);
    let output = setup.decode_to_stdout("--report b.json -v");
    assert!(output.status.success());
    let report = parsed(&String::from_utf8(setup.read("b.json")).expect("text"));
    assert_eq!(report["output"], json!(["-"]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("decode of 5 x 9 x 13 latent cells to 17 x 72 x 104 pixels"), "{told}");
    assert!(told.contains("1 piece of 1 video on 1 rank"), "{told}");
}

#[test]
fn inspect_tells_what_streams() {
    let text = Setup::new("wan").run("inspect --vae VAE").expect_success().stdout;
    for line in [
        "frames                1 for the first, 4 for each later one of the latents' frames",
        "streaming             frames are finished as their latents go in",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\n{text}");
    }
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for [frames, latents] in [["1", "1"], ["5", "2"], ["21", "6"], ["81", "21"]] {
        assert!(rows.iter().any(|row| row.starts_with(&[frames, latents])), "{text}");
    }
    let image = Setup::new("f8-sd").run("inspect --vae VAE").expect_success().stdout;
    assert!(!image.contains("videos") && !image.contains("frames"), "{image}");
}

/// Plans and reports tell alike whether frames are finished while others are still decoded.
#[test]
fn what_streams_is_told_by_plans_and_reports() {
    let setup = Setup::new("wan");
    let tiled = "--strategy tiled --tile-sample-min-size 64 --tile-sample-stride 48";
    let slices = "--strategy tiled --tile-sample-min-frames 8 --tile-sample-stride-frames 4";
    for (flags, streams) in [
        ("--strategy whole", true),
        ("--strategy sharded --vae-patch-parallel-size 2", true),
        ("--strategy sharded --shard-grid 2x1x1", false),
        ("--strategy patch --vae-patch-parallel-size 2", false),
        (tiled, false),
        (slices, true),
    ] {
        let plan = setup.run(&format!("{PLAN} --frames 17 --format json {flags}"));
        assert_eq!(parsed(&plan.expect_success().stdout)["frames"]["streams"], streams, "{flags}");
        setup.decode(&format!("--report r.json --output a.npy {flags}")).expect_success();
        let report = parsed(&String::from_utf8(setup.read("r.json")).expect("text"));
        assert_eq!(report["latents"]["shape"], json!([1, 4, 5, 9, 13]), "{flags}");
        assert_eq!(report["streamed"], streams, "{flags}");
    }
}

#[test]
fn a_video_is_tiled_in_time_where_that_is_asked_for() {
    let setup = Setup::new("wan");
    let tiles = "--tile-sample-min-frames 8 --tile-sample-stride-frames 4";
    let text = setup.run(&format!("{PLAN} --latent-frames 5 --vae-use-tiling {tiles}"));
    let text = text.expect_success().stdout;
    for line in [
        "grid            4 x 1 x 1: 4 tiles (slices x rows x columns)",
        "slice           3 frames of latents; 4 frames apart, blended over 4",
        "     0  0               0 to 2              0 to 8",
        "     1  1               1 to 3              5 to 12, the first 4 blended",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\n{text}");
    }
    // Without tiling they change nothing, which is told.
    for strategy in ["whole", "sharded", "patch"] {
        let run = setup.run(&format!("{PLAN} --latent-frames 5 --strategy {strategy} {tiles}"));
        let told = format!("a {strategy} decode has no tiles");
        assert!(
            run.stderr.contains(&told) && run.stderr.contains("--strategy tiled"),
            "{}",
            run.stderr
        );
    }
    // Frames that a tile has all are not cut, and images of the same VAE have none to cut.
    let one = "--strategy tiled --tile-sample-min-frames 20";
    for frames in [1, 5] {
        let json = setup.run(&format!("{PLAN} --latent-frames {frames} {one} --format json"));
        assert_eq!(parsed(&json.stdout)["pieces"].as_array().map(Vec::len), Some(1));
    }

    let compare = "plan --vae VAE --compare --compare-sizes 64 --compare-ranks 1 --frames 17";
    let text = setup.run(&format!("{compare} {tiles}")).expect_success().stdout;
    assert!(text.contains(" and 8 frames"), "{text}");
    assert!(
        text.lines().any(|line| line.contains("| tiled ") && line.contains(" 4x1x1 |")),
        "{text}"
    );
    let json = parsed(&setup.run(&format!("{compare} {tiles} --format json")).stdout);
    let rows = json["rows"].as_array().expect("rows").iter();
    let slices: Vec<_> = rows.map(|row| [&row["strategy"], &row["slices"]]).collect();
    assert!(slices.contains(&[&json!("tiled"), &json!(4)]), "{slices:?}");

    // The first tile is a decode of its frames, until the next one is blended in.
    setup.decode(&format!("--vae-use-tiling {tiles} --output tiled.npy")).expect_success();
    setup.decode("--output whole.npy").expect_success();
    let (tiled, shape) = setup.read_npy("tiled.npy");
    let (whole, same) = setup.read_npy("whole.npy");
    assert_eq!(shape, same);
    let [_, _, frames, height, width] = shape[..] else { panic!("a video, not {shape:?}") };
    let frame = height * width;
    let differs: Vec<bool> = (0..frames)
        .map(|t| {
            tiled[t * frame..][..frame]
                .iter()
                .zip(&whole[t * frame..][..frame])
                .any(|(a, b)| a != b)
        })
        .collect();
    // The first frame of a tile counts twice, so a blend begins with what was there.
    let expected: Vec<bool> = (0..frames).map(|t| t > 5).collect();
    assert_eq!(differs, expected);

    for (flags, words) in [
        ("--tile-sample-min-frames 6", ["--tile-sample-min-frames 6", "set it to 4"]),
        ("--tile-sample-min-frames 3", ["--tile-sample-min-frames", "multiple of 4"]),
        ("--tile-sample-stride-frames 4", ["--tile-sample-stride-frames", "needs"]),
        ("--tile-sample-min-frames 8 --tile-sample-stride-frames 12", ["gaps", "at most 8"]),
    ] {
        let run = setup.decode(&format!("{flags} --output no.npy"));
        assert_ne!(run.status.code(), Some(0));
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{}", run.stderr);
        assert!(!setup.path("no.npy").exists());
    }
}
