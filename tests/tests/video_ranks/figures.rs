//! What a decode of a video sends and holds, and when its frames come.

use std::sync::atomic::{AtomicU64, Ordering};

use halovae_core::{
    AxisTiling, Direction, DroppedFrame, PatchGrid, Plan, TileGrid, Tiling, TimeTiling,
};
use halovae_cpu::CpuBackend;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::decode::{Control, Decoder, Place};
use halovae_engine::group::{Cancel, Group, ThreadGroup};
use halovae_engine::program::fuse;
use halovae_engine::shard::{ParkLimit, Traffic};
use halovae_engine::sink::{MemorySink, RowsAt, Sink};
use halovae_engine::tensor::Shape;
use halovae_engine::wrap::{Counted, Faulty};
use halovae_tests::decode::size_of;

use super::{config, decoder, in_chunks, latents, program, shards, whole};

/// What ranks send each other, pieces not counted, is what the plan says, in any chunks.
#[test]
fn traffic_is_as_planned() {
    let latents = latents(5, 4, 5);
    for (grid, chunk) in [([1, 2, 2], 1), ([1, 1, 2], 3), ([2, 1, 1], 1), ([2, 2, 1], 1)] {
        let plan = shards(&latents, grid);
        let Plan::Sharded(shards) = plan else { unreachable!("it was asked for") };
        let bytes = AtomicU64::new(0);
        let ends = ThreadGroup::split(shards.len(), &Cancel::new());
        std::thread::scope(|scope| {
            for rank in ends {
                let (latents, plan, bytes) = (&latents, &plan, &bytes);
                scope.spawn(move || {
                    let group = Counted::new(&rank);
                    let mut sink = MemorySink::default();
                    let sink = (group.rank() == 0).then_some(&mut sink as &mut dyn Sink);
                    let control = in_chunks(chunk);
                    let decoder = decoder(&program(), 1);
                    decoder.decode_as(&group, latents, plan, sink, &control).expect("a decode");
                    bytes.fetch_add(group.sent().bytes, Ordering::SeqCst);
                });
            }
        });
        let program = fuse(&program(), |_, _| true);
        let planned = Traffic::new(&program, shards, chunk).expect("it can be cut");
        let sent = bytes.load(Ordering::SeqCst);
        assert_eq!(sent, planned.bytes(), "{grid:?}, {chunk} at a time: {planned:?}");
    }
}

/// Notes how many ops had run when each frame came.
struct Early<'a> {
    backend: &'a Faulty<CpuBackend>,
    ran: Vec<u64>,
}

impl Sink for Early<'_> {
    fn begin(&mut self, _: Shape) -> std::io::Result<()> {
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, _: &[f32]) -> std::io::Result<()> {
        if at.top == 0 {
            self.ran.push(self.backend.ran());
        }
        Ok(())
    }
}

/// A rank cannot be more than some messages ahead of the stitcher, so the first frames are written
/// while the last latents wait.
#[test]
fn frames_are_written_while_later_latents_wait() {
    let backends = vec![Faulty::new(CpuBackend::new(1).expect("a thread"), None)];
    let decoder =
        Decoder::new(&program(), &RandomWeights { seed: 8 }, backends).expect("a decoder");
    let latents = latents(16, 3, 3);
    let backend = decoder.backends().next().expect("one rank");
    for plan in [whole(&latents), shards(&latents, [1, 2, 1])] {
        let before = backend.ran();
        let mut sink = Early { backend, ran: Vec::new() };
        decoder.decode(&latents, &plan, &mut sink, &in_chunks(1)).expect("a decode");
        let all = backend.ran() - before;
        assert_eq!(sink.ran.len(), 4 * 16 - 3);
        let first = sink.ran[0] - before;
        assert!(2 * first < all, "{first} of {all} ops had run for the first frame");
        assert!(sink.ran.is_sorted());
    }
}

/// Memory does not grow with the video, and is what was estimated: whole, and in shards that take turns.
#[test]
fn memory_does_not_grow_with_the_video() {
    let decoder = decoder(&program(), 1);
    let limit = |bytes| Some(ParkLimit { bytes, scratch: std::env::temp_dir() });
    let cases = [(None, None, &[5, 21, 81][..]), (Some([1, 2, 2]), limit(0), &[5, 21])];
    for (grid, park, lengths) in cases {
        let mut peaks = Vec::new();
        for &frames in lengths {
            let latents = latents(frames, 8, 8);
            let plan = grid.map_or_else(|| whole(&latents), |grid| shards(&latents, grid));
            let control = Control { park: park.clone(), ..in_chunks(1) };
            let mut sink = MemorySink::default();
            let report = decoder.decode(&latents, &plan, &mut sink, &control).expect("a decode");
            let (measured, estimated) = (report.measured_peak_bytes, report.estimated_peak_bytes);
            let place = Place::all(1);
            let again = decoder.estimate_peak_bytes(&plan, 1, place, park.as_ref(), 1);
            assert_eq!(again.expect("a plan"), estimated);
            let ratio = estimated as f64 / measured as f64;
            assert!(
                (0.85..=1.15).contains(&ratio),
                "{grid:?}, {frames}: {estimated} estimated, {measured} measured"
            );
            peaks.push(measured as f64);
            // The chunk that is chosen takes no more.
            if park.is_none() && frames < 81 {
                let chunk = decoder.choose_chunk(&plan);
                let mut sink = MemorySink::default();
                let chosen = decoder.decode(&latents, &plan, &mut sink, &in_chunks(chunk));
                let chosen = chosen.expect("a decode").measured_peak_bytes;
                assert!(
                    chosen <= measured,
                    "{frames}: {chosen} at {chunk} a time, {measured} at one"
                );
            }
        }
        let ratio = peaks[peaks.len() - 1] / peaks[0];
        assert!((0.95..=1.05).contains(&ratio), "{grid:?}: {peaks:?}");
    }
}

/// What tiles and patches of a video take is what was estimated, on one rank and on two.
#[test]
fn memory_of_pieces_is_as_estimated() {
    let latents = latents(5, 12, 13);
    let size = size_of(&latents);
    let scale = config().tiling().scale;
    let axis = AxisTiling::Stride { tile_sample_min_size: 48, tile_sample_stride: 32 };
    let tiling = Tiling::new(axis, axis, scale);
    let in_time = tiling.with_time(TimeTiling {
        tile_sample_min_num_frames: 8,
        tile_sample_stride_num_frames: 4,
        dropped: DroppedFrame::First,
    });
    let tiled =
        |tiling| Plan::tiled(TileGrid::new(Direction::Decode, size, tiling).expect("a grid"));
    let patch = Plan::patch(PatchGrid::like(size, 2, &tiling).expect("a grid"));
    for (what, plan) in [("tiles", tiled(&tiling)), ("slices", tiled(&in_time)), ("patches", patch)]
    {
        for (ranks, chunk) in [(1, 1), (2, 1), (2, u32::MAX)] {
            let mut sink = MemorySink::default();
            let decoder = decoder(&program(), ranks);
            let report = decoder.decode(&latents, &plan, &mut sink, &in_chunks(chunk));
            let report = report.expect("a decode");
            let ratio = report.estimated_peak_bytes as f64 / report.measured_peak_bytes as f64;
            assert!((0.85..=1.15).contains(&ratio), "{what}, {ranks} ranks, {chunk}: {ratio}");
        }
    }
}
