//! Tiles of frames: which there are, when, and what makes their numbers consistent.

use crate::cases::{hunyuan, video};
use crate::diffusers::{space_triggers, time_tiles};
use halovae_core::*;
use proptest::prelude::*;

/// Windows of frames as diffusers cuts them, and the output frames that they keep: those of a last
/// window that keeps none left out.
fn windows(direction: Direction, time: TimeTiling, ratio: u32, num_frames: u32) -> Vec<[u32; 4]> {
    let TimeTiling { tile_sample_min_num_frames, tile_sample_stride_num_frames, .. } = time;
    let per_latent = if direction == Direction::Decode { ratio } else { 1 };
    let window = tile_sample_min_num_frames / per_latent + 1;
    let step = tile_sample_stride_num_frames / per_latent;
    let mut output = 0;
    let mut windows = vec![];
    for i in (0..num_frames).step_by(step as usize) {
        let len = (i + window).min(num_frames) - i;
        let computed = match direction {
            Direction::Decode => 1 + ratio * (len - 1),
            Direction::Encode => 1 + (len - 1) / ratio,
        };
        let left = computed - u32::from(i > 0);
        if left > 0 {
            windows.push([i, len, output, left]);
        }
        let keep = match direction {
            Direction::Decode => tile_sample_stride_num_frames,
            Direction::Encode => tile_sample_stride_num_frames / ratio,
        };
        output += left.min(keep + u32::from(i == 0));
    }
    windows
}

proptest! {
    #[test]
    fn windows_are_those_of_diffusers(case in video()) {
        let grid = case.grid();
        let axis = grid.time();
        let ratio = case.tiling.scale.time.factor;
        prop_assert_eq!(axis.extent(), case.input.frames);
        match time_tiles(&case) {
            Some(time) => {
                let windows = windows(case.direction, time, ratio, case.input.frames);
                prop_assert_eq!(axis.count() as usize, windows.len());
                for (index, window) in (0..).zip(windows) {
                    let [start, len] = [axis.start(index), axis.len(index)];
                    let output = [axis.output_start(index), axis.output_len(index)];
                    prop_assert_eq!([start, len, output[0], output[1]], window);
                    let first = case.direction == Direction::Encode
                        || time.dropped == DroppedFrame::First;
                    prop_assert_eq!(axis.skipped(index), u32::from(index > 0 && first));
                }
                prop_assert_eq!(axis.dropped(), 1);
            }
            None => {
                prop_assert_eq!((axis.count(), axis.dropped()), (1, 0));
                prop_assert_eq!((axis.len(0), axis.skipped(0)), (case.input.frames, 0));
            }
        }
        let behind = axis.count();
        prop_assert_eq!((axis.start(behind), axis.len(behind)), (axis.extent(), 0));
        let end = (axis.output_extent(), 0);
        prop_assert_eq!((axis.output_start(behind), axis.output_len(behind)), end);
    }

    /// diffusers asks of time and of space apart.
    #[test]
    fn either_triggers_alone(case in video()) {
        let grid = case.grid();
        let in_time = time_tiles(&case).is_some();
        let expected = in_time || space_triggers(&case);
        prop_assert_eq!(grid.triggers(), expected);
        prop_assert_eq!(case.tiling.triggers(case.direction, case.input), expected);
        if !in_time {
            prop_assert_eq!(grid.slices(), 1);
        } else if !space_triggers(&case) {
            prop_assert_eq!((grid.rows(), grid.cols()), (1, 1));
        }
        // In space the grid is that of a single frame.
        if !in_time || space_triggers(&case) {
            let mut tiling = case.tiling;
            tiling.time = None;
            tiling.scale = tiling.scale.space.into();
            let Size { height, width, .. } = case.input;
            let image = TileGrid::new(case.direction, Size::new(height, width), &tiling).unwrap();
            prop_assert_eq!((grid.height(), grid.width()), (image.height(), image.width()));
        }
    }

    #[test]
    fn tiles_are_products_of_the_axes(case in video()) {
        let grid = case.grid();
        prop_assert_eq!(Some(grid.output().volume()), match case.direction {
            Direction::Decode => case.tiling.scale.layer(case.input).map(Size::volume),
            Direction::Encode => Some(grid.output().volume()),
        });
        let mut tiles = grid.tiles();
        for slice in 0..grid.slices() {
            for row in 0..grid.rows() {
                for col in 0..grid.cols() {
                    let tile = tiles.next().unwrap();
                    prop_assert_eq!((tile.slice, tile.row, tile.col), (slice, row, col));
                    let place = Axes::new(slice, row, col);
                    for axis in Axis::ALL {
                        let (numbers, at) = (&grid.axes()[axis], place[axis]);
                        prop_assert_eq!(tile.input.span(axis), (numbers.start(at), numbers.len(at)));
                        let output = (numbers.output_start(at), numbers.output_len(at));
                        prop_assert_eq!(tile.output.span(axis), output);
                        prop_assert_eq!(tile.keep.span(axis), (numbers.skipped(at), output.1));
                    }
                    prop_assert!(!tile.keep.is_empty());
                    prop_assert!(case.input.at_origin().contains(tile.input));
                    prop_assert!(grid.output().at_origin().contains(tile.output));
                }
            }
        }
        prop_assert_eq!(tiles.next(), None);
    }

    /// Tiles of frames are refused exactly where diffusers returns the wrong number of frames, or
    /// blends a frame with another one's place; what the error proposes leads to a grid.
    #[test]
    fn advice_on_tiles_of_frames_works(
        factor in 1u32..9, mut tile in 1u32..120, mut stride in 1u32..160,
    ) {
        let scale = Scale::video(TimeScale::first_alone(factor), 8);
        for _ in 0..4 {
            let time = TimeTiling {
                tile_sample_min_num_frames: tile,
                tile_sample_stride_num_frames: stride,
                dropped: DroppedFrame::First,
            };
            let tiling = Tiling::new(AxisTiling::Whole, AxisTiling::Whole, scale).with_time(time);
            let whole = tile % factor == 0 && stride % factor == 0;
            match TileGrid::new(Direction::Decode, Size::video(200, 1, 1), &tiling) {
                Ok(_) => {
                    prop_assert!(whole && stride <= tile && stride * MAX_BLEND_DEPTH >= tile);
                    return Ok(());
                }
                Err(PlanError::NotMultipleOfScale { axis, name, works, .. }) => {
                    prop_assert!(!whole && axis == Axis::Time);
                    match name {
                        "tile_sample_min_num_frames" => tile = works,
                        "tile_sample_stride_num_frames" => stride = works,
                        _ => prop_assert!(false, "{name}"),
                    }
                }
                Err(PlanError::StrideTooLarge { axis, tile_sample_min_size, .. }) => {
                    prop_assert!(stride > tile && axis == Axis::Time);
                    stride = tile_sample_min_size;
                }
                Err(PlanError::StrideTooSmall { axis, works, .. }) => {
                    prop_assert!(stride * MAX_BLEND_DEPTH < tile && axis == Axis::Time);
                    stride = works;
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
        prop_assert!(false, "no grid after four corrections");
    }
}

/// 16 frames and the one before, a step of 12, a blend of 4.
#[test]
fn hunyuan_and_ltx_defaults() {
    let decode =
        |frames| TileGrid::new(Direction::Decode, Size::video(frames, 32, 32), &hunyuan()).unwrap();
    // Five latent frames tile, since 5 > 4.
    let windows = |grid: &TileGrid| -> Vec<_> {
        let axis = *grid.time();
        (0..axis.count()).map(|at| (axis.start(at), axis.len(at), axis.output_start(at))).collect()
    };
    assert_eq!(windows(&decode(4)), [(0, 4, 0)]);
    assert_eq!(windows(&decode(5)), [(0, 5, 0), (3, 2, 13)]);
    // A fourth window would be nothing but the frame before its own.
    assert_eq!(windows(&decode(10)), [(0, 5, 0), (3, 5, 13), (6, 4, 25)]);
    let grid = decode(10);
    let axis = grid.time();
    assert_eq!((axis.tile(), axis.stride(), axis.output_tile()), (5, 3, 16));
    assert_eq!((axis.row_limit(), axis.blend_extent(), grid.output().frames), (12, 4, 37));
    assert!(!decode(4).triggers() && decode(5).triggers());
    let tile = grid.tile(1).unwrap();
    assert_eq!((tile.keep.first, tile.keep.frames), (1, 16));

    // LTX keeps the first frame of each tile in the place of the second.
    let ltx = TimeTiling {
        tile_sample_min_num_frames: 16,
        tile_sample_stride_num_frames: 8,
        dropped: DroppedFrame::Last,
    };
    let scale = Scale::video(TimeScale::first_alone(8), 32);
    let tiling = Tiling::new(AxisTiling::Whole, AxisTiling::Whole, scale).with_time(ltx);
    let grid = TileGrid::new(Direction::Decode, Size::video(4, 7, 9), &tiling).unwrap();
    assert_eq!(windows(&grid), [(0, 3, 0), (1, 3, 9), (2, 2, 17)]);
    let tile = grid.tile(2).unwrap();
    assert_eq!((tile.keep.first, tile.keep.frames), (0, 8));
    assert_eq!(grid.output(), Size::video(25, 224, 288));
    // An encoder drops the first one, whatever the decoder drops.
    let grid = TileGrid::new(Direction::Encode, Size::video(25, 224, 288), &tiling).unwrap();
    assert_eq!(windows(&grid), [(0, 17, 0), (8, 17, 2), (16, 9, 3)]);
    assert_eq!(grid.tile(2).unwrap().keep.first, 1);
}

/// Frame 13 is the first of the second window: all of it is the first window's last but three.
#[test]
fn the_blend_of_two_windows() {
    let grid = TileGrid::new(Direction::Decode, Size::video(7, 8, 8), &hunyuan()).unwrap();
    let blocks: Vec<Block> = grid.bands().flat_map(|band| band.blocks()).collect();
    let spans: Vec<_> = blocks.iter().map(|block| block.region.span(Axis::Time)).collect();
    assert_eq!(spans, [(0, 13), (13, 4), (17, 8)]);
    let terms: Vec<Term> = blocks[1].terms().collect();
    assert_eq!([terms[0].source.first, terms[1].source.first], [13, 0]);
    let weights = terms.iter().map(|term| [0, 1, 2, 3].map(|dt| term.weight(dt, 5, 6)));
    assert!(weights.eq([[1.0, 0.75, 0.5, 0.25], [0.0, 0.25, 0.5, 0.75]]));
}
