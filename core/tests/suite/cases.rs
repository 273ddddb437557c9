//! Random tilings that diffusers handles consistently, and grids of shards, small enough for brute
//! force.

use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

/// An input and a tiling that fit each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) direction: Direction,
    pub(crate) input: Size,
    pub(crate) tiling: Tiling,
}

impl Case {
    pub(crate) fn grid(&self) -> TileGrid {
        TileGrid::new(self.direction, self.input, &self.tiling).unwrap()
    }
}

fn axis_tiling(scale: u32) -> impl Strategy<Value = AxisTiling> {
    let sizes = (1u32..=12).prop_flat_map(|tile| (Just(tile), 0..tile));
    (sizes, any::<bool>())
        .prop_filter("diffusers' floats are off", move |&((tile, overlap), by_factor)| {
            !by_factor || floats_are_whole(tile, overlap, scale)
        })
        .prop_map(move |((tile, overlap), by_factor)| {
            let tile_sample_min_size = tile * scale;
            if by_factor {
                let tile_overlap_factor = f64::from(overlap) / f64::from(tile);
                AxisTiling::Overlap {
                    tile_sample_min_size,
                    tile_latent_min_size: tile,
                    tile_overlap_factor,
                }
            } else {
                let tile_sample_stride = (tile - overlap) * scale;
                AxisTiling::Stride { tile_sample_min_size, tile_sample_stride }
            }
        })
}

/// Whether what diffusers computes of the quotient is whole, on both sides of the VAE.
fn floats_are_whole(tile: u32, overlap: u32, scale: u32) -> bool {
    let factor = f64::from(overlap) / f64::from(tile);
    [1, scale].into_iter().all(|unit| {
        let whole = f64::from(tile * unit);
        let [shared, step] = [whole * factor, whole * (1.0 - factor)];
        shared as u32 == overlap * unit && step as u32 == (tile - overlap) * unit
    })
}

/// Both arithmetics, both directions, rectangular windows, any overlap, clipped last tiles.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    let direction = prop_oneof![Just(Direction::Decode), Just(Direction::Encode)];
    (direction, 1u32..=4, 1u32..=26, 1u32..=26).prop_flat_map(
        |(direction, scale, height, width)| {
            (axis_tiling(scale), axis_tiling(scale)).prop_map(move |(h, w)| {
                let per_cell = if direction == Direction::Decode { 1 } else { scale };
                let input = Size::new(height * per_cell, width * per_cell);
                Case { direction, input, tiling: Tiling { height: h, width: w, scale } }
            })
        },
    )
}

/// Any grid of shards, bands of one cell included.
pub(crate) fn shard_grid() -> impl Strategy<Value = ShardGrid> {
    (1u32..=14, 1u32..=14, 1u32..=4)
        .prop_flat_map(|(height, width, scale)| {
            (Just((Size::new(height, width), scale)), 1..=height.min(5), 1..=width.min(5))
        })
        .prop_map(|((latents, scale), rows, cols)| {
            ShardGrid::new(latents, rows, cols, scale).unwrap()
        })
}

/// Flux.1's tiling: 128 latent cells, a quarter of them shared.
pub(crate) fn flux() -> Tiling {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 1024,
        tile_latent_min_size: 128,
        tile_overlap_factor: 0.25,
    };
    Tiling { height: axis, width: axis, scale: 8 }
}

/// Wan's tiling: 256 pixels, a step of 192.
pub(crate) fn wan() -> Tiling {
    let axis = AxisTiling::Stride { tile_sample_min_size: 256, tile_sample_stride: 192 };
    Tiling { height: axis, width: axis, scale: 8 }
}
