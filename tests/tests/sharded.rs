//! A sharded decode is the whole decode up to rounding: for every grid and any number of ranks,
//! whether values wait in memory or in a file.

use std::sync::atomic::{AtomicU64, Ordering};

use halovae_core::{Plan, Size};
use halovae_engine::conformance::Random;
use halovae_engine::decode::Control;
use halovae_engine::group::{Cancel, Group, ThreadGroup};
use halovae_engine::program::fuse;
use halovae_engine::shard::{ParkLimit, Traffic};
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::HostTensor;
use halovae_engine::wrap::Counted;
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, SmallModel, cpu, cpu_decoder, cpu_ranks, decode, plan, size_of};
use halovae_tests::golden::{self, Golden};
use halovae_tests::parity;
use proptest::prelude::*;

/// Rows and columns of every grid of one to eight shards.
fn grids() -> impl Iterator<Item = (u32, u32)> {
    (1..=8).flat_map(|rows| (1..=8 / rows).map(move |cols| (rows, cols)))
}

/// Every grid, one rank a shard, against what diffusers decodes whole.
#[test]
fn golden_models_on_every_grid() {
    for name in golden::images() {
        let Size { height, width, .. } = size_of(&Golden::load(name).latents);
        let grids = grids().filter(|&(rows, cols)| rows <= height && cols <= width);
        let grids = grids.map(|(rows, cols)| (rows, cols, rows * cols));
        parity::sharded(name, grids, cpu_decoder);
    }
}

fn decode_parked(
    model: &SmallModel,
    latents: &HostTensor,
    plan: &Plan,
    ranks: u32,
    park: Option<ParkLimit>,
) -> HostTensor {
    let mut sink = MemorySink::default();
    let control = Control { park, ..Control::default() };
    let decoder = model.decoder(cpu_ranks(ranks, 1));
    decoder.decode(latents, plan, &mut sink, &control).expect("a decode");
    sink.into_picture().expect("a picture")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Odd extents, uneven bands, fewer ranks than shards and more, batches.
    #[test]
    fn any_grid_any_ranks(
        batch in 1usize..=2,
        height in 1u32..=21,
        width in 1u32..=21,
        rows in 1u32..=6,
        cols in 1u32..=6,
        ranks in 1u32..=7,
        limit in 0u64..60_000,
        seed in any::<u64>(),
    ) {
        let model = SmallModel::new();
        let latents = model.latents(batch, height, width, seed);
        let size = size_of(&latents);
        let (rows, cols) = (rows.min(height), cols.min(width));
        let sharded = plan(&model.config, size, Cut::Sharded(rows, cols));
        let whole = plan(&model.config, size, Cut::Whole);
        let expected = decode(&model.decoder(cpu_ranks(1, 1)), &latents, &whole);
        let got = decode_parked(&model, &latents, &sharded, ranks, None);
        let what = format!("{height} x {width} cells in {rows} x {cols} shards on {ranks} ranks");
        assert_f32_close(&what, &got, &expected);

        // Where values wait has no influence, and leaves nothing behind.
        let folder = tempfile::tempdir().expect("a folder");
        let park = ParkLimit { bytes: limit, scratch: folder.path().to_owned() };
        let parked = decode_parked(&model, &latents, &sharded, ranks, Some(park));
        assert_same_bytes(&what, &parked, &got);
        prop_assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }
}

/// A rank for every cell of the latents.
#[test]
fn as_many_ranks_as_cells() {
    let model = SmallModel::new();
    let latents = model.latents(1, 12, 10, 3);
    let [whole, sharded] =
        [Cut::Whole, Cut::Sharded(12, 10)].map(|cut| plan(&model.config, size_of(&latents), cut));
    let expected = decode(&model.decoder(cpu_ranks(1, 1)), &latents, &whole);
    let got = decode_parked(&model, &latents, &sharded, 120, None);
    assert_f32_close("120 ranks", &got, &expected);
}

/// A scratch folder that is none fails the decode with one clear error.
#[test]
fn a_scratch_folder_that_is_not_there() {
    let model = SmallModel::new();
    let latents = model.latents(1, 9, 9, 1);
    let sharded = plan(&model.config, size_of(&latents), Cut::Sharded(2, 2));
    let folder = tempfile::tempdir().expect("a folder");
    let park = Some(ParkLimit { bytes: 0, scratch: folder.path().join("missing") });
    let control = Control { park, ..Control::default() };
    let decoder = model.decoder(cpu_ranks(1, 1));
    let result = decoder.decode(&latents, &sharded, &mut MemorySink::default(), &control);
    let error = result.expect_err("there is no such folder").to_string();
    assert!(error.contains("missing") && error.contains("scratch"), "{error}");
}

/// What the planner says that ranks exchange is what they send, byte for byte; each rank decodes
/// as a process of its own would.
#[test]
fn traffic_is_as_planned() {
    let model = SmallModel::new();
    let mut random = Random::new(17);
    for (rows, cols) in grids() {
        let [height, width] = [0; 2].map(|_| random.integer(8, 20));
        let latents = model.latents(1, height, width, 5);
        let plan = plan(&model.config, size_of(&latents), Cut::Sharded(rows, cols));
        let Plan::Sharded(grid) = plan else { unreachable!("it was asked for") };
        let bytes = AtomicU64::new(0);
        let ends = ThreadGroup::split(rows * cols, &Cancel::new());
        std::thread::scope(|scope| {
            for rank in ends {
                let (model, latents, plan, bytes) = (&model, &latents, &plan, &bytes);
                scope.spawn(move || {
                    let group = Counted::new(&rank);
                    let decoder = model.decoder(vec![cpu(1)]);
                    let mut sink = MemorySink::default();
                    let stitches = group.rank() == 0;
                    let sink = stitches.then_some(&mut sink as &mut dyn halovae_engine::sink::Sink);
                    let control = Control::default();
                    decoder.decode_as(&group, latents, plan, sink, &control).expect("a decode");
                    bytes.fetch_add(group.sent().bytes, Ordering::SeqCst);
                });
            }
        });
        let program = fuse(&model.program(), |_, _| true);
        let planned = Traffic::new(&program, grid, 1).expect("it can be cut");
        let what = format!("{height} x {width} in {rows} x {cols}: {planned:?}");
        assert_eq!(bytes.load(Ordering::SeqCst), planned.bytes(), "{what}");
    }
}
