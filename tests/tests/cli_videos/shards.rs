//! Videos in shards, cut along time too where the decoder can be: the frames of a whole decode.

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::binary::listing;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::random_tensor;
use serde_json::Value;

use crate::{Setup, channels_first};

impl Setup {
    /// The frames of an array that a decode made, as images.
    fn frames(&self, name: &str) -> HostTensor {
        let (values, shape) = self.read_npy(name);
        assert_eq!(shape, [1, 3, 17, 72, 104]);
        // Values are compared one by one, so which axis is which does not matter.
        HostTensor::new(Shape::new(3 * 17, 72, 104, 1), values).expect("as many elements")
    }

    /// Decodes in shards and compares with `whole.npy`; returns the report.
    #[track_caller]
    fn check_shards(&self, flags: &str) -> Value {
        let run = self.decode(&format!(
            "--strategy sharded {flags} --output sharded.npy --report sharded.json"
        ));
        run.expect_success();
        assert_f32_close(flags, &self.frames("sharded.npy"), &self.frames("whole.npy"));
        serde_json::from_slice(&self.read("sharded.json")).expect("JSON")
    }
}

/// Latent cells of all pieces.
fn volume(report: &Value) -> u64 {
    let pieces = report["pieces"].as_array().expect("pieces");
    let extent = |piece: &Value, axis| piece["rectangle"][axis].as_u64().expect("a number");
    let axes = ["frames", "height", "width"];
    pieces.iter().map(|piece| axes.map(|axis| extent(piece, axis)).iter().product::<u64>()).sum()
}

/// Where slices would be too thin for what is exchanged between them, there are fewer, or none.
#[test]
fn slices_on_any_number_of_ranks() {
    let setup = Setup::new("wan");
    setup.decode("--strategy whole --output whole.npy").expect_success();
    for (grid, ranks) in [("2x1x1", 1), ("2x1x1", 2), ("2x1x1", 3), ("2x2x2", 3)] {
        let flags = format!("--shard-grid {grid} --vae-patch-parallel-size {ranks}");
        let report = setup.check_shards(&flags);
        assert_eq!(volume(&report), 5 * 9 * 13, "{report:#}");
        let pieces = report["pieces"].as_array().expect("pieces").len() as u64;
        assert_eq!(report["ranks"]["effective"], pieces.min(ranks), "{report:#}");
    }
}

/// Shards take turns on each rank, and what waits goes to a file where there is no memory for it.
#[test]
fn shards_in_turns_in_little_memory() {
    let setup = Setup::new("wan");
    setup.decode("--strategy whole --output whole.npy").expect_success();
    std::fs::create_dir(setup.path("scratch")).expect("a folder");
    for (grid, ranks) in [("2x2", 1), ("2x3", 2), ("2x2x2", 1)] {
        let cut = format!("--shard-grid {grid} --vae-patch-parallel-size {ranks}");
        let flags = |bytes: &str| format!("{cut} --max-memory {bytes} --scratch-dir scratch");
        let refused = setup.decode(&format!("--strategy sharded {} --output a.npy", flags("1MiB")));
        assert!(!refused.status.success());
        // The error names the least that does.
        let (_, least) = refused.stderr.split_once("the least is ").expect("the least");
        let (least, _) = least.split_once(" MiB").expect("a number");
        let report = setup.check_shards(&flags(&format!("{least}MiB")));
        assert!(report["pieces"].as_array().expect("pieces").len() >= 4, "{report:#}");
        assert_eq!(report["ranks"]["effective"], ranks, "{report:#}");
    }
    assert_eq!(listing(&setup.path("scratch")), [""; 0]);
}

/// Of a few frames, which would otherwise go in at once, fewer at a time are decoded where memory is short.
#[test]
fn a_short_video_needs_no_more_than_a_longer_one() {
    let setup = Setup::new("wan");
    let mut before = u64::MAX;
    for frames in [4, 3, 2] {
        let latents = random_tensor(Shape::new(1, 24, 30, 4).over(frames), 3);
        let (values, shape) = channels_first(&latents);
        setup.write_npy("short.npy", &values, &shape);
        let flags = "--strategy sharded --max-memory 1MiB --output a.npy";
        let refused = setup.decode_from("short.npy", flags);
        let (_, least) = refused.stderr.split_once("the least is ").expect("the least");
        let (least, _) = least.split_once(" MiB").expect("a number");
        let least: u64 = least.parse().expect("a number");
        assert!(least <= before, "{frames} frames of latents: {least} MiB, {before} for one more");
        before = least;
    }
}
