use crate::cases::{case, flux, wan};
use crate::diffusers::{axis_loop, windows};
use halovae_core::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn tiles_are_those_of_diffusers(case in case()) {
        let grid = case.grid();
        let vertical = axis_loop(case.direction, &case.tiling.height, case.tiling.scale.space);
        let horizontal = axis_loop(case.direction, &case.tiling.width, case.tiling.scale.space);
        let scale = case.tiling.scale.space as usize;
        let out = |len: usize| match case.direction {
            Direction::Decode => len * scale,
            Direction::Encode => len / scale,
        } as u32;
        let mut tiles = grid.tiles();
        let mut index = 0;
        for (row, (top, bottom)) in (0..).zip(windows(vertical, case.input.height)) {
            for (col, (left, right)) in (0..).zip(windows(horizontal, case.input.width)) {
                let input = Region::new(
                    top as u32, left as u32, (bottom - top) as u32, (right - left) as u32,
                );
                let output = Region::new(out(top), out(left), out(bottom - top), out(right - left));
                let keep = output.size().at_origin();
                let expected = Tile { index, slice: 0, row, col, input, keep, output };
                prop_assert_eq!(tiles.size_hint(), ((grid.len() - index) as usize,
                    Some((grid.len() - index) as usize)));
                prop_assert_eq!(tiles.next(), Some(expected));
                prop_assert_eq!(grid.tile(index), Some(expected));
                index += 1;
            }
        }
        prop_assert_eq!(tiles.next(), None);
        prop_assert_eq!(grid.tile(index), None);
        prop_assert_eq!(grid.len(), index);
        prop_assert_eq!(u64::from(grid.rows()) * u64::from(grid.cols()), index);
        prop_assert_eq!(grid.direction(), case.direction);
        for (axis, numbers, extent) in [
            (grid.height(), vertical, case.input.height),
            (grid.width(), horizontal, case.input.width),
        ] {
            prop_assert_eq!(axis.extent(), extent);
            prop_assert_eq!(axis.tile() as usize, numbers.tile);
            prop_assert_eq!(axis.stride() as usize, numbers.step);
            prop_assert_eq!(axis.blend_extent() as usize, numbers.blend_extent);
            prop_assert_eq!(axis.row_limit() as usize, numbers.row_limit);
            prop_assert_eq!(axis.output_tile(), out(numbers.tile));
            prop_assert_eq!(axis.output_extent(), out(extent as usize));
            let behind = axis.count();
            prop_assert_eq!((axis.start(behind), axis.len(behind)), (extent, 0));
            let end = (axis.output_extent(), 0);
            prop_assert_eq!((axis.output_start(behind), axis.output_len(behind)), end);
            let lens: Vec<u32> = (0..behind).map(|i| axis.output_len(i)).collect();
            prop_assert_eq!((axis.ramp_extent(0), axis.ramp(0, 0)), (0, 1.0));
            for i in 1..behind {
                // diffusers' min(len_a, len_b, blend_extent)
                let (a, b) = (lens[i as usize - 1], lens[i as usize]);
                let extent = a.min(b).min(axis.blend_extent());
                prop_assert_eq!(axis.ramp_extent(i), extent);
                for at in 0..extent {
                    prop_assert_eq!(axis.ramp(i, at.into()), f64::from(at) / f64::from(extent));
                }
                prop_assert_eq!(axis.ramp(i, extent.into()), 1.0);
            }
        }
    }

    #[test]
    fn tiles_cover_the_input_and_nothing_else(case in case()) {
        let grid = case.grid();
        let mut covered = vec![vec![false; case.input.width as usize]; case.input.height as usize];
        for tile in grid.tiles() {
            prop_assert!(case.input.at_origin().contains(tile.input));
            prop_assert!(grid.output().at_origin().contains(tile.output));
            for y in tile.input.top as u64..tile.input.bottom() {
                covered[y as usize][tile.input.left as usize..tile.input.right() as usize].fill(true);
            }
        }
        prop_assert!(covered.iter().flatten().all(|&cell| cell));
    }

    #[test]
    fn the_trigger_is_strict_on_either_axis(case in case()) {
        let grid = case.grid();
        let tile = |tiling: &AxisTiling| axis_loop(case.direction, tiling, case.tiling.scale.space).tile;
        let Size { height, width, .. } = case.input;
        let expected = height as usize > tile(&case.tiling.height)
            || width as usize > tile(&case.tiling.width);
        prop_assert_eq!(grid.triggers(), expected);
        prop_assert_eq!(case.tiling.triggers(case.direction, case.input), expected);
    }

    /// An overlap by factor is refused exactly where it is not a whole number of latent cells. What
    /// is accepted is diffusers' grid, wherever that makes a picture of the right size; what the
    /// error proposes is the nearest overlap that there is.
    #[test]
    fn overlaps_that_are_not_whole_are_refused(
        direction in prop_oneof![Just(Direction::Decode), Just(Direction::Encode)],
        tile in 1u32..200, scale in 1u32..20, percent in 0u32..100, tiles in 2u32..4,
    ) {
        let axis = |tile_overlap_factor| AxisTiling::Overlap {
            tile_sample_min_size: tile * scale,
            tile_latent_min_size: tile,
            tile_overlap_factor,
        };
        let per_cell = if direction == Direction::Decode { 1 } else { scale };
        let input = Size::new(tile * tiles * per_cell, per_cell);
        let grid = |factor| {
            let tiling = Tiling::new(axis(factor), axis(0.0), scale);
            TileGrid::new(direction, input, &tiling)
        };
        // As a user writes it, and as Rust reads it.
        let factor: f64 = format!("0.{percent:02}").parse().unwrap();
        let numbers = axis_loop(direction, &axis(factor), scale);
        let [step, row_limit] = [numbers.step, numbers.row_limit].map(|length| length as u32);
        let diffusers_is_right = match direction {
            Direction::Decode => step * scale == row_limit,
            Direction::Encode => row_limit * scale == step,
        };
        let (shared, rest) = (tile * percent / 100, tile * percent % 100);
        // Whole overlaps that leave few enough tiles over one another.
        let possible = |shared| (tile - shared) * MAX_BLEND_DEPTH >= tile;
        let least_distance = (0..tile).filter(|&shared| possible(shared))
            .filter(|&shared| shared > 0 || tile == 1)
            .map(|shared| (100 * shared).abs_diff(tile * percent)).min().unwrap();
        let check_advice = |works: f64| {
            let proposed = (f64::from(tile) * works).round() as u32;
            prop_assert!(grid(works).is_ok());
            prop_assert_eq!((100 * proposed).abs_diff(tile * percent), least_distance);
            Ok(())
        };
        match grid(factor) {
            Ok(grid) => {
                prop_assert_eq!(rest, 0);
                prop_assert!(possible(shared));
                prop_assert_eq!(grid.height().stride(), (tile - shared) * per_cell);
                if diffusers_is_right {
                    prop_assert_eq!(grid.height().stride(), step);
                    prop_assert_eq!(grid.height().row_limit(), row_limit);
                }
            }
            Err(PlanError::OverlapNotWhole { works, .. }) => {
                prop_assert!(rest != 0 && !diffusers_is_right);
                check_advice(works)?;
            }
            Err(PlanError::OverlapTooDeep { works, max, .. }) => {
                prop_assert_eq!(max, MAX_BLEND_DEPTH);
                prop_assert!(rest != 0 || !possible(shared));
                prop_assert!(works < factor);
                check_advice(works)?;
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Every whole overlap of every tile is one, whatever its quotient is rounded to.
    #[test]
    fn every_whole_overlap_is_accepted(tile in 1u32..=1 << 20, part in 0.0..15.0 / 16.0) {
        let shared = (f64::from(tile) * part) as u32;
        let height = AxisTiling::Overlap {
            tile_sample_min_size: tile * 8,
            tile_latent_min_size: tile,
            tile_overlap_factor: f64::from(shared) / f64::from(tile),
        };
        let width = AxisTiling::Stride { tile_sample_min_size: 8, tile_sample_stride: 8 };
        let tiling = Tiling::new(height, width, 8);
        for direction in [Direction::Decode, Direction::Encode] {
            let grid = TileGrid::new(direction, Size::new(8, 8), &tiling).unwrap();
            let cells = if direction == Direction::Decode { 1 } else { 8 };
            prop_assert_eq!(grid.height().stride(), (tile - shared) * cells);
        }
    }

    /// A factor that is next to a whole overlap's is taken if diffusers' floating-point numbers agree.
    #[test]
    fn factors_beside_a_whole_overlap_are_as_in_diffusers(
        direction in prop_oneof![Just(Direction::Decode), Just(Direction::Encode)],
        tile in 2u32..200, scale in 1u32..9, part in 0.0..1.0, above: bool,
    ) {
        let whole = f64::from((f64::from(tile) * part) as u32) / f64::from(tile);
        let factor = if above { whole.next_up() } else { whole.next_down().max(0.0) };
        prop_assume!(factor != whole);
        let axis = AxisTiling::Overlap {
            tile_sample_min_size: tile * scale,
            tile_latent_min_size: tile,
            tile_overlap_factor: factor,
        };
        let numbers = axis_loop(direction, &axis, scale);
        let [step, row_limit] = [numbers.step, numbers.row_limit].map(|length| length as u32);
        let (latent, pixels) = match direction {
            Direction::Decode => (step, row_limit),
            Direction::Encode => (row_limit, step),
        };
        let input = Size::new(tile * 3 * scale, tile * 3 * scale);
        let grid = TileGrid::new(direction, input, &Tiling::new(axis, axis, scale));
        if latent * scale == pixels && latent * MAX_BLEND_DEPTH >= tile {
            prop_assert_eq!(grid.map(|grid| grid.height().stride()), Ok(step));
        } else {
            prop_assert!(grid.is_err());
        }
    }

    /// Whatever a stored stride is refused for, following the advice leads to a grid.
    #[test]
    fn advice_on_stored_strides_works(
        scale in 1u32..12, mut tile in 1u32..300, mut stride in 1u32..400,
    ) {
        let input = Size::new(100, 1);
        let unit = AxisTiling::Stride { tile_sample_min_size: scale, tile_sample_stride: scale };
        for _ in 0..4 {
            let height = AxisTiling::Stride {
                tile_sample_min_size: tile,
                tile_sample_stride: stride,
            };
            let whole = tile % scale == 0 && stride % scale == 0;
            match TileGrid::new(Direction::Decode, input, &Tiling::new(height, unit, scale)) {
                Ok(_) => {
                    prop_assert!(whole && stride <= tile && stride * MAX_BLEND_DEPTH >= tile);
                    return Ok(());
                }
                Err(PlanError::NotMultipleOfScale { name, value, works, .. }) => {
                    prop_assert!(!whole);
                    prop_assert!(value.abs_diff(works) < scale || name == "tile_sample_stride");
                    match name {
                        "tile_sample_min_size" => tile = works,
                        _ => stride = works,
                    }
                }
                Err(PlanError::StrideTooLarge { tile_sample_min_size, .. }) => {
                    prop_assert!(stride > tile);
                    stride = tile_sample_min_size;
                }
                Err(PlanError::StrideTooSmall { works, max, .. }) => {
                    prop_assert!(stride * max < tile && works * max >= tile);
                    // It is the shortest: one cell less is too short.
                    prop_assert!((works - scale) * max < tile);
                    stride = works;
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
        prop_assert!(false, "no grid after four corrections");
    }
}

/// Products of these with the tile are not whole in floating point.
#[test]
fn decimals_mean_what_they_say() {
    for (tile, factor, shared) in [(80, 0.8, 64), (100, 0.9, 90), (100, 0.29, 29), (10, 0.1, 1)] {
        let axis = AxisTiling::Overlap {
            tile_sample_min_size: tile * 8,
            tile_latent_min_size: tile,
            tile_overlap_factor: factor,
        };
        let tiling = Tiling::new(axis, axis, 8);
        let grid = TileGrid::new(Direction::Decode, Size::new(200, 200), &tiling).unwrap();
        let axis = grid.height();
        assert_eq!((axis.stride(), axis.blend_extent()), (tile - shared, shared * 8), "{factor}");
    }
}

#[test]
fn flux_and_wan_defaults() {
    // facts of the classes: stride 96, extent 256, limit 768; a 1024 x 1024 image does not tile.
    let grid = TileGrid::new(Direction::Decode, Size::new(129, 128), &flux()).unwrap();
    let axis = grid.height();
    assert_eq!((axis.stride(), axis.blend_extent(), axis.row_limit()), (96, 256, 768));
    assert_eq!((grid.rows(), grid.cols()), (2, 2));
    assert!(grid.triggers());
    assert!(!flux().triggers(Direction::Decode, Size::new(128, 128)));
    assert!(flux().triggers(Direction::Decode, Size::new(128, 129)));
    assert!(!flux().triggers(Direction::Encode, Size::new(1024, 1024)));
    assert!(flux().triggers(Direction::Encode, Size::new(1025, 1)));

    let grid = TileGrid::new(Direction::Encode, Size::new(480, 832), &wan()).unwrap();
    let axis = grid.width();
    assert_eq!(
        (axis.tile(), axis.stride(), axis.blend_extent(), axis.row_limit()),
        (256, 192, 8, 24)
    );
    assert_eq!((grid.rows(), grid.cols(), grid.output()), (3, 5, Size::new(60, 104)));
    assert!(!wan().triggers(Direction::Decode, Size::new(32, 32)));
    assert!(wan().triggers(Direction::Decode, Size::new(33, 32)));
}

#[test]
fn the_deepest_overlap_is_accepted() {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 128,
        tile_latent_min_size: 16,
        tile_overlap_factor: 15.0 / 16.0,
    };
    let tiling = Tiling::new(axis, axis, 8);
    for (direction, input) in [(Direction::Decode, 40), (Direction::Encode, 320)] {
        let grid = TileGrid::new(direction, Size::new(input, input), &tiling).unwrap();
        assert_eq!((grid.rows(), grid.cols()), (40, 40));
    }
}

#[test]
fn a_scale_of_zero_is_no_panic() {
    let tiling = Tiling::new(wan().height, wan().width, 0);
    assert!(tiling.triggers(Direction::Decode, Size::new(1, 1)));
    assert!(!tiling.triggers(Direction::Decode, Size::new(0, 0)));
}

#[test]
fn the_deepest_blend_is_accepted_and_one_deeper_is_not() {
    let axis = |stride| AxisTiling::Stride { tile_sample_min_size: 64, tile_sample_stride: stride };
    let tiling = |stride| Tiling::new(axis(stride), axis(64), 1);
    let grid = TileGrid::new(Direction::Decode, Size::new(200, 64), &tiling(4)).unwrap();
    let deepest = grid.bands().flat_map(|band| band.blocks()).map(|block| block.term_count());
    assert_eq!(deepest.max(), Some(MAX_BLEND_DEPTH));
    assert_eq!(
        TileGrid::new(Direction::Decode, Size::new(200, 64), &tiling(3)),
        Err(PlanError::StrideTooSmall {
            axis: Axis::Height,
            tile_sample_stride: 3,
            tile_sample_min_size: 64,
            max: MAX_BLEND_DEPTH,
            works: 4,
        })
    );
}
