//! Videos on the CPU: in chunks, tiles and shards, on one rank and on several, against each other.

use std::sync::atomic::{AtomicU64, Ordering};

use halovae_core::{
    Axes, AxisTiling, Direction, DroppedFrame, PatchGrid, Plan, ShardGrid, Size, TileGrid, Tiling,
    TimeTiling,
};
use halovae_cpu::CpuBackend;
use halovae_engine::checkpoint::{VaeConfig, parse_config};
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::decode::{Control, Decoder, Place};
use halovae_engine::group::{Cancel, Group, ThreadGroup};
use halovae_engine::program::{Program, ReceptiveField, fold_single_frame, fuse};
use halovae_engine::shard::{ParkLimit, Traffic};
use halovae_engine::sink::{MemorySink, RowsAt, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Counted, Faulty};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::{cpu_ranks, size_of};
use serde_json::json;

const Z_DIM: usize = 4;

fn config() -> Box<dyn VaeConfig> {
    let config = json!({
        "_class_name": "AutoencoderKLWan", "base_dim": 16, "z_dim": Z_DIM,
        "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1, "temperal_downsample": [false, true, true],
        "latents_mean": vec![0.0; Z_DIM], "latents_std": vec![1.0; Z_DIM],
    });
    parse_config(config.to_string().as_bytes()).expect("a sound config")
}

fn program() -> Program {
    config().decoder().expect("a decoder")
}

/// A decoder whose levels have shortcuts around them, and whose pixels lie in channels.
fn residual() -> Box<dyn VaeConfig> {
    let config = json!({
        "_class_name": "AutoencoderKLWan", "base_dim": 16, "z_dim": Z_DIM, "is_residual": true,
        "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [true, true],
        "patch_size": 2, "out_channels": 12, "in_channels": 12, "scale_factor_spatial": 8,
        "latents_mean": vec![0.0; Z_DIM], "latents_std": vec![1.0; Z_DIM],
    });
    parse_config(config.to_string().as_bytes()).expect("a sound config")
}

/// A decoder that looks ahead, with reflections beside rows and columns, and shortcuts of repeated
/// channels.
fn looking_ahead() -> Box<dyn VaeConfig> {
    let config = json!({
        "_class_name": "AutoencoderKLLTX2Video", "latent_channels": Z_DIM, "patch_size": 2,
        "decoder_block_out_channels": [16, 32], "decoder_layers_per_block": [1, 1, 1],
        "decoder_spatio_temporal_scaling": [true, true], "decoder_causal": false,
        "upsample_type": ["spatiotemporal", "spatiotemporal"],
        "upsample_residual": [true, true], "upsample_factor": [2, 2],
    });
    parse_config(config.to_string().as_bytes()).expect("a sound config")
}

#[test]
fn shortcuts_around_levels_stream() {
    streams(&*residual());
}

#[test]
fn decoders_that_look_ahead_stream() {
    streams(&*looking_ahead());
}

/// Chunks and shards give the same bytes, ranks send each other what is planned, and memory is what was
/// estimated, whatever the video's length.
fn streams(of: &dyn VaeConfig) {
    let program = of.decoder().expect("a decoder");
    assert_eq!(of.tiling().scale, config().tiling().scale);
    let on = |ranks| decoder(&program, ranks);
    let latents = self::latents(5, 6, 7);
    let expected = decode(&on(1), &latents, &whole(&latents), &in_chunks(u32::MAX));
    assert_eq!(expected.shape().size(), Size::video(17, 48, 56));
    for chunk in [1, 2, 3] {
        let got = decode(&on(1), &latents, &whole(&latents), &in_chunks(chunk));
        assert!(got == expected, "{chunk} at a time");
    }
    for (grid, ranks) in [([1, 2, 2], 3), ([2, 1, 2], 2), ([2, 1, 1], 2)] {
        let plan = shards(&latents, grid);
        let got = decode(&on(ranks), &latents, &plan, &in_chunks(1));
        assert_f32_close(&format!("{grid:?} shards"), &got, &expected);
        let all = decode(&on(ranks), &latents, &plan, &in_chunks(u32::MAX));
        assert!(all == got, "{grid:?} shards, all frames at a time");
        let Plan::Sharded(grid) = plan else { unreachable!("it was asked for") };
        let fused = fuse(&program, |_, _| true);
        assert!(Traffic::new(&fused, grid, 1).expect("it can be cut").bytes() > 0);
    }
    // Of a video that is longer than what a frame waits for.
    let ahead = ReceptiveField::new(&program).frames[1] as usize;
    let peaks = [5, 21].map(|frames| {
        let latents = self::latents(frames + 2 * ahead, 8, 8);
        let mut sink = MemorySink::default();
        let report = on(1).decode(&latents, &whole(&latents), &mut sink, &in_chunks(1));
        let report = report.expect("a decode");
        let [estimated, measured] =
            [report.estimated_peak_bytes, report.measured_peak_bytes].map(|bytes| bytes as f64);
        let ratio = estimated / measured;
        assert!((0.85..=1.15).contains(&ratio), "{frames}: {estimated} of {measured}");
        measured
    });
    assert!((0.95..=1.05).contains(&(peaks[1] / peaks[0])), "{peaks:?}");
}

fn decoder(program: &Program, ranks: u32) -> Decoder<CpuBackend> {
    Decoder::new(program, &RandomWeights { seed: 8 }, cpu_ranks(ranks, 1)).expect("a decoder")
}

fn latents(frames: usize, height: usize, width: usize) -> HostTensor {
    let shape = Shape::new(1, height, width, Z_DIM).over(frames);
    let mut random = Random::new(frames as u64);
    let data = (0..shape.elements().expect("small")).map(|_| random.uniform(-2.0, 2.0)).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

fn whole(latents: &HostTensor) -> Plan {
    Plan::whole(size_of(latents), config().tiling().scale).expect("a plan")
}

fn decode(
    decoder: &Decoder<CpuBackend>,
    latents: &HostTensor,
    plan: &Plan,
    control: &Control<'_>,
) -> HostTensor {
    let mut sink = MemorySink::default();
    decoder.decode(latents, plan, &mut sink, control).expect("a decode");
    sink.into_picture().expect("a picture")
}

fn in_chunks(chunk: u32) -> Control<'static> {
    Control { chunk, ..Control::default() }
}

#[test]
fn chunks_and_frames_at_once_give_the_same_bytes() {
    let decoder = decoder(&program(), 1);
    for frames in 1..=5 {
        let latents = latents(frames, 5, 6);
        let plan = whole(&latents);
        let expected = decode(&decoder, &latents, &plan, &in_chunks(u32::MAX));
        assert_eq!(expected.shape().size(), Size::video(4 * frames as u32 - 3, 40, 48));
        for chunk in [1, 2, 3] {
            let got = decode(&decoder, &latents, &plan, &in_chunks(chunk));
            assert!(got == expected, "{frames} frames, {chunk} at a time");
        }
        // The first frames are those of a shorter video: nothing looks ahead.
        let shorter = latents.crop(0, size_of(&latents).at_origin().over(0, 1)).expect("a crop");
        let first = decode(&decoder, &shorter, &whole(&shorter), &in_chunks(1));
        assert_eq!(first.data(), &expected.data()[..first.data().len()]);
    }
}

#[test]
fn tiles_give_the_same_bytes_on_any_ranks() {
    let latents = latents(3, 9, 11);
    let axis = AxisTiling::Stride { tile_sample_min_size: 48, tile_sample_stride: 32 };
    let tiling = Tiling::new(axis, axis, config().tiling().scale);
    let grid = TileGrid::new(Direction::Decode, size_of(&latents), &tiling).expect("a grid");
    let plan = Plan::tiled(grid);
    let expected = decode(&decoder(&program(), 1), &latents, &plan, &in_chunks(u32::MAX));
    for (ranks, chunk) in [(1, 1), (2, 2), (3, 1)] {
        let got = decode(&decoder(&program(), ranks), &latents, &plan, &in_chunks(chunk));
        assert!(got == expected, "{ranks} ranks, {chunk} frames at a time");
    }
}

/// Frames of latents that a tile begins at, decoded alone, as values of frames.
fn decode_frames(
    decoder: &Decoder<CpuBackend>,
    latents: &HostTensor,
    first: u32,
    frames: u32,
) -> Vec<Vec<f32>> {
    let part = latents.crop(0, size_of(latents).at_origin().over(first, frames)).expect("a crop");
    let video = decode(decoder, &part, &whole(&part), &in_chunks(u32::MAX));
    let frame = video.data().len() / video.shape().frames;
    video.data().chunks_exact(frame).map(<[f32]>::to_vec).collect()
}

/// Each tile of frames is a decode of its own, with a first frame of its own, as in
/// `_temporal_tiled_decode` of diffusers' AutoencoderKLHunyuanVideo.
#[test]
fn tiles_of_frames_are_decodes_that_are_blended() {
    const TILE: u32 = 2;
    const STRIDE: u32 = 1;
    const FACTOR: u32 = 4;
    let (frames, program) = (6u32, program());
    let latents = latents(frames as usize, 4, 5);
    let alone = decoder(&program, 1);
    let mut expected: Vec<Vec<f32>> = Vec::new();
    let mut before: Option<Vec<Vec<f32>>> = None;
    for first in (0..frames).step_by(STRIDE as usize) {
        let mut tile = decode_frames(&alone, &latents, first, (TILE + 1).min(frames - first));
        if let Some(before) = &before {
            tile.remove(0);
            let extent = before.len().min(tile.len()).min(((TILE - STRIDE) * FACTOR) as usize);
            for (at, new) in tile.iter_mut().take(extent).enumerate() {
                let weight = at as f32 / extent as f32;
                let old = &before[before.len() - extent + at];
                new.iter_mut().zip(old).for_each(|(n, o)| *n = o * (1.0 - weight) + *n * weight);
            }
        }
        let kept = (STRIDE * FACTOR) as usize + usize::from(before.is_none());
        expected.extend(tile.iter().take(kept).cloned());
        before = Some(tile);
    }
    expected.truncate((FACTOR * (frames - 1) + 1) as usize);

    let whole = AxisTiling::Whole;
    let tiling = Tiling::new(whole, whole, config().tiling().scale).with_time(TimeTiling {
        tile_sample_min_num_frames: TILE * FACTOR,
        tile_sample_stride_num_frames: STRIDE * FACTOR,
        dropped: DroppedFrame::First,
    });
    let grid = TileGrid::new(Direction::Decode, size_of(&latents), &tiling).expect("a grid");
    let plan = Plan::tiled(grid);
    // Of a tile of the last frame alone, which is dropped, nothing would be left.
    assert_eq!(plan.piece_count(), 5);
    let got = decode(&alone, &latents, &plan, &in_chunks(u32::MAX));
    let expected = HostTensor::new(got.shape(), expected.concat()).expect("as many values");
    assert_f32_close("tiles of frames", &got, &expected);
    for (ranks, chunk) in [(1, 1), (2, 2), (3, 1)] {
        let other = decode(&decoder(&program, ranks), &latents, &plan, &in_chunks(chunk));
        assert!(other == got, "{ranks} ranks, {chunk} frames at a time");
    }
}

fn shards(latents: &HostTensor, [slices, rows, cols]: [u32; 3]) -> Plan {
    let shards = Axes::new(slices, rows, cols);
    let grid = ShardGrid::of(size_of(latents), shards, config().tiling().scale);
    Plan::sharded(grid.expect("a grid"))
}

#[test]
fn shards_of_a_video_equal_the_whole() {
    let latents = latents(5, 9, 10);
    let expected = decode(&decoder(&program(), 1), &latents, &whole(&latents), &Control::default());
    let grids = [([1, 1, 2], 2), ([1, 2, 2], 4), ([1, 3, 2], 2), ([2, 1, 1], 2), ([2, 2, 2], 3)];
    for (grid, ranks) in grids {
        let plan = shards(&latents, grid);
        let decoder = decoder(&program(), ranks);
        let got = decode(&decoder, &latents, &plan, &in_chunks(1));
        assert_f32_close(&format!("{grid:?} shards on {ranks} ranks"), &got, &expected);
        for chunk in [2, u32::MAX] {
            let other = decode(&decoder, &latents, &plan, &in_chunks(chunk));
            assert!(other == got, "{grid:?} shards, {chunk} frames at a time");
        }
        // In turns, values and what is kept of them waiting in a file.
        let park = Some(ParkLimit { bytes: 0, scratch: std::env::temp_dir() });
        let control = Control { park, ..in_chunks(2) };
        let alone = self::decoder(&program(), 1);
        let in_turns = decode(&alone, &latents, &plan, &control);
        assert_f32_close(&format!("{grid:?} shards in turns"), &in_turns, &expected);
        assert!(in_turns == decode(&alone, &latents, &plan, &in_chunks(2)), "{grid:?}: a limit");
    }
}

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

/// Of slices each has fewer frames than its convs look back: it is said, not decoded.
#[test]
fn a_slice_needs_the_frames_that_the_next_one_reads() {
    let latents = latents(5, 3, 3);
    let mut sink = MemorySink::default();
    let plan = shards(&latents, [5, 1, 1]);
    let refused = decoder(&program(), 1).decode(&latents, &plan, &mut sink, &Control::default());
    let message = refused.expect_err("slices of a frame").to_string();
    assert!(message.contains("use fewer slices"), "{message}");
}

/// An image decodes to the same through the program that is folded for it.
#[test]
fn a_folded_program_decodes_images() {
    let latents = latents(1, 6, 7);
    let plan = whole(&latents);
    let folded = fold_single_frame(&program());
    let expected = decode(&decoder(&program(), 1), &latents, &plan, &Control::default());
    let got = decode(&decoder(&folded, 1), &latents, &plan, &Control::default());
    assert_f32_close("folded", &got, &expected);
    let three = self::latents(3, 6, 7);
    let mut sink = MemorySink::default();
    let refused = decoder(&folded, 1).decode(&three, &whole(&three), &mut sink, &in_chunks(1));
    let message = refused.expect_err("it has one frame").to_string();
    assert!(message.contains("3 frames"), "{message}");
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
