//! What a plan says and what a decode does are the same.

use halovae_tests::binary;
use halovae_tests::golden::Golden;
use serde_json::Value;

/// The ranks that stay idle, by the notices.
fn idle(notices: &Value) -> Vec<&str> {
    let notices = notices.as_array().expect("notices");
    notices.iter().filter_map(Value::as_str).filter(|text| text.contains("stay idle")).collect()
}

/// The ranks of pieces, by their index.
fn owners(pieces: &Value) -> Vec<u64> {
    let pieces = pieces.as_array().expect("pieces").iter();
    pieces.map(|piece| piece["rank"].as_u64().expect("a rank")).collect()
}

/// As many ranks decode as the table, the drawing, the JSON, the notices and the report say, each
/// piece on the rank that the plan names: six tiles on eight ranks, more patches than rows of latents.
#[test]
fn ranks_and_owners_are_the_same_everywhere() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.json");
    let vae = golden.folder.to_str().expect("UTF-8");
    let mut seen = Vec::new();
    for strategy in ["whole", "tiled", "patch", "sharded"] {
        for ranks in ["1", "4", "8", "200"] {
            let what = format!("{strategy} on {ranks}");
            let cut = ["--vae", vae, "--strategy", strategy, "--vae-patch-parallel-size", ranks];
            let plan = |format: &str| {
                let size = ["--latent-height", "9", "--latent-width", "14", "--format", format];
                binary::run([&["plan"], &cut[..], &size].concat()).expect_success().stdout
            };
            let json: Value = serde_json::from_str(&plan("json")).expect("JSON");
            let (table, svg) = (plan("table"), plan("svg"));

            let mut command = binary::command([&["decode"], &cut[..]].concat());
            command.args(["--tile-sample-min-size", "64", "--threads", "1", "--no-op-times"]);
            command.arg("--latents").arg(golden.latents_file()).arg("--report").arg(&report);
            command.arg("--output").arg(folder.path().join("picture.npy"));
            binary::run_command(command).expect_success();
            let done = std::fs::read_to_string(&report).expect("a report");
            let done: Value = serde_json::from_str(&done).expect("JSON");

            let decode = done["ranks"]["effective"].as_u64().expect("a number");
            assert_eq!(json["ranks"]["effective"].as_u64(), Some(decode), "{what}");
            assert_eq!(owners(&json["pieces"]), owners(&done["pieces"]), "{what}");
            let mut busy = owners(&done["pieces"]);
            busy.sort_unstable();
            busy.dedup();
            assert_eq!(busy, (0..decode).collect::<Vec<_>>(), "{what}");
            let loads = json["loads"].as_array().expect("loads");
            assert_eq!(loads.len() as u64, decode, "{what}");
            assert!(loads.iter().all(|load| load["pieces"].as_u64() > Some(0)), "{what}");
            let line = format!("{decode} (asked for {ranks}, group of {ranks})");
            assert!(table.contains(&line), "{what}: no {line:?} in\n{table}");
            let title = format!(" on {decode} rank{}<", if decode == 1 { "" } else { "s" });
            assert!(svg.contains(&title), "{what}: no {title:?} in\n{svg}");
            assert_eq!(idle(&json["notices"]), idle(&done["notices"]), "{what}");
            let asked: u64 = ranks.parse().expect("a number");
            let told = format!("{} of {asked} ranks stay idle", asked - decode);
            let is_told = idle(&done["notices"]).iter().any(|notice| notice.contains(&told));
            assert_eq!(is_told, decode < asked, "{what}: {:#}", done["notices"]);
            seen.push((strategy, ranks, decode));
        }
    }
    assert!(seen.contains(&("tiled", "8", 6)), "{seen:?}");
    assert!(seen.contains(&("patch", "8", 8)) && seen.contains(&("whole", "8", 1)), "{seen:?}");
    assert!(seen.contains(&("patch", "200", 126)), "{seen:?}");
}
