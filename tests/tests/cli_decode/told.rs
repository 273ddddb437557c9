//! What is said: the report, and words on standard error.

use halovae_tests::binary::listing;
use serde_json::Value;

use crate::{Setup, json};

#[test]
fn report_says_what_was_done() {
    let setup = Setup::new("f4-batch");
    let report = setup.path("report.json");
    let report_flag = report.to_str().expect("UTF-8");
    let flags = ["--vae-patch-parallel-size", "3", "--report", report_flag];
    setup.decode("a.npy", &flags).expect_success();
    let report = json(&report);
    assert_eq!(report["strategy"], "tiled", "{report:#}");
    assert_eq!(report["ranks"]["requested"], 3, "{report:#}");
    assert_eq!(report["ranks"]["effective"], 3, "{report:#}");
    let notices = report["notices"].as_array().expect("notices");
    assert_eq!(notices.len(), 1, "{report:#}");
    assert!(notices[0].to_string().contains("tiling"), "{report:#}");

    // 11 x 21 cells in tiles of 8 with a step of 6: two rows of four, for each of two images.
    let pieces = report["pieces"].as_array().expect("pieces");
    assert_eq!(pieces.len(), 16, "{report:#}");
    let mut ranks: Vec<u64> = pieces.iter().map(|p| p["rank"].as_u64().expect("a rank")).collect();
    ranks.sort_unstable();
    ranks.dedup();
    assert_eq!(ranks, [0, 1, 2], "{report:#}");
    for piece in pieces {
        assert!(piece["seconds"].as_f64().expect("seconds") > 0.0, "{piece}");
    }
    let text = pieces.iter().map(Value::to_string).collect::<String>();
    assert!(text.contains("18"), "no piece starts at column 18: {report:#}");

    for part in ["load", "decode", "tuning", "stitch", "write"] {
        let seconds = report["seconds"][part].as_f64();
        assert!(seconds.is_some_and(|s| (0.0..60.0).contains(&s)), "{part}: {report:#}");
    }
    for kind in ["estimated", "measured"] {
        let bytes = report["peak_bytes"][kind].as_u64();
        assert!(bytes.is_some_and(|b| b > 100_000), "{kind}: {report:#}");
    }
    assert!(!report["ops"].as_array().expect("kinds of ops").is_empty(), "{report:#}");
    assert_eq!(listing(setup.folder.path()), ["a.npy", "report.json"]);

    setup.decode("a.npy", &["--report", report_flag, "--no-op-times"]).expect_success();
    let report = json(&setup.path("report.json"));
    assert!(report["ops"].as_array().expect("kinds of ops").is_empty(), "{report:#}");
    assert_eq!(report["pieces"].as_array().expect("pieces").len(), 2, "{report:#}");
}

#[test]
fn stderr_has_words_and_no_progress_bar() {
    let setup = Setup::new("f2-complete");
    let run = setup.decode("a.npy", &["--vae-patch-parallel-size", "2"]).expect_success();
    assert!(run.stderr.contains("tiling"), "tiling was switched on: {}", run.stderr);
    assert!(!run.stderr.contains(['\r', '\x1b', '█']), "{:?}", run.stderr);
    assert_eq!(run.stdout, "", "stdout is for what was asked to be printed");

    let quiet =
        setup.decode("a.npy", &["--quiet", "--vae-patch-parallel-size", "2"]).expect_success();
    assert_eq!(quiet.stderr, "");
    let verbose = setup.decode("a.npy", &["-v"]).expect_success();
    assert!(verbose.stderr.len() > run.stderr.len(), "{}", verbose.stderr);
    assert!(!verbose.stderr.contains(['\r', '\x1b', '█']), "{:?}", verbose.stderr);
    let has_head = verbose.stderr.lines().any(|line| line.ends_with("GFLOP/s"));
    assert!(has_head, "each kind of op has a line: {}", verbose.stderr);
}
