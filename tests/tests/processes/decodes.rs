//! Pictures of processes are those of threads.

use halovae_tests::binary;
use halovae_tests::golden::Golden;
use serde_json::Value;

use crate::{Folder, decode, own_lines, run};

const RANKS: [u32; 5] = [1, 2, 3, 4, 6];

/// The same bytes from so many processes as from as many threads.
fn same_as_threads(golden: &str, flags: &[&str]) {
    let golden = Golden::load(golden);
    let folder = Folder::new();
    for ranks in RANKS {
        let decode = |output: &str, flags: &[&str]| {
            decode(&golden.folder, &golden.latents_file(), &folder.path(output), flags)
        };
        let what = format!("{flags:?} on {ranks} ranks");
        let count = ranks.to_string();
        let threads = [flags, &["--vae-patch-parallel-size", &count]].concat();
        binary::run(decode("threads.npy", &threads)).expect_success();
        let run = run(ranks, &decode("processes.npy", flags));
        assert!(run.status.success(), "{what}: {}", run.stderr);
        assert_eq!(own_lines(&run), [""; 0], "{what}");
        assert!(folder.read("processes.npy") == folder.read("threads.npy"), "{what}");
    }
}

#[test]
fn whole() {
    same_as_threads("f8-flux", &["--strategy", "whole"]);
}

#[test]
fn tiled() {
    same_as_threads("f8-flux", &["--strategy", "tiled"]);
}

#[test]
fn patch() {
    same_as_threads("f8-flux", &["--strategy", "patch"]);
}

#[test]
fn sharded() {
    same_as_threads("f8-flux", &["--strategy", "sharded"]);
}

#[test]
fn chosen_for_the_user() {
    same_as_threads("f8-sd", &[]);
}

#[test]
fn a_batch() {
    for strategy in ["whole", "tiled", "patch", "sharded"] {
        same_as_threads("f4-batch", &["--strategy", strategy]);
    }
}

#[test]
fn shards_in_turns() {
    same_as_threads("f8-flux", &["--strategy", "sharded", "--shard-grid", "3x3"]);
    same_as_threads("f8-sd", &["--strategy", "sharded", "--max-memory", "200MiB"]);
}

/// More processes than ranks: those that are left over wait.
#[test]
fn fewer_ranks_than_processes() {
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let flags = ["--vae-patch-parallel-size", "2", "--strategy", "sharded"];
    let arguments =
        |output| decode(&golden.folder, &golden.latents_file(), &folder.path(output), &flags);
    binary::run(arguments("threads.npy")).expect_success();
    let run = run(4, &arguments("processes.npy"));
    assert!(run.status.success(), "{}", run.stderr);
    assert!(folder.read("processes.npy") == folder.read("threads.npy"));
}

/// Rank 0 writes one report of what all did.
#[test]
fn the_report_is_of_all() {
    let golden = Golden::load("f8-flux");
    let folder = Folder::new();
    let report = folder.path("report.json");
    let flags = ["--strategy", "tiled", "--report", report.to_str().expect("UTF-8")];
    let arguments =
        decode(&golden.folder, &golden.latents_file(), &folder.path("picture.png"), &flags);
    let run = run(3, &arguments);
    assert!(run.status.success(), "{}", run.stderr);
    assert_eq!(folder.listing(), ["picture.png", "report.json"]);
    let report: Value = serde_json::from_slice(&folder.read("report.json")).expect("JSON");
    let pieces = report["pieces"].as_array().expect("pieces");
    let indices: Vec<_> = pieces.iter().map(|piece| piece["index"].as_u64()).collect();
    assert_eq!(indices, (0..pieces.len() as u64).map(Some).collect::<Vec<_>>());
    for rank in 0..3 {
        assert!(pieces.iter().any(|piece| piece["rank"] == rank), "nothing of rank {rank}");
    }
    assert_eq!(report["ranks"]["effective"], 3);
    assert_eq!(report["sent"]["bytes"], 0, "tiles need nothing of each other");
    assert!(report["sent"]["piece_bytes"].as_u64() > Some(0), "{report}");
    assert_eq!(report["peak_bytes"]["processes"].as_array().map(Vec::len), Some(3));
    let convs = |op: &&Value| op["kind"] == "conv 1x1";
    let count = report["ops"].as_array().expect("ops").iter().find(convs).map(|op| &op["count"]);
    let each = count.and_then(Value::as_u64).expect("convs") / pieces.len() as u64;
    assert!(each > 0, "{report}");
}
