//! The stitcher against diffusers' in-place blend, and schedules.

use std::convert::Infallible;

use halovae_core::{
    AxisTiling, Direction, DroppedFrame, PatchGrid, Plan, Scale, Size, TileGrid, Tiling, TimeScale,
    TimeTiling,
};
use halovae_engine::conformance::Random;
use halovae_engine::schedule::Schedule;
use halovae_engine::sink::{MemorySink, Sink};
use halovae_engine::stitch::{PiecePart, stitch_image};
use halovae_engine::tensor::Shape;
use proptest::prelude::*;

const CHANNELS: usize = 2;

fn random_pieces(plan: &Plan, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    plan.pieces()
        .map(|piece| {
            let len = piece.keep.volume() as usize * CHANNELS;
            (0..len).map(|_| random.uniform(-1.0, 1.0)).collect()
        })
        .collect()
}

fn stitch(plan: &Plan, pieces: &[Vec<f32>]) -> Vec<f32> {
    stitch_in_parts(plan, pieces, u32::MAX)
}

/// The same from parts of at most `most` frames.
fn stitch_in_parts(plan: &Plan, pieces: &[Vec<f32>], most: u32) -> Vec<f32> {
    let mut sink = MemorySink::default();
    let output = plan.output();
    sink.begin(Shape::sample(output, CHANNELS)).expect("small");
    let parts: Vec<PiecePart> = plan
        .pieces()
        .flat_map(|piece| {
            let frames = piece.keep.frames;
            (0..frames).step_by(most.min(frames) as usize).map(move |first| PiecePart {
                piece: piece.index,
                frames: first..(first.saturating_add(most)).min(frames),
            })
        })
        .collect();
    let mut asked = Vec::new();
    let mut rows = 0;
    stitch_image::<Infallible>(
        plan,
        CHANNELS,
        0,
        parts.iter().cloned(),
        &mut sink,
        |part| {
            asked.push(part.clone());
            let keep = plan.piece(part.piece).expect("a piece of the plan").keep;
            let frame = keep.area() as usize * CHANNELS;
            let frames = part.frames.start as usize * frame..part.frames.end as usize * frame;
            Ok(pieces[part.piece as usize][frames].to_vec())
        },
        |done| rows += done,
    )
    .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(asked, parts, "every part is fetched once and in order, so that no sender waits");
    assert_eq!(rows, u64::from(output.frames) * u64::from(output.height));
    sink.into_picture().expect("begun").into_data()
}

/// One decoded tile: frames of rows of pixels of channels.
type Tile = Vec<Vec<Vec<[f64; CHANNELS]>>>;

/// What diffusers calls blend extents and limits, in time, height and width.
#[derive(Clone, Copy)]
struct Stitching {
    extents: [usize; 3],
    limits: [usize; 3],
}

/// `blend_t`, `blend_v` and `blend_h`: the first frames, rows or columns of `tile` become a mixture
/// with the last ones of `before`, in place.
fn blend(before: &Tile, tile: &mut Tile, axis: usize, extent: usize) {
    let extents = |tile: &Tile| [tile.len(), tile[0].len(), tile[0][0].len()];
    let (old, new) = (extents(before), extents(tile));
    let extent = old[axis].min(new[axis]).min(extent);
    let mut end = new;
    end[axis] = extent;
    for (t, frame) in tile.iter_mut().enumerate().take(end[0]) {
        for (y, row) in frame.iter_mut().enumerate().take(end[1]) {
            for (x, pixel) in row.iter_mut().enumerate().take(end[2]) {
                let mut from = [t, y, x];
                let weight = from[axis] as f64 / extent as f64;
                from[axis] += old[axis] - extent;
                let other = before[from[0]][from[1]][from[2]];
                for (value, old) in pixel.iter_mut().zip(other) {
                    *value = old * (1.0 - weight) + *value * weight;
                }
            }
        }
    }
}

/// diffusers' loops, literally: the tiles of some frames are blended with the one above, then with
/// the left one, in place, and cropped; what they become is blended with what those before it
/// became, and cropped.
fn diffusers_blend(grid: &TileGrid, pieces: &[Vec<f32>], stitching: Stitching) -> Vec<f64> {
    let [slices, rows, columns] = [grid.slices(), grid.rows(), grid.cols()].map(|n| n as usize);
    let Stitching { extents, limits } = stitching;
    let decoded = |slice: usize, row: usize, column: usize| -> Tile {
        let index = (slice * rows + row) * columns + column;
        let size = grid.tile(index as u64).expect("a tile of the grid").keep.size();
        let mut pixels =
            pieces[index].chunks_exact(CHANNELS).map(|p| [f64::from(p[0]), f64::from(p[1])]);
        let [frames, height, width] = [size.frames, size.height, size.width];
        let mut row = || (0..width).map(|_| pixels.next().expect("all pixels")).collect();
        (0..frames).map(|_| (0..height).map(|_| row()).collect()).collect()
    };
    // `tiled_decode` of some frames.
    let spatial = |slice: usize| -> Tile {
        let mut tiles: Vec<Vec<Tile>> =
            (0..rows).map(|i| (0..columns).map(|j| decoded(slice, i, j)).collect()).collect();
        let frames = tiles[0][0].len();
        let mut video: Tile = vec![Vec::new(); frames];
        for i in 0..rows {
            let mut strip: Tile = Vec::new();
            for j in 0..columns {
                let mut tile = std::mem::take(&mut tiles[i][j]);
                if i > 0 {
                    blend(&tiles[i - 1][j], &mut tile, 1, extents[1]);
                }
                if j > 0 {
                    blend(&tiles[i][j - 1], &mut tile, 2, extents[2]);
                }
                strip.resize(frames, vec![Vec::new(); tile[0].len().min(limits[1])]);
                for (frame, of_tile) in strip.iter_mut().zip(&tile) {
                    for (row, of_tile) in frame.iter_mut().zip(of_tile) {
                        row.extend(of_tile.iter().take(limits[2]));
                    }
                }
                tiles[i][j] = tile;
            }
            for (frame, rows) in video.iter_mut().zip(strip) {
                frame.extend(rows);
            }
        }
        video
    };
    // `_temporal_tiled_decode`: the first tile has the frame before, which others have dropped.
    let mut before: Option<Tile> = None;
    let mut video: Tile = Vec::new();
    for slice in 0..slices {
        let mut tile = spatial(slice);
        if let Some(before) = &before {
            blend(before, &mut tile, 0, extents[0]);
        }
        let limit = limits[0].saturating_add(usize::from(slice == 0));
        video.extend(tile.iter().take(limit).cloned());
        before = Some(tile);
    }
    let output = grid.output();
    let frames = video.into_iter().take(output.frames as usize);
    frames.flatten().flatten().flatten().collect()
}

/// Tiles of so many latent cells, so many apart.
fn axis(tile: u32, stride: u32, scale: u32) -> AxisTiling {
    AxisTiling::Stride { tile_sample_min_size: tile * scale, tile_sample_stride: stride * scale }
}

/// By an extent and a limit of each axis.
fn stitching(time: (u32, u32), height: (u32, u32), width: (u32, u32)) -> Stitching {
    let axes = [time, height, width];
    Stitching {
        extents: axes.map(|(extent, _)| extent as usize),
        limits: axes.map(|(_, limit)| limit as usize),
    }
}

fn agree(got: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len());
    for (at, (g, e)) in got.iter().zip(expected).enumerate() {
        prop_assert!((f64::from(*g) - e).abs() < 1e-5, "value {}: {} {}", at, g, e);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn tiles_blend_as_in_diffusers(
        height in 1u32..30, width in 1u32..30, seed: u64,
        tile in prop::array::uniform2(2u32..7), stride in prop::array::uniform2(1u32..7),
        scale in 1u32..4,
    ) {
        let stride = [stride[0].min(tile[0]), stride[1].min(tile[1])];
        let grid = TileGrid::new(
            Direction::Decode,
            Size::new(height, width),
            &Tiling::new(axis(tile[0], stride[0], scale), axis(tile[1], stride[1], scale), scale),
        )
        .expect("a consistent tiling");
        let plan = Plan::tiled(grid);
        let pieces = random_pieces(&plan, seed);
        let along = |i: usize| ((tile[i] - stride[i]) * scale, stride[i] * scale);
        let expected = diffusers_blend(&grid, &pieces, stitching((0, 1), along(0), along(1)));
        agree(&stitch(&plan, &pieces), &expected)?;
    }

    #[test]
    fn tiles_of_frames_blend_as_in_diffusers(
        frames in 1u32..24, sides in prop::array::uniform2(1u32..9), seed: u64,
        tile in prop::array::uniform3(2u32..6), stride in prop::array::uniform3(1u32..6),
        scale in 1u32..3, time in 1u32..5, first: bool, most in 1u32..20,
    ) {
        let stride = [0, 1, 2].map(|i: usize| stride[i].min(tile[i]));
        let dropped = if first { DroppedFrame::First } else { DroppedFrame::Last };
        let tiling = Tiling::new(
            axis(tile[1], stride[1], scale),
            axis(tile[2], stride[2], scale),
            Scale::video(TimeScale::first_alone(time), scale),
        )
        .with_time(TimeTiling {
            tile_sample_min_num_frames: tile[0] * time,
            tile_sample_stride_num_frames: stride[0] * time,
            dropped,
        });
        let latents = Size::video(frames, sides[0], sides[1]);
        let grid = TileGrid::new(Direction::Decode, latents, &tiling).expect("a consistent tiling");
        let plan = Plan::tiled(grid);
        let pieces = random_pieces(&plan, seed);
        let along = |i: usize, scale| ((tile[i] - stride[i]) * scale, stride[i] * scale);
        // A video that is not cut in time has all of its frames.
        let in_time = if grid.slices() > 1 { along(0, time) } else { (0, u32::MAX) };
        // Frames no larger than a tile are not cut where the video is cut in time.
        let is_cut = !grid.time().triggers() || grid.height().triggers() || grid.width().triggers();
        let in_space = |i| if is_cut { along(i, scale) } else { (0, u32::MAX) };
        let expected =
            diffusers_blend(&grid, &pieces, stitching(in_time, in_space(1), in_space(2)));
        agree(&stitch_in_parts(&plan, &pieces, most), &expected)?;
    }

    #[test]
    fn patches_are_laid_side_by_side(
        height in 1u32..20, width in 1u32..20, ranks in 1u32..9, scale in 1u32..4, seed: u64,
    ) {
        let latents = Size::new(height, width);
        let tile = Size::new(8, 8);
        let plan = Plan::patch(PatchGrid::new(latents, ranks, tile, [0.25; 2], scale).expect("sound"));
        let pieces = random_pieces(&plan, seed);
        let got = stitch(&plan, &pieces);
        let row = plan.output().width as usize * CHANNELS;
        for (piece, data) in plan.pieces().zip(&pieces) {
            let width = piece.output.width as usize * CHANNELS;
            for (y, expected) in data.chunks_exact(width).enumerate() {
                let at = (piece.output.top as usize + y) * row + piece.output.left as usize * CHANNELS;
                prop_assert_eq!(&got[at..at + width], expected);
            }
        }
    }

    #[test]
    fn every_item_has_one_owner_and_patches_their_own(
        height in 1u32..40, width in 1u32..40, ranks in 1u32..7, images in 1u32..4, patch: bool,
    ) {
        let latents = Size::new(height, width);
        let axis = AxisTiling::Stride { tile_sample_min_size: 8, tile_sample_stride: 6 };
        let tiling = Tiling::new(axis, axis, 1);
        let plan = if patch {
            let tile = Size::new(8, 8);
            Plan::patch(PatchGrid::new(latents, ranks, tile, [0.25; 2], 1).expect("sound"))
        } else {
            Plan::tiled(TileGrid::new(Direction::Decode, latents, &tiling).expect("sound"))
        };
        let schedule = Schedule::new(&plan, images, ranks).expect("there are ranks");
        prop_assert_eq!(schedule.items().len() as u64, plan.piece_count() * u64::from(images));
        let mut owned: Vec<_> = (0..ranks).flat_map(|rank| schedule.items_of(rank)).collect();
        for rank in 0..ranks {
            let items: Vec<_> = schedule.items_of(rank).map(|item| item.index).collect();
            prop_assert!(items.is_sorted(), "a rank sends its pieces in the order of their index");
        }
        owned.sort_by_key(|item| item.index);
        prop_assert_eq!(&owned[..], schedule.items());
        for (image, piece) in (0..images).flat_map(|i| plan.pieces().map(move |p| (i, p))) {
            let item = schedule.item(image, piece.index);
            prop_assert_eq!((item.image, item.piece), (image, piece.index));
            prop_assert_eq!(item.window, piece.input.size());
        }
        if patch && images == 1 {
            let owners: Vec<_> = schedule.items().iter().map(|item| item.owner).collect();
            prop_assert!(owners.is_sorted_by(|a, b| a < b), "one patch a rank: {:?}", owners);
        }
    }
}
