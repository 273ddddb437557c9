//! A literal transcription of diffusers' tiled loops, on made-up decoded tiles: images are nested
//! vectors, blending is in place, and nothing is shared with the planner.

use crate::cases::Case;
use halovae_core::{AxisTiling, Direction};

type Image = Vec<Vec<f64>>;

/// The numbers of one axis, as diffusers computes them before its loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loop {
    /// Length of a tile in the input.
    pub(crate) tile: usize,
    /// Step of the loop over the input.
    pub(crate) step: usize,
    pub(crate) blend_extent: usize,
    pub(crate) row_limit: usize,
}

/// `int(...)` and `//` as in `tiled_decode` and `tiled_encode` of the two kinds of classes.
pub(crate) fn axis_loop(direction: Direction, tiling: &AxisTiling, ratio: u32) -> Loop {
    let int = |x: f64| x.trunc() as usize;
    match (*tiling, direction) {
        (
            AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor },
            Direction::Decode,
        ) => {
            let blend_extent = int(f64::from(tile_sample_min_size) * tile_overlap_factor);
            Loop {
                tile: tile_latent_min_size as usize,
                step: int(f64::from(tile_latent_min_size) * (1.0 - tile_overlap_factor)),
                blend_extent,
                row_limit: tile_sample_min_size as usize - blend_extent,
            }
        }
        (
            AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor },
            Direction::Encode,
        ) => {
            let blend_extent = int(f64::from(tile_latent_min_size) * tile_overlap_factor);
            Loop {
                tile: tile_sample_min_size as usize,
                step: int(f64::from(tile_sample_min_size) * (1.0 - tile_overlap_factor)),
                blend_extent,
                row_limit: tile_latent_min_size as usize - blend_extent,
            }
        }
        (AxisTiling::Stride { tile_sample_min_size, tile_sample_stride }, direction) => {
            let (tile, stride) = (tile_sample_min_size as usize, tile_sample_stride as usize);
            let ratio = ratio as usize;
            let (tile_latent, stride_latent) = (tile / ratio, stride / ratio);
            match direction {
                Direction::Decode => Loop {
                    tile: tile_latent,
                    step: stride_latent,
                    blend_extent: tile - stride,
                    row_limit: stride,
                },
                Direction::Encode => Loop {
                    tile,
                    step: stride,
                    blend_extent: tile_latent - stride_latent,
                    row_limit: stride_latent,
                },
            }
        }
    }
}

/// Start and end of each tile in the input: `range(0, extent, step)` and a slice.
pub(crate) fn windows(numbers: Loop, extent: u32) -> Vec<(usize, usize)> {
    let extent = extent as usize;
    (0..extent).step_by(numbers.step).map(|i| (i, (i + numbers.tile).min(extent))).collect()
}

fn blend_v(a: &Image, b: &mut Image, blend_extent: usize) {
    let blend_extent = a.len().min(b.len()).min(blend_extent);
    for y in 0..blend_extent {
        for x in 0..b[y].len() {
            b[y][x] = a[a.len() - blend_extent + y][x] * (1.0 - y as f64 / blend_extent as f64)
                + b[y][x] * (y as f64 / blend_extent as f64);
        }
    }
}

fn blend_h(a: &Image, b: &mut Image, blend_extent: usize) {
    let blend_extent = a[0].len().min(b[0].len()).min(blend_extent);
    for x in 0..blend_extent {
        for y in 0..b.len() {
            let left = a[y][a[y].len() - blend_extent + x];
            b[y][x] = left * (1.0 - x as f64 / blend_extent as f64)
                + b[y][x] * (x as f64 / blend_extent as f64);
        }
    }
}

/// The stitched output of `case`, with `value(tile, y, x)` for the raw output of each tile.
pub(crate) fn stitch(case: &Case, value: impl Fn(u64, u32, u32) -> f64) -> Image {
    let ratio = case.tiling.scale as usize;
    let vertical = axis_loop(case.direction, &case.tiling.height, case.tiling.scale);
    let horizontal = axis_loop(case.direction, &case.tiling.width, case.tiling.scale);
    let out = |len: usize| match case.direction {
        Direction::Decode => len * ratio,
        Direction::Encode => len / ratio,
    };
    let mut rows: Vec<Vec<Image>> = Vec::new();
    let mut index = 0;
    for (top, bottom) in windows(vertical, case.input.height) {
        let mut row = Vec::new();
        for (left, right) in windows(horizontal, case.input.width) {
            let pixel = |y, x| value(index, y as u32, x as u32);
            let line = |y| (0..out(right - left)).map(|x| pixel(y, x)).collect();
            row.push((0..out(bottom - top)).map(line).collect::<Image>());
            index += 1;
        }
        rows.push(row);
    }
    let mut result: Image = Vec::new();
    for i in 0..rows.len() {
        let mut result_rows: Image = Vec::new();
        for j in 0..rows[i].len() {
            let mut tile = std::mem::take(&mut rows[i][j]);
            if i > 0 {
                blend_v(&rows[i - 1][j], &mut tile, vertical.blend_extent);
            }
            if j > 0 {
                blend_h(&rows[i][j - 1], &mut tile, horizontal.blend_extent);
            }
            for (y, line) in tile.iter().take(vertical.row_limit).enumerate() {
                if j == 0 {
                    result_rows.push(Vec::new());
                }
                result_rows[y].extend(line.iter().take(horizontal.row_limit));
            }
            rows[i][j] = tile;
        }
        result.extend(result_rows);
    }
    let (height, width) = (out(case.input.height as usize), out(case.input.width as usize));
    if matches!(case.tiling.height, AxisTiling::Stride { .. }) {
        result.truncate(height);
    }
    if matches!(case.tiling.width, AxisTiling::Stride { .. }) {
        result.iter_mut().for_each(|row| row.truncate(width));
    }
    result
}
