//! A literal transcription of diffusers' tiled loops, on made-up decoded tiles: videos and their
//! frames are nested vectors, blending is in place, and nothing is shared with the planner.

use crate::cases::Case;
use halovae_core::{AxisTiling, Direction, DroppedFrame, TimeLaw, TimeTiling};

type Image = Vec<Vec<f64>>;
pub(crate) type Video = Vec<Image>;

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
        (AxisTiling::Whole, _) => panic!("an axis that is not cut has no loop"),
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

fn blend_t(a: &Video, b: &mut Video, blend_extent: usize) {
    let blend_extent = a.len().min(b.len()).min(blend_extent);
    for t in 0..blend_extent {
        for y in 0..b[t].len() {
            for x in 0..b[t][y].len() {
                let before = a[a.len() - blend_extent + t][y][x];
                b[t][y][x] = before * (1.0 - t as f64 / blend_extent as f64)
                    + b[t][y][x] * (t as f64 / blend_extent as f64);
            }
        }
    }
}

/// The loop of a side of `extent` cells; one tile over all of it where it is not cut.
fn side_loop(case: &Case, tiling: &AxisTiling, extent: u32, cut: bool) -> Loop {
    if cut && *tiling != AxisTiling::Whole {
        return axis_loop(case.direction, tiling, case.tiling.scale.space);
    }
    let tile = extent as usize;
    Loop { tile, step: tile, blend_extent: 0, row_limit: side_out(case, tile) }
}

fn side_out(case: &Case, len: usize) -> usize {
    let ratio = case.tiling.scale.space as usize;
    match case.direction {
        Direction::Decode => len * ratio,
        Direction::Encode => len / ratio,
    }
}

/// How many frames come of `len` frames.
fn frames_out(case: &Case, len: usize) -> usize {
    let (ratio, law) = (case.tiling.scale.time.factor as usize, case.tiling.scale.time.law);
    match (law, case.direction) {
        (TimeLaw::Even, Direction::Decode) => len * ratio,
        (TimeLaw::Even, Direction::Encode) => len / ratio,
        (TimeLaw::FirstAlone, Direction::Decode) => 1 + ratio * (len - 1),
        (TimeLaw::FirstAlone, Direction::Encode) => 1 + (len - 1) / ratio,
        (TimeLaw::AfterFirst, _) => panic!("not a law of outputs"),
    }
}

/// Whether the sides of the frames exceed the tile.
pub(crate) fn space_triggers(case: &Case) -> bool {
    let exceeds = |tiling: &AxisTiling, extent: u32| {
        *tiling != AxisTiling::Whole
            && extent as usize > axis_loop(case.direction, tiling, case.tiling.scale.space).tile
    };
    exceeds(&case.tiling.height, case.input.height) || exceeds(&case.tiling.width, case.input.width)
}

/// Tiles of frames, where diffusers cuts frames.
pub(crate) fn time_tiles(case: &Case) -> Option<TimeTiling> {
    let ratio = case.tiling.scale.time.factor;
    case.tiling.time.filter(|time| match case.direction {
        Direction::Decode => case.input.frames > time.tile_sample_min_num_frames / ratio,
        Direction::Encode => case.input.frames > time.tile_sample_min_num_frames,
    })
}

/// The stitched output of `case`, with `value(tile, t, y, x)` for the raw output of each tile.
pub(crate) fn stitch(case: &Case, value: impl Fn(u64, u32, u32, u32) -> f64) -> Video {
    let mut tiles = 0;
    let Some(time) = time_tiles(case) else {
        let frames = frames_out(case, case.input.frames as usize);
        return in_space(case, &mut tiles, frames, true, &value);
    };
    let (min, stride) = (time.tile_sample_min_num_frames, time.tile_sample_stride_num_frames);
    let (min, stride) = (min as usize, stride as usize);
    let ratio = case.tiling.scale.time.factor as usize;
    let (tile_latent_min, tile_latent_stride) = (min / ratio, stride / ratio);
    let num_frames = case.input.frames as usize;
    let (step, window, blend, keep) = match case.direction {
        Direction::Decode => (tile_latent_stride, tile_latent_min + 1, min - stride, stride),
        Direction::Encode => {
            (stride, min + 1, tile_latent_min - tile_latent_stride, tile_latent_stride)
        }
    };
    let mut row: Vec<Video> = Vec::new();
    for i in (0..num_frames).step_by(step) {
        let len = (i + window).min(num_frames) - i;
        let frames = frames_out(case, len);
        let mut decoded = in_space(case, &mut tiles, frames, space_triggers(case), &value);
        if i > 0 {
            match (case.direction, time.dropped) {
                (Direction::Encode, _) | (_, DroppedFrame::First) => drop(decoded.remove(0)),
                (Direction::Decode, DroppedFrame::Last) => drop(decoded.pop()),
            }
        }
        row.push(decoded);
    }
    let mut result = Video::new();
    for i in 0..row.len() {
        let (before, rest) = row.split_at_mut(i);
        let tile = &mut rest[0];
        if i > 0 {
            blend_t(&before[i - 1], tile, blend);
            result.extend(tile.iter().take(keep).cloned());
        } else {
            result.extend(tile.iter().take(keep + 1).cloned());
        }
    }
    let num_sample_frames = match case.direction {
        Direction::Decode => (num_frames - 1) * ratio + 1,
        Direction::Encode => (num_frames - 1) / ratio + 1,
    };
    result.truncate(num_sample_frames);
    result
}

/// Frames as `tiled_decode` and `tiled_encode` make them, or in one piece unless they are `tiled`.
/// `tiles` counts them.
fn in_space(
    case: &Case,
    tiles: &mut u64,
    frames: usize,
    tiled: bool,
    value: &impl Fn(u64, u32, u32, u32) -> f64,
) -> Video {
    let first = *tiles;
    let frame = |t: usize| {
        let mut index = first;
        let image =
            frame_in_space(case, &mut index, tiled, |tile, y, x| value(tile, t as u32, y, x));
        (image, index)
    };
    let (video, counts): (Vec<Image>, Vec<u64>) = (0..frames).map(frame).unzip();
    *tiles = counts[0];
    video
}

fn frame_in_space(
    case: &Case,
    index: &mut u64,
    tiled: bool,
    value: impl Fn(u64, u32, u32) -> f64,
) -> Image {
    let vertical = side_loop(case, &case.tiling.height, case.input.height, tiled);
    let horizontal = side_loop(case, &case.tiling.width, case.input.width, tiled);
    let out = |len: usize| side_out(case, len);
    let mut rows: Vec<Vec<Image>> = Vec::new();
    for (top, bottom) in windows(vertical, case.input.height) {
        let mut row = Vec::new();
        for (left, right) in windows(horizontal, case.input.width) {
            let pixel = |y, x| value(*index, y as u32, x as u32);
            let line = |y| (0..out(right - left)).map(|x| pixel(y, x)).collect();
            row.push((0..out(bottom - top)).map(line).collect::<Image>());
            *index += 1;
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
