//! The same values, however a video is cut.

use halovae_core::{AxisTiling, Direction, DroppedFrame, Plan, Size, TileGrid, Tiling, TimeTiling};
use halovae_cpu::CpuBackend;
use halovae_engine::checkpoint::VaeConfig;
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::program::{ReceptiveField, fold_single_frame, fuse};
use halovae_engine::shard::{ParkLimit, Traffic};
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::HostTensor;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::size_of;

use super::{
    config, decode, decoder, in_chunks, latents, looking_ahead, program, residual, shards, whole,
};

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
    let latents = super::latents(5, 6, 7);
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
        let latents = super::latents(frames + 2 * ahead, 8, 8);
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
        let alone = super::decoder(&program(), 1);
        let in_turns = decode(&alone, &latents, &plan, &control);
        assert_f32_close(&format!("{grid:?} shards in turns"), &in_turns, &expected);
        assert!(in_turns == decode(&alone, &latents, &plan, &in_chunks(2)), "{grid:?}: a limit");
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
    let three = super::latents(3, 6, 7);
    let mut sink = MemorySink::default();
    let refused = decoder(&folded, 1).decode(&three, &whole(&three), &mut sink, &in_chunks(1));
    let message = refused.expect_err("it has one frame").to_string();
    assert!(message.contains("3 frames"), "{message}");
}
