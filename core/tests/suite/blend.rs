use crate::cases::{Case, case, flux, shard_grid};
use crate::diffusers::stitch;
use halovae_core::*;
use proptest::prelude::*;

/// A made-up pixel of a decoded tile, in -1..1.
fn pixel(tile: u64, y: u32, x: u32) -> f64 {
    let mut hash = tile << 40 ^ u64::from(y) << 20 ^ u64::from(x);
    hash = (hash ^ hash >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Stitches with bands, blocks, terms and weights, and checks what they promise on the way.
fn stitch_by_terms(plan: &Plan) -> Result<Vec<Vec<f64>>, TestCaseError> {
    let Size { height, width, .. } = plan.output();
    let mut image = vec![vec![f64::NAN; width as usize]; height as usize];
    let mut next_row = 0;
    let mut last_pieces = 0..0;
    for band in plan.bands() {
        prop_assert_eq!(band.top, next_row);
        prop_assert!(band.height > 0);
        next_row += band.height;
        let pieces = band.pieces();
        prop_assert!(last_pieces.start <= pieces.start && last_pieces.end <= pieces.end);
        let mut used = vec![];
        let mut next_col = 0;
        for block in band.blocks() {
            let rect = block.rect;
            prop_assert_eq!((rect.top, rect.height), (band.top, band.height));
            prop_assert_eq!(rect.left, next_col);
            prop_assert!(rect.width > 0);
            next_col += rect.width;
            let terms: Vec<Term> = block.terms().collect();
            prop_assert_eq!(terms.len(), block.term_count() as usize);
            let mut left = block.terms();
            for gone in 0..terms.len() {
                prop_assert_eq!(left.len(), terms.len() - gone);
                left.next();
            }
            prop_assert!(terms.is_sorted_by(|a, b| a.piece < b.piece));
            used.extend(terms.iter().map(|term| term.piece));
            check_terms(plan, &block, &terms)?;
            let mut weights = vec![0.0; rect.width as usize];
            for dy in 0..rect.height {
                let mut sums = vec![0.0; rect.width as usize];
                let row = &mut image[(rect.top + dy) as usize];
                for term in &terms {
                    term.fill_weights(dy, &mut weights);
                    for dx in 0..rect.width {
                        let weight = weights[dx as usize];
                        prop_assert!((0.0..=1.0).contains(&weight));
                        sums[dx as usize] += weight;
                        let out = &mut row[(rect.left + dx) as usize];
                        if term.piece == terms[0].piece {
                            prop_assert!(out.is_nan(), "painted twice");
                            *out = 0.0;
                        }
                        let Region { top, left, .. } = term.source;
                        *out += f64::from(weight) * pixel(term.piece, top + dy, left + dx);
                    }
                }
                prop_assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
            }
        }
        prop_assert_eq!(next_col, width);
        used.sort_unstable();
        used.dedup();
        prop_assert!(used.iter().copied().eq(pieces.clone()));
        last_pieces = pieces;
    }
    prop_assert_eq!(next_row, height);
    Ok(image)
}

/// Sources lie where the block lies, and all ways to ask for a weight agree.
fn check_terms(plan: &Plan, block: &Block, terms: &[Term]) -> Result<(), TestCaseError> {
    let rect = block.rect;
    for term in terms {
        let piece = plan.piece(term.piece).unwrap();
        prop_assert_eq!(term.source.size(), rect.size());
        prop_assert!(piece.keep.size().at_origin().contains(term.source));
        prop_assert_eq!(piece.output.top + term.source.top, rect.top);
        prop_assert_eq!(piece.output.left + term.source.left, rect.left);
        prop_assert_eq!(term.is_unit(), terms.len() == 1);
        let inside = rect.width as usize;
        let mut row = vec![f32::NAN; inside + 2];
        let mut columns = row.clone();
        let mut short = vec![f32::NAN; inside / 2];
        term.fill_column_weights(&mut columns);
        for dy in [0, rect.height / 2, rect.height - 1] {
            term.fill_weights(dy, &mut row);
            term.fill_weights(dy, &mut short);
            prop_assert_eq!(&row[..inside / 2], &short[..]);
            for dx in 0..rect.width {
                let weight = term.weight(dy, dx);
                prop_assert_eq!(row[dx as usize], weight);
                prop_assert_eq!((term.row_weight(dy) * term.column_weight(dx)) as f32, weight);
                prop_assert_eq!(columns[dx as usize], term.column_weight(dx) as f32);
                prop_assert!(!term.is_unit() || weight == 1.0);
            }
        }
        prop_assert_eq!(&row[inside..], &[0.0, 0.0]);
        prop_assert_eq!(&columns[inside..], &[0.0, 0.0]);
        prop_assert_eq!(term.weight(0, rect.width), 0.0);
        prop_assert_eq!(term.weight(rect.height, 0), 0.0);
        term.fill_weights(rect.height, &mut row);
        prop_assert!(row.iter().all(|&weight| weight == 0.0));
    }
    Ok(())
}

fn compare(case: &Case) -> Result<(), TestCaseError> {
    let blended = stitch_by_terms(&Plan::tiled(case.grid()))?;
    let expected = stitch(case, pixel);
    prop_assert_eq!(blended.len(), expected.len());
    for (y, (row, expected)) in blended.iter().zip(&expected).enumerate() {
        prop_assert_eq!(row.len(), expected.len());
        for (x, (got, expected)) in row.iter().zip(expected).enumerate() {
            prop_assert!((got - expected).abs() < 2e-6, "({y}, {x}): {got} for {expected}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn terms_are_the_cascade_of_diffusers(case in case()) {
        compare(&case)?;
    }

    /// The pieces that a pixel's block names are those that reach it through the ramps, and two
    /// neighbouring blocks or bands never have the same ones.
    #[test]
    fn blocks_are_the_largest_rectangles_of_the_same_tiles(case in case()) {
        let grid = case.grid();
        let reach = |axis: &TileAxis, at: u32| {
            let mut tile = at / axis.row_limit();
            let last = tile;
            while tile > 0 && at - axis.output_start(tile) < axis.ramp_extent(tile) {
                tile -= 1;
            }
            tile..=last
        };
        let mut above = None;
        for band in grid.bands() {
            let rows = reach(grid.height(), band.top);
            for y in band.top..band.top + band.height {
                prop_assert_eq!(reach(grid.height(), y), rows.clone());
            }
            prop_assert_ne!(above.replace(rows.clone()), Some(rows.clone()));
            let mut before = None;
            for block in band.blocks() {
                let cols = reach(grid.width(), block.rect.left);
                for x in block.rect.left..block.rect.left + block.rect.width {
                    prop_assert_eq!(reach(grid.width(), x), cols.clone());
                }
                prop_assert_ne!(before.replace(cols.clone()), Some(cols.clone()));
                let expected = rows.clone().flat_map(|row| {
                    let cols = cols.clone();
                    cols.map(move |col| u64::from(row) * u64::from(grid.cols()) + u64::from(col))
                });
                prop_assert!(block.terms().map(|term| term.piece).eq(expected));
            }
        }
    }

    #[test]
    fn patches_partition_the_output(
        height in 1u32..30, width in 1u32..30, ranks in 1u32..40, scale in 1u32..4,
    ) {
        let tile = Size::new(8, 6);
        let grid =
            PatchGrid::new(Size::new(height, width), ranks, tile, [0.5, 0.25], scale).unwrap();
        let image = stitch_by_terms(&Plan::patch(grid))?;
        for patch in grid.patches() {
            for y in 0..patch.output.height {
                for x in 0..patch.output.width {
                    let got = image[(patch.output.top + y) as usize][(patch.output.left + x) as usize];
                    prop_assert_eq!(got, pixel(patch.index, y, x));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn shards_partition_the_output(grid in shard_grid()) {
        let plan = Plan::sharded(grid);
        let image = stitch_by_terms(&plan)?;
        for piece in plan.pieces() {
            for y in 0..piece.output.height {
                for x in 0..piece.output.width {
                    let (row, col) = (piece.output.top + y, piece.output.left + x);
                    let got = image[row as usize][col as usize];
                    prop_assert_eq!(got, pixel(piece.index, y, x));
                }
            }
        }
    }
}

#[test]
fn a_whole_plan_is_one_unit_term() {
    let plan = Plan::whole(Size::new(5, 7), 3).unwrap();
    let image = stitch_by_terms(&plan).unwrap();
    assert_eq!(image.len(), 15);
    for (y, row) in (0..).zip(&image) {
        assert_eq!(row.len(), 21);
        assert!((0..).zip(row).all(|(x, &got)| got == pixel(0, y, x)));
    }
    assert_eq!(plan.bands().flat_map(|band| band.blocks()).count(), 1);
}

/// Section by section of a corner, with the closed form for overlaps of at most a half.
#[test]
fn corner_weights_of_flux() {
    let grid = TileGrid::new(Direction::Decode, Size::new(192, 192), &flux()).unwrap();
    let corner = grid
        .bands()
        .flat_map(|band| band.blocks())
        .find(|block| (block.rect.top, block.rect.left) == (768, 768))
        .unwrap();
    assert_eq!(corner.rect, Region::new(768, 768, 256, 256));
    let terms: Vec<Term> = corner.terms().collect();
    assert_eq!(terms.iter().map(|term| term.piece).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (dy, dx) in [(0, 0), (1, 2), (64, 128), (255, 255)] {
        let (wy, wx) = (f64::from(dy) / 256.0, f64::from(dx) / 256.0);
        let expected =
            [(1.0 - wy) * (1.0 - wx * wx), (1.0 - wy) * wx * wx, wy * (1.0 - wx), wy * wx];
        for (term, expected) in terms.iter().zip(expected) {
            assert!((f64::from(term.weight(dy, dx)) - expected).abs() < 1e-7);
        }
    }
}

/// Bands of a grid that is far too wide to walk.
#[test]
fn bands_of_huge_grids_cost_nothing() {
    let axis = AxisTiling::Stride { tile_sample_min_size: 4, tile_sample_stride: 1 };
    let tiling = Tiling { height: axis, width: axis, scale: 1 };
    let grid = TileGrid::new(Direction::Decode, Size::new(u32::MAX, u32::MAX), &tiling).unwrap();
    let bands: Vec<Band> = grid.bands().take(1000).collect();
    assert_eq!(bands[999].top, 999);
    let block = bands[999].blocks().nth(1000).unwrap();
    assert_eq!(block.rect, Region::new(999, 1000, 1, 1));
    assert_eq!(block.term_count(), 16);
}
