//! `halovae plan --compare`, as a user runs it: each of its figures against a single plan's, or
//! against arithmetic by hand.

use std::path::Path;

use halovae_tests::binary::{self, Run, listing};
use halovae_tests::drawing::assert_is_svg;
use halovae_tests::golden::demo_folder;
use serde_json::Value;

const STRATEGIES: [&str; 4] = ["whole", "tiled", "patch", "sharded"];

fn plan(arguments: &[&str]) -> Run {
    binary::run([&["plan"], arguments].concat())
}

fn json_of(arguments: &[&str]) -> Value {
    let run = plan(&[arguments, &["--format", "json"]].concat()).expect_success();
    serde_json::from_str(&run.stdout).expect("JSON")
}

fn rows(comparison: &Value) -> &[Value] {
    comparison["rows"].as_array().expect("rows")
}

fn row<'a>(comparison: &'a Value, strategy: &str, height: u64, ranks: u64) -> &'a Value {
    let row = |row: &&Value| {
        row["strategy"] == strategy && row["height"] == height && row["ranks"] == ranks
    };
    rows(comparison).iter().find(row).expect("such a row")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A folder with FLUX.1's config, and no weights.
fn flux_config() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/flux-vae-config").into()
}

fn sum(loads: &Value, field: &str) -> f64 {
    loads
        .as_array()
        .expect("loads")
        .iter()
        .map(|load| load[field].as_f64().expect("a number"))
        .sum()
}

fn most(loads: &Value, field: &str) -> f64 {
    let loads = loads.as_array().expect("loads").iter();
    loads.map(|load| load[field].as_f64().expect("a number")).fold(0.0, f64::max)
}

#[track_caller]
fn assert_close(row: &Value, field: &str, expected: f64) {
    let found = row[field].as_f64().unwrap_or_else(|| panic!("no {field} in {row:#}"));
    assert!((found - expected).abs() <= 1e-12 * expected, "{field} is not {expected}: {row:#}");
}

/// What is independent here is the way: one process a plan, its loads added up.
#[test]
fn each_row_is_what_a_single_plan_says() {
    let vae = demo_folder();
    let vae = ["--vae", text(&vae)];
    let sizes = [(512, 256), (264, 264)];
    let flags = ["--compare", "--compare-sizes", "512x256,264", "--compare-ranks", "6,1,3,6"];
    let comparison = json_of(&[&vae[..], &flags[..]].concat());
    assert_eq!(rows(&comparison).len(), STRATEGIES.len() * sizes.len() * 3);
    for (height, width) in sizes {
        let (height_flag, width_flag) = (height.to_string(), width.to_string());
        let single = |strategy: &str, ranks: u64| {
            let size = ["--height", &height_flag, "--width", &width_flag];
            let ranks = ranks.to_string();
            let flags = ["--strategy", strategy, "--vae-patch-parallel-size", &ranks];
            json_of(&[&vae[..], &size[..], &flags[..]].concat())
        };
        let whole_work = sum(&single("whole", 1)["loads"], "work");
        for strategy in STRATEGIES {
            for ranks in [1, 3, 6] {
                let row = row(&comparison, strategy, height, ranks);
                let plan = single(strategy, ranks);
                let loads = &plan["loads"];
                assert_eq!(row["width"], width);
                assert_eq!(row["latents"], plan["latents"]);
                assert_eq!(row["effective_ranks"], plan["ranks"]["effective"]);
                assert_eq!(row["redundancy"], plan["redundancy"]);
                assert_eq!(row["imbalance"], plan["imbalance"]);
                assert_eq!(row["notices"], plan["notices"]);
                assert_eq!(row["slices"], 1);
                assert_eq!(row["pieces"], plan["pieces"].as_array().map_or(0, Vec::len));
                assert_close(row, "work", sum(loads, "work"));
                assert_close(row, "work_ratio", sum(loads, "work") / whole_work);
                assert_close(row, "busiest_ratio", most(loads, "work") / whole_work);
                assert_close(row, "peak_live_bytes", most(loads, "peak_live_bytes"));
                assert_close(row, "finished_bytes", sum(loads, "sent_bytes"));
                assert_eq!(row["stitching_bytes"], plan["stitching_bytes"]);
                let traffic = &row["traffic"];
                if strategy == "sharded" {
                    assert_eq!(traffic, &plan["shards"]["traffic"]);
                    assert_eq!(row["rows"], plan["shards"]["rows"]);
                    assert_eq!(row["cols"], plan["shards"]["cols"]);
                }
                let parts = |fields: [&str; 3]| {
                    fields.iter().map(|&field| traffic[field].as_f64().expect("a number")).sum()
                };
                let bytes = parts(["halo_bytes", "attention_bytes", "statistics_bytes"]);
                assert_close(row, "exchanged_bytes", bytes);
                let steps = parts(["halo_exchanges", "reductions", "ring_steps"]);
                assert_close(row, "collectives", steps);
                // Only ranks of one decode exchange data.
                assert_eq!(bytes > 0.0, strategy == "sharded" && ranks > 1, "{row:#}");
            }
        }
    }
}

/// Figures that follow from the model alone: 1024x1024 pixels are 128x128 cells, and attention has
/// 512 channels.
#[test]
fn figures_of_flux_are_those_by_hand() {
    let vae = flux_config();
    let flags = ["--compare", "--compare-sizes", "1024,8192", "--compare-ranks", "1,4"];
    let comparison = json_of(&[&["--vae", &vae], &flags[..]].concat());
    for ranks in [1, 4] {
        let whole = row(&comparison, "whole", 1024, ranks);
        for field in ["work_ratio", "busiest_ratio", "redundancy"] {
            assert_eq!(whole[field], 1.0);
        }
        for field in ["exchanged_bytes", "finished_bytes", "collectives"] {
            assert_eq!(whole[field], 0);
        }
    }
    let sharded = row(&comparison, "sharded", 1024, 4);
    // f32 pixels of three channels, three quarters of which travel.
    assert_eq!(sharded["finished_bytes"], 1024 * 1024 * 3 * 4 / 4 * 3);
    assert_eq!(row(&comparison, "patch", 1024, 4)["finished_bytes"], sharded["finished_bytes"]);
    // Keys and values of all cells come to each of the three that do not have them.
    assert_eq!(sharded["traffic"]["attention_bytes"], 128 * 128 * 512 * 2 * 4 * (4 - 1));
    assert_close(sharded, "work_ratio", 1.0);
    assert_close(sharded, "busiest_ratio", 0.25);
    // Tiles of 128 cells, 96 apart: 128 and 32 along each axis.
    assert_close(row(&comparison, "tiled", 1024, 4), "redundancy", (160.0 / 128.0f64).powi(2));
    // Attention grows with the square of a piece, so tiles of a large picture need less of it than
    // their overlaps cost.
    let tiled = row(&comparison, "tiled", 8192, 4);
    assert!(tiled["redundancy"].as_f64() > Some(1.7), "{tiled:#}");
    assert!(tiled["work_ratio"].as_f64() < Some(0.5), "{tiled:#}");
}

#[test]
fn as_a_table() {
    let vae = demo_folder();
    let size = ["--height", "512", "--width", "512", "--compare-ranks", "1,4"];
    let run = plan(&[&["--vae", text(&vae), "--compare"], &size[..]].concat()).expect_success();
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with('|')).collect();
    // A heading, a rule, one line of the whole decode, two of each other strategy.
    assert_eq!(lines.len(), 2 + 1 + 2 * 3, "{}", run.stdout);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{}", run.stdout);
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let heading = cells(lines[0]);
    assert!(lines.iter().all(|line| cells(line).len() == heading.len()), "{}", run.stdout);
    let sharded = cells(lines[8]);
    let of = |name: &str| {
        &sharded[heading.iter().position(|heading| heading == name).expect("a column")]
    };
    assert_eq!((of("strategy").as_str(), of("ranks").as_str()), ("sharded", "4"));
    assert_eq!((of("work").as_str(), of("busiest rank").as_str()), ("1.00", "0.250"));
    // 512 x 512 pixels of three channels, three quarters of them.
    assert_eq!(of("finished"), "2.2 MiB");
}

#[test]
fn as_a_drawing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("scaling.svg");
    let vae = demo_folder();
    let flags = ["--compare-sizes", "512,1024", "--compare-ranks", "1,2,4"];
    let output = ["--format", "svg", "--output", text(&file)];
    let run = plan(&[&["--vae", text(&vae), "--compare"], &flags[..], &output[..]].concat());
    assert_eq!(run.expect_success().stdout, "");
    assert_eq!(listing(folder.path()), ["scaling.svg"]);
    let svg = std::fs::read_to_string(&file).expect("the drawing");
    assert_is_svg(&svg);
    let words = ["512 × 512 pixels", "memory", "exchanged", "cuts the latents, on 4 ranks"];
    for word in [&STRATEGIES[..], &words].concat() {
        assert!(svg.contains(word), "no {word:?}");
    }
    // A mark for each of three numbers of ranks in six panels a size, and one in the legend.
    assert_eq!(svg.matches("<circle").count(), 3 * 6 * 2 + 1);
    // Tiles of both sizes overlap, and nothing is told of time.
    assert!(svg.matches("url(#overlap)").count() >= 4, "{svg}");
    assert!(!svg.contains("frames"), "{svg}");
    for not_a_number in ["NaN", "inf"] {
        assert!(!svg.contains(not_a_number), "{not_a_number}");
    }
}

/// Without a decoder there are cells, and no bytes.
#[test]
fn without_a_vae() {
    let model = ["--scale", "8", "--tile-sample-min-size", "512", "--compare"];
    let flags = ["--compare-sizes", "1024", "--compare-ranks", "2"];
    let flags = [&model[..], &flags[..]].concat();
    let comparison = json_of(&flags);
    let patch = row(&comparison, "patch", 1024, 2);
    assert_eq!(patch["work_ratio"], patch["redundancy"]);
    for field in ["peak_live_bytes", "exchanged_bytes", "finished_bytes", "stitching_bytes"] {
        assert!(patch[field].is_null(), "{patch:#}");
    }
    assert!(!plan(&flags).expect_success().stdout.contains("memory"));
    let svg = plan(&[&flags[..], &["--format", "svg"]].concat()).expect_success().stdout;
    assert_is_svg(&svg);
    assert!(!svg.contains("memory"));
}

/// 65536 pixels in tiles of 16 are more tiles than are planned.
#[test]
fn what_cannot_be_planned_is_left_out() {
    let model = ["--scale", "1", "--tile-sample-min-size", "16", "--compare"];
    let flags = ["--compare-sizes", "16,65536", "--compare-ranks", "2"];
    let flags = [&model[..], &flags[..]].concat();
    let comparison = json_of(&flags);
    for row in rows(&comparison) {
        let is_refused = row["strategy"] == "tiled" && row["height"] == 65536;
        let reason = row["refused"].as_str();
        assert_eq!(reason.is_some_and(|reason| reason.contains("pieces")), is_refused, "{row:#}");
        assert_eq!(row["redundancy"].is_null(), is_refused, "{row:#}");
    }
    let table = plan(&flags).expect_success().stdout;
    let dashes = table.lines().filter(|line| line.ends_with(" - |")).count();
    assert_eq!(dashes, 1, "{table}");
    let svg = plan(&[&flags[..], &["--format", "svg"]].concat()).expect_success().stdout;
    assert_is_svg(&svg);
    let all =
        plan(&[&model[..], &["--compare-sizes", "65536", "--tile-overlap-factor", "1"]].concat());
    assert!(all.stderr.contains("below 1") && all.stdout.is_empty(), "{}", all.stderr);
}

#[test]
fn wrong_flags_are_refused_in_one_line() {
    let vae = demo_folder();
    let vae = ["--vae", text(&vae)];
    let many: Vec<String> = (1..=33).map(|ranks| ranks.to_string()).collect();
    let many = many.join(",");
    for (word, flags) in [
        ("nearest", &["--compare", "--compare-sizes", "1000,1001"][..]),
        ("HEIGHTxWIDTH", &["--compare", "--compare-sizes", "1024,"]),
        ("0 is not in", &["--compare", "--compare-ranks", "0"]),
        ("at most 32", &["--compare", "--compare-ranks", &many]),
        ("a height needs a width", &["--compare", "--height", "512"]),
        ("--height", &["--compare", "--compare-sizes", "512", "--height", "8", "--width", "8"]),
        ("--compare", &["--compare-ranks", "1", "--height", "512", "--width", "512"]),
        ("--strategy", &["--compare", "--strategy", "tiled"]),
        ("--ring-degree", &["--compare", "--ring-degree", "2"]),
        ("--vae-patch-parallel-size", &["--compare", "--vae-patch-parallel-size", "2"]),
    ] {
        let run = plan(&[&vae[..], flags].concat());
        assert_eq!(run.status.code(), Some(2), "{flags:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{flags:?}");
        let errors: Vec<&str> =
            run.stderr.lines().filter(|line| line.starts_with("halovae: error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(word), "{flags:?}: {}", run.stderr);
    }
}
