//! Random tilings that diffusers handles consistently, and grids of shards, small enough for brute
//! force.

use std::ops::Range;

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

/// Of rows or columns, with tiles of at most `most` cells.
fn axis_tiling(scale: u32, most: u32) -> impl Strategy<Value = AxisTiling> {
    let sizes = (1..=most).prop_flat_map(|tile| (Just(tile), 0..tile));
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

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Decode), Just(Direction::Encode)]
}

/// A law of time that an output can have.
pub(crate) fn time_scale() -> impl Strategy<Value = TimeScale> {
    (1u32..=3, any::<bool>()).prop_map(|(factor, even)| match even {
        true => TimeScale::even(factor),
        false => TimeScale::first_alone(factor),
    })
}

/// Tiles of frames whose overlap may be deeper than one tile.
fn time_tiling(factor: u32) -> impl Strategy<Value = TimeTiling> {
    let sizes = (1u32..=5).prop_flat_map(|tile| (Just(tile), 0..tile));
    (sizes, any::<bool>()).prop_map(move |((tile, overlap), first)| TimeTiling {
        tile_sample_min_num_frames: tile * factor,
        tile_sample_stride_num_frames: (tile - overlap) * factor,
        dropped: if first { DroppedFrame::First } else { DroppedFrame::Last },
    })
}

/// Videos, most of them with tiles of frames.
pub(crate) fn video() -> impl Strategy<Value = Case> {
    let latents = (1u32..=10, 1u32..=7, 1u32..=7);
    (direction(), time_scale(), 1u32..=2, latents)
        .prop_flat_map(|(direction, time, space, latents)| {
            let spatial = || {
                prop_oneof![
                    4 => axis_tiling(space, 4),
                    1 => Just(AxisTiling::Whole),
                ]
            };
            let tiles = time.law == TimeLaw::FirstAlone || time.factor == 1;
            let in_time = prop::option::weighted(0.9, time_tiling(time.factor))
                .prop_map(move |in_time| in_time.filter(|_| tiles));
            let scale = Scale::video(time, space);
            (Just((direction, scale, latents)), spatial(), spatial(), in_time)
        })
        .prop_map(|((direction, scale, (frames, height, width)), h, w, time)| {
            let latents = Size::video(frames, height, width);
            let input = match direction {
                Direction::Decode => latents,
                Direction::Encode => scale.layer(latents).unwrap(),
            };
            let tiling = Tiling::new(h, w, scale);
            let tiling = time.map_or(tiling, |time| tiling.with_time(time));
            Case { direction, input, tiling }
        })
}

/// Images and videos.
pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    prop_oneof![case(), video()]
}

/// Both arithmetics, both directions, rectangular windows, any overlap, clipped last tiles.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    (direction(), 1u32..=4, 1u32..=26, 1u32..=26).prop_flat_map(
        |(direction, scale, height, width)| {
            (axis_tiling(scale, 12), axis_tiling(scale, 12)).prop_map(move |(h, w)| {
                let per_cell = if direction == Direction::Decode { 1 } else { scale };
                let input = Size::new(height * per_cell, width * per_cell);
                Case { direction, input, tiling: Tiling::new(h, w, scale) }
            })
        },
    )
}

/// Any grid of shards of a video, bands of one cell included.
pub(crate) fn video_shards() -> impl Strategy<Value = ShardGrid> {
    (1u32..=9, 1u32..=6, 1u32..=6, time_scale(), 1u32..=3)
        .prop_flat_map(|(frames, height, width, time, space)| {
            let shards = (1..=frames.min(5), 1..=height.min(4), 1..=width.min(4));
            (Just((Size::video(frames, height, width), Scale::video(time, space))), shards)
        })
        .prop_map(|((latents, scale), (slices, rows, cols))| {
            ShardGrid::of(latents, Axes::new(slices, rows, cols), scale).unwrap()
        })
}

/// Grids of images and of videos.
pub(crate) fn any_shards() -> impl Strategy<Value = ShardGrid> {
    prop_oneof![shard_grid(), video_shards()]
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

/// The bands of `extent` latent cells, as the documentation has them.
pub(crate) fn bands(extent: u32, count: u32) -> Vec<Range<u32>> {
    (0..count).map(|k| k * extent / count..(k + 1) * extent / count).collect()
}

pub(crate) fn margins(most: u32) -> impl Strategy<Value = Margins> {
    let side = || 0..=most;
    [side(), side(), side(), side(), side(), side()].prop_map(
        |[past, future, top, bottom, left, right]| Margins {
            past,
            future,
            top,
            bottom,
            left,
            right,
        },
    )
}

/// Of any layer, those that begin behind the first frame included, and those without any other one.
pub(crate) fn layer_scale() -> impl Strategy<Value = Scale> {
    let law =
        prop_oneof![Just(TimeLaw::Even), Just(TimeLaw::FirstAlone), Just(TimeLaw::AfterFirst)];
    (0u32..=3, law, 1u32..=4)
        .prop_map(|(factor, law, space)| Scale::video(TimeScale { factor, law }, space))
}

pub(crate) fn layers() -> impl Strategy<Value = Vec<LayerHalo>> {
    let layer = (layer_scale(), margins(5), 0u64..9)
        .prop_map(|(scale, reach, bytes_per_cell)| LayerHalo { scale, reach, bytes_per_cell });
    prop::collection::vec(layer, 0..4)
}

/// A conv that keeps extents in proportion.
pub(crate) fn conv() -> impl Strategy<Value = Window> {
    (1u32..=7, 1u32..=2, 1u32..=3)
        .prop_flat_map(|(kernel, stride, upsample)| {
            let padding = kernel.saturating_sub(stride)..kernel;
            (Just((kernel, stride, upsample)), padding)
        })
        .prop_flat_map(|(numbers, padding)| (Just((numbers, padding)), 0..=padding))
        .prop_map(|(((kernel, stride, repeat), padding), before)| Window {
            kernel,
            stride,
            before,
            behind: padding - before,
            repeat,
            ..Window::POINT
        })
}

/// Flux.1's tiling: 128 latent cells, a quarter of them shared.
pub(crate) fn flux() -> Tiling {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 1024,
        tile_latent_min_size: 128,
        tile_overlap_factor: 0.25,
    };
    Tiling::new(axis, axis, 8)
}

/// Wan's tiling: 256 pixels, a step of 192.
pub(crate) fn wan() -> Tiling {
    let axis = AxisTiling::Stride { tile_sample_min_size: 256, tile_sample_stride: 192 };
    Tiling::new(axis, axis, 8)
}

/// HunyuanVideo's tiling: Wan's in space; 16 frames and the one before, a step of 12.
pub(crate) fn hunyuan() -> Tiling {
    let axis = AxisTiling::Stride { tile_sample_min_size: 256, tile_sample_stride: 192 };
    Tiling::new(axis, axis, Scale::video(TimeScale::first_alone(4), 8)).with_time(TimeTiling {
        tile_sample_min_num_frames: 16,
        tile_sample_stride_num_frames: 12,
        dropped: DroppedFrame::First,
    })
}
