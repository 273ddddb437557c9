//! Strategies: which is chosen, with which tiles, and that ranks and threads change nothing.

use halovae_tests::compare::{Difference, assert_f32_close};

use crate::{Setup, json};

#[test]
fn strategy_is_chosen_by_the_guide() {
    let setup = Setup::new("f8-sd");
    let report = setup.path("report.json");
    let strategy = |flags: &[&str]| {
        let mut all = flags.to_vec();
        all.extend(["--report", report.to_str().expect("UTF-8")]);
        setup.decode("a.npy", &all).expect_success();
        json(&report)["strategy"].as_str().expect("a strategy").to_owned()
    };
    assert_eq!(strategy(&[]), "whole");
    // 10 columns exceed a tile of 8.
    assert_eq!(strategy(&["--vae-use-tiling"]), "tiled");
    assert_eq!(strategy(&["--vae-patch-parallel-size", "2"]), "tiled");
    // Nothing exceeds a tile of 16.
    let large = ["--tile-sample-min-size", "128"];
    assert_eq!(strategy(&[&large[..], &["--vae-use-tiling"]].concat()), "whole");
    assert_eq!(strategy(&[&large[..], &["--vae-patch-parallel-size", "2"]].concat()), "patch");
    assert_eq!(strategy(&["--strategy", "patch", "--vae-patch-parallel-size", "4"]), "patch");
}

#[test]
fn other_tiles_than_the_models() {
    let setup = Setup::new("f2-complete");
    for (overlap, key) in
        [("0", "tiled_overlap_0"), ("0.5", "tiled_overlap_0.5"), ("0.75", "tiled_overlap_0.75")]
    {
        let flags = ["--strategy", "tiled", "--tile-overlap-factor", overlap];
        setup.decode("a.npy", &flags).expect_success();
        assert_f32_close(key, &setup.read_npy("a.npy"), setup.golden.expected(key));
    }
    // A tile as high and wide as everything is the whole.
    let flags = ["--strategy", "tiled", "--tile-sample-min-size", "64x64"];
    setup.decode("a.npy", &flags).expect_success();
    assert_f32_close("one tile", &setup.read_npy("a.npy"), setup.golden.expected("whole"));
    let flags = ["--strategy", "tiled", "--tile-sample-min-size", "64x16"];
    setup.decode("b.npy", &flags).expect_success();
    let columns = Difference::new(&setup.read_npy("b.npy"), setup.golden.expected("whole"));
    assert!(columns.max_abs > 0.01, "columns of tiles differ from the whole: {columns:?}");
}

#[test]
fn threads_and_ranks_do_not_change_tiles() {
    let setup = Setup::new("f8-flux");
    let bytes = |flags: &[&str]| {
        setup.decode("a.npy", &[&["--strategy", "tiled"], flags].concat()).expect_success();
        std::fs::read(setup.path("a.npy")).expect("the output")
    };
    let one = bytes(&["--threads", "1"]);
    for flags in [
        ["--threads", "3", "--vae-patch-parallel-size", "1"],
        ["--threads", "2", "--vae-patch-parallel-size", "2"],
        ["--threads", "1", "--vae-patch-parallel-size", "5"],
    ] {
        assert!(bytes(&flags) == one, "{flags:?}");
    }
}

/// Cut into shards, on several ranks or in turns with little memory: the picture of a whole decode,
/// and a report that says how.
#[test]
fn sharded_is_exact() {
    let setup = Setup::new("f8-flux");
    let scratch = setup.path("scratch");
    std::fs::create_dir(&scratch).expect("a folder");
    let scratch = scratch.to_str().expect("UTF-8").to_owned();
    let report = setup.path("report.json");
    let report_flag = report.to_str().expect("UTF-8").to_owned();
    let cases: [(&[&str], u64, u64); 3] = [
        (&["--vae-patch-parallel-size", "4"], 4, 4),
        (&["--shard-grid", "2x3"], 1, 6),
        (&["--shard-grid", "3x2", "--max-memory", "100MiB", "--scratch-dir", &scratch], 1, 6),
    ];
    for (flags, ranks, pieces) in cases {
        let common = ["--strategy", "sharded", "--report", &report_flag];
        setup.decode("sharded.npy", &[&common[..], flags].concat()).expect_success();
        let picture = setup.read_npy("sharded.npy");
        assert_f32_close(&format!("{flags:?}"), &picture, setup.golden.expected("whole"));
        let report = json(&report);
        assert_eq!(report["strategy"], "sharded", "{report:#}");
        assert_eq!(report["ranks"]["effective"].as_u64(), Some(ranks), "{report:#}");
        let listed = report["pieces"].as_array().expect("pieces").len() as u64;
        assert_eq!(listed, pieces, "{report:#}");
    }
    assert_eq!(std::fs::read_dir(&scratch).expect("the folder").count(), 0);
}
