//! The stitcher against diffusers' in-place blend, and schedules.

use std::convert::Infallible;

use halovae_core::{AxisTiling, Direction, PatchGrid, Plan, Size, TileGrid, Tiling};
use halovae_engine::conformance::Random;
use halovae_engine::schedule::Schedule;
use halovae_engine::sink::{MemorySink, Sink};
use halovae_engine::stitch::{PiecePart, stitch_image};
use halovae_engine::tensor::Shape;
use proptest::prelude::*;

const CHANNELS: usize = 2;

/// One decoded tile: rows of pixels of channels.
type Tile = Vec<Vec<[f64; CHANNELS]>>;

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

/// diffusers' loop, literally: blend with the tile above, then with the left one, in place, crop.
fn diffusers_blend(
    grid: &TileGrid,
    pieces: &[Vec<f32>],
    extents: [u32; 2],
    limits: [u32; 2],
) -> Vec<f64> {
    let (rows, columns) = (grid.rows() as usize, grid.cols() as usize);
    let mut tiles: Vec<Vec<Tile>> = Vec::new();
    for i in 0..rows {
        tiles.push(Vec::new());
        for j in 0..columns {
            let index = i * columns + j;
            let tile = grid.tile(index as u64).expect("a tile of the grid");
            let width = tile.output.width as usize;
            let pixel = |p: &[f32]| [f64::from(p[0]), f64::from(p[1])];
            let data: Vec<_> = pieces[index].chunks_exact(CHANNELS).map(pixel).collect();
            tiles[i].push(data.chunks_exact(width).map(<[_]>::to_vec).collect());
        }
    }
    let output = grid.output();
    let mut image = vec![0.0; output.area() as usize * CHANNELS];
    for i in 0..rows {
        for j in 0..columns {
            if i > 0 {
                let above = tiles[i - 1][j].clone();
                let tile = &mut tiles[i][j];
                let ext = above.len().min(tile.len()).min(extents[0] as usize);
                for y in 0..ext {
                    let w = y as f64 / ext as f64;
                    for x in 0..tile[y].len() {
                        for c in 0..CHANNELS {
                            let old = above[above.len() - ext + y][x][c];
                            tile[y][x][c] = old * (1.0 - w) + tile[y][x][c] * w;
                        }
                    }
                }
            }
            if j > 0 {
                let left = tiles[i][j - 1].clone();
                let tile = &mut tiles[i][j];
                let ext = left[0].len().min(tile[0].len()).min(extents[1] as usize);
                for y in 0..tile.len() {
                    for x in 0..ext {
                        let w = x as f64 / ext as f64;
                        for c in 0..CHANNELS {
                            let old = left[y][left[y].len() - ext + x][c];
                            tile[y][x][c] = old * (1.0 - w) + tile[y][x][c] * w;
                        }
                    }
                }
            }
            let tile = &tiles[i][j];
            for (y, row) in tile.iter().enumerate().take(limits[0] as usize) {
                for (x, pixel) in row.iter().enumerate().take(limits[1] as usize) {
                    let top = i * limits[0] as usize + y;
                    let left = j * limits[1] as usize + x;
                    let at = (top * output.width as usize + left) * CHANNELS;
                    image[at..at + CHANNELS].copy_from_slice(pixel);
                }
            }
        }
    }
    image
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
        let axis = |i: usize| AxisTiling::Stride {
            tile_sample_min_size: tile[i] * scale,
            tile_sample_stride: stride[i] * scale,
        };
        let tiling = Tiling::new(axis(0), axis(1), scale);
        let grid = TileGrid::new(Direction::Decode, Size::new(height, width), &tiling)
            .expect("a consistent tiling");
        let plan = Plan::tiled(grid);
        let pieces = random_pieces(&plan, seed);
        let extents = [0, 1].map(|i| (tile[i] - stride[i]) * scale);
        let limits = [0, 1].map(|i| stride[i] * scale);
        let expected = diffusers_blend(&grid, &pieces, extents, limits);
        let got = stitch(&plan, &pieces);
        prop_assert_eq!(got.len(), expected.len());
        for (at, (g, e)) in got.iter().zip(&expected).enumerate() {
            prop_assert!((f64::from(*g) - e).abs() < 1e-5, "value {}: {} {}", at, g, e);
        }
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
