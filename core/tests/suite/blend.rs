use crate::cases::{Case, any_case, any_shards, case, flux, time_scale, video};
use crate::diffusers::{Video, stitch};
use halovae_core::*;
use proptest::prelude::*;

/// A made-up pixel of a decoded tile, in -1..1.
fn pixel(tile: u64, t: u32, y: u32, x: u32) -> f64 {
    let mut hash = tile << 40 ^ u64::from(t) << 30 ^ u64::from(y) << 15 ^ u64::from(x);
    hash = (hash ^ hash >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// What has been painted of a video.
struct Canvas(Video);

impl Canvas {
    fn new(Size { frames, height, width }: Size) -> Self {
        let frame = vec![vec![f64::NAN; width as usize]; height as usize];
        Self(vec![frame; frames as usize])
    }

    fn row(&mut self, t: u32, y: u32) -> &mut [f64] {
        &mut self.0[t as usize][y as usize]
    }
}

/// Stitches with bands, blocks, terms and weights, and checks what they promise on the way.
fn stitch_by_terms(plan: &Plan) -> Result<Video, TestCaseError> {
    let output = plan.output();
    let mut canvas = Canvas::new(output);
    let (mut next_frame, mut next_row) = (0, 0);
    for band in plan.bands() {
        prop_assert_eq!((band.first, band.top), (next_frame, next_row));
        prop_assert!(band.frames > 0 && band.height > 0);
        next_row += band.height;
        if next_row == output.height {
            (next_frame, next_row) = (band.first + band.frames, 0);
        }
        let mut next_col = 0;
        for block in band.blocks() {
            let region = block.region;
            prop_assert_eq!(region.span(Axis::Time), (band.first, band.frames));
            prop_assert_eq!(region.span(Axis::Height), (band.top, band.height));
            prop_assert_eq!(region.left, next_col);
            prop_assert!(region.width > 0);
            next_col += region.width;
            let terms: Vec<Term> = block.terms().collect();
            prop_assert_eq!(terms.len(), block.term_count() as usize);
            let mut left = block.terms();
            for gone in 0..terms.len() {
                prop_assert_eq!(left.len(), terms.len() - gone);
                left.next();
            }
            prop_assert!(terms.is_sorted_by(|a, b| a.piece < b.piece));
            check_terms(plan, &block, &terms)?;
            for dt in 0..region.frames {
                for dy in 0..region.height {
                    let row = canvas.row(region.first + dt, region.top + dy);
                    let row = &mut row[region.left as usize..][..region.width as usize];
                    paint_row(plan, &terms, dt, dy, row)?;
                }
            }
        }
        prop_assert_eq!(next_col, output.width);
    }
    prop_assert_eq!((next_frame, next_row), (output.frames, 0));
    check_held(plan)?;
    Ok(canvas.0)
}

fn paint_row(
    plan: &Plan,
    terms: &[Term],
    dt: u32,
    dy: u32,
    row: &mut [f64],
) -> Result<(), TestCaseError> {
    prop_assert!(row.iter().all(|pixel| pixel.is_nan()), "painted twice");
    row.fill(0.0);
    let mut weights = vec![0.0; row.len()];
    let mut sums = vec![0.0; row.len()];
    for term in terms {
        term.fill_weights(dt, dy, &mut weights);
        let Region { first, top, left, .. } = term.source;
        // Tiles are made up as they come from the decoder, with the frame that is dropped.
        let dropped = match plan {
            Plan::Tiled(_) => plan.piece(term.piece).unwrap().keep.first,
            _ => 0,
        };
        for (dx, out) in (0u32..).zip(row.iter_mut()) {
            let weight = weights[dx as usize];
            prop_assert!((0.0..=1.0).contains(&weight));
            sums[dx as usize] += weight;
            let value = pixel(term.piece, dropped + first + dt, top + dy, left + dx);
            *out += f64::from(weight) * value;
        }
    }
    prop_assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    Ok(())
}

/// The pieces that are held are those that have been read or are, and still are or will be; in the
/// last frames, also those between them.
fn check_held(plan: &Plan) -> Result<(), TestCaseError> {
    let bands: Vec<Band> = plan.bands().collect();
    let reads = |band: &Band| -> Vec<u64> {
        band.blocks().flat_map(|block| block.terms()).map(|term| term.piece).collect()
    };
    let reads: Vec<Vec<u64>> = bands.iter().map(reads).collect();
    let read = |bands: std::ops::Range<usize>, piece: u64| {
        reads[bands].iter().any(|band| band.contains(&piece))
    };
    let mut last = 0..0;
    for (at, band) in bands.iter().enumerate() {
        let pieces = band.pieces();
        prop_assert!(last.start <= pieces.start && last.end <= pieces.end);
        last = pieces.clone();
        let held: Vec<u64> = (0..plan.piece_count())
            .filter(|&piece| read(0..at + 1, piece) && read(at..bands.len(), piece))
            .collect();
        prop_assert_eq!(held.first(), Some(&pieces.start));
        prop_assert_eq!(held.last(), Some(&(pieces.end - 1)));
        if band.first + band.frames < plan.output().frames {
            prop_assert!(pieces.eq(held));
        }
    }
    prop_assert_eq!(last.end, plan.piece_count());
    Ok(())
}

/// Sources lie where the block lies, and all ways to ask for a weight agree.
fn check_terms(plan: &Plan, block: &Block, terms: &[Term]) -> Result<(), TestCaseError> {
    let region = block.region;
    for term in terms {
        let piece = plan.piece(term.piece).unwrap();
        prop_assert_eq!(term.source.size(), region.size());
        prop_assert!(piece.keep.size().at_origin().contains(term.source));
        for axis in Axis::ALL {
            let start = |region: Region| region.span(axis).0;
            prop_assert_eq!(start(piece.output) + start(term.source), start(region));
        }
        prop_assert_eq!(term.is_unit(), terms.len() == 1);
        let inside = region.width as usize;
        let mut row = vec![f32::NAN; inside + 2];
        let mut columns = row.clone();
        let mut short = vec![f32::NAN; inside / 2];
        term.fill_column_weights(&mut columns);
        let Size { frames, height, width } = region.size();
        let places = [(0, 0), (frames / 2, height / 2), (frames - 1, height - 1)];
        for (dt, dy) in places {
            term.fill_weights(dt, dy, &mut row);
            term.fill_weights(dt, dy, &mut short);
            prop_assert_eq!(&row[..inside / 2], &short[..]);
            for dx in 0..width {
                let weight = term.weight(dt, dy, dx);
                prop_assert_eq!(row[dx as usize], weight);
                let factors = term.frame_weight(dt) * term.row_weight(dy) * term.column_weight(dx);
                prop_assert_eq!(factors as f32, weight);
                prop_assert_eq!(columns[dx as usize], term.column_weight(dx) as f32);
                prop_assert!(!term.is_unit() || weight == 1.0);
            }
        }
        prop_assert_eq!(&row[inside..], &[0.0, 0.0]);
        prop_assert_eq!(&columns[inside..], &[0.0, 0.0]);
        for beyond in [(0, 0, width), (0, height, 0), (frames, 0, 0)] {
            prop_assert_eq!(term.weight(beyond.0, beyond.1, beyond.2), 0.0);
        }
        for (dt, dy) in [(0, height), (frames, 0)] {
            term.fill_weights(dt, dy, &mut row);
            prop_assert!(row.iter().all(|&weight| weight == 0.0));
        }
    }
    Ok(())
}

fn compare(case: &Case) -> Result<(), TestCaseError> {
    let blended = stitch_by_terms(&Plan::tiled(case.grid()))?;
    let expected = stitch(case, pixel);
    prop_assert_eq!(blended.len(), expected.len());
    for (t, (frame, expected)) in blended.iter().zip(&expected).enumerate() {
        prop_assert_eq!(frame.len(), expected.len());
        for (y, (row, expected)) in frame.iter().zip(expected).enumerate() {
            prop_assert_eq!(row.len(), expected.len());
            for (x, (got, expected)) in row.iter().zip(expected).enumerate() {
                let same = (got - expected).abs() < 2e-6;
                prop_assert!(same, "({t}, {y}, {x}): {got} for {expected}");
            }
        }
    }
    Ok(())
}

/// The output is each piece's kept region at its place, unchanged.
fn is_pasted(plan: &Plan) -> Result<(), TestCaseError> {
    let video = stitch_by_terms(plan)?;
    for Piece { index, output, .. } in plan.pieces() {
        for t in 0..output.frames {
            for y in 0..output.height {
                let row = &video[(output.first + t) as usize][(output.top + y) as usize];
                for x in 0..output.width {
                    let got = row[(output.left + x) as usize];
                    prop_assert_eq!(got, pixel(index, t, y, x));
                }
            }
        }
    }
    Ok(())
}

/// What a blend in blocks of pixels is: that of the blocks, with the pixels of each in their places.
fn of_blocks(case: &Case, grain: u32) -> Result<(), TestCaseError> {
    let scale = case.tiling.scale;
    let fine = |axis: AxisTiling| match axis {
        AxisTiling::Stride { tile_sample_min_size, tile_sample_stride } => AxisTiling::Stride {
            tile_sample_min_size: tile_sample_min_size * grain,
            tile_sample_stride: tile_sample_stride * grain,
        },
        AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor } => {
            let tile_sample_min_size = tile_sample_min_size * grain;
            AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor }
        }
        other => other,
    };
    let Tiling { height, width, .. } = case.tiling;
    let scale = Scale { space: scale.space * grain, ..scale };
    let tiling = Tiling::new(fine(height), fine(width), scale).with_grain(grain);
    let coarse = Plan::tiled(case.grid());
    let Ok(grid) = TileGrid::new(Direction::Decode, case.input, &tiling) else { return Ok(()) };
    prop_assert_eq!(grid.height().grain(), grain);
    let plan = Plan::tiled(grid);
    for (band, of_blocks) in plan.bands().zip(coarse.bands()) {
        prop_assert_eq!((band.top, band.height), (of_blocks.top * grain, of_blocks.height * grain));
        for (block, coarse) in band.blocks().zip(of_blocks.blocks()) {
            for (term, coarse) in block.terms().zip(coarse.terms()) {
                prop_assert_eq!(term.piece, coarse.piece);
                for dy in 0..block.region.height {
                    for dx in 0..block.region.width {
                        let weight = coarse.weight(0, dy / grain, dx / grain);
                        prop_assert_eq!(term.weight(0, dy, dx), weight);
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn blocks_of_pixels_are_blended_with_one_weight(case in case(), grain in 1u32..4) {
        prop_assume!(case.direction == Direction::Decode);
        of_blocks(&case, grain)?;
    }

    #[test]
    fn terms_are_the_cascade_of_diffusers(case in case()) {
        compare(&case)?;
    }

    #[test]
    fn terms_are_the_cascade_of_diffusers_in_time(case in video()) {
        compare(&case)?;
    }

    /// The pieces that a pixel's block names are those that reach it through the ramps, and two
    /// neighbouring blocks or bands never have the same ones.
    #[test]
    fn blocks_are_the_largest_boxes_of_the_same_tiles(case in any_case()) {
        let grid = case.grid();
        let reach = |axis: Axis, at: u32| {
            let axis = &grid.axes()[axis];
            let mut tile = (0..axis.count()).rfind(|&tile| axis.output_start(tile) <= at).unwrap();
            let last = tile;
            while tile > 0 && at - axis.output_start(tile) < axis.ramp_extent(tile) {
                tile -= 1;
            }
            tile..=last
        };
        let of_span = |axis: Axis, region: Region| {
            let (start, len) = region.span(axis);
            let pieces = reach(axis, start);
            let same = (start..start + len).all(|at| reach(axis, at) == pieces);
            same.then_some(pieces).ok_or_else(|| TestCaseError::fail("a span of different tiles"))
        };
        let mut above = None;
        for band in grid.bands() {
            let mut before = None;
            for block in band.blocks() {
                let [slices, rows, cols] = Axis::ALL.map(|axis| of_span(axis, block.region));
                let (slices, rows, cols) = (slices?, rows?, cols?);
                if before.is_none() {
                    let frame = (band.first, slices.clone(), rows.clone());
                    let same_slices = above.as_ref().is_none_or(|(first, above, _)| {
                        *first == band.first || *above != slices
                    });
                    prop_assert!(same_slices);
                    prop_assert_ne!(above.replace(frame.clone()), Some(frame));
                }
                prop_assert_ne!(before.replace(cols.clone()), Some(cols.clone()));
                let mut expected = vec![];
                for slice in slices {
                    for row in rows.clone() {
                        let row = slice * grid.rows() + row;
                        let col = |col| u64::from(row) * u64::from(grid.cols()) + u64::from(col);
                        expected.extend(cols.clone().map(col));
                    }
                }
                let pieces: Vec<u64> = block.terms().map(|term| term.piece).collect();
                prop_assert_eq!(pieces, expected);
            }
        }
    }

    #[test]
    fn patches_partition_the_output(
        frames in 1u32..4, height in 1u32..30, width in 1u32..30, ranks in 1u32..40,
        time in time_scale(), space in 1u32..4,
    ) {
        let (tile, latents) = (Size::new(8, 6), Size::video(frames, height, width));
        let scale = Scale::video(time, space);
        let grid = PatchGrid::new(latents, ranks, tile, [0.5, 0.25], scale).unwrap();
        is_pasted(&Plan::patch(grid))?;
    }

    #[test]
    fn shards_partition_the_output(grid in any_shards()) {
        is_pasted(&Plan::sharded(grid))?;
    }
}

#[test]
fn a_whole_plan_is_one_unit_term() {
    let scale = Scale::video(TimeScale::first_alone(4), 3);
    for (plan, frames) in [
        (Plan::whole(Size::new(5, 7), 3), 1),
        (Plan::whole(Size::video(3, 5, 7), 3), 3),
        (Plan::whole(Size::video(3, 5, 7), scale), 9),
    ] {
        let plan = plan.unwrap();
        assert_eq!(plan.output(), Size::video(frames, 15, 21));
        is_pasted(&plan).unwrap();
        assert_eq!(plan.bands().flat_map(|band| band.blocks()).count(), 1);
    }
}

/// Section by section of a corner, with the closed form for overlaps of at most a half.
#[test]
fn corner_weights_of_flux() {
    let grid = TileGrid::new(Direction::Decode, Size::new(192, 192), &flux()).unwrap();
    let corner = grid
        .bands()
        .flat_map(|band| band.blocks())
        .find(|block| (block.region.top, block.region.left) == (768, 768))
        .unwrap();
    assert_eq!(corner.region, Region::new(768, 768, 256, 256));
    let terms: Vec<Term> = corner.terms().collect();
    assert_eq!(terms.iter().map(|term| term.piece).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (dy, dx) in [(0, 0), (1, 2), (64, 128), (255, 255)] {
        let (wy, wx) = (f64::from(dy) / 256.0, f64::from(dx) / 256.0);
        let expected =
            [(1.0 - wy) * (1.0 - wx * wx), (1.0 - wy) * wx * wx, wy * (1.0 - wx), wy * wx];
        for (term, expected) in terms.iter().zip(expected) {
            assert!((f64::from(term.weight(0, dy, dx)) - expected).abs() < 1e-7);
        }
    }
}

/// Bands of a grid that is far too wide to walk.
#[test]
fn bands_of_huge_grids_cost_nothing() {
    let axis = AxisTiling::Stride { tile_sample_min_size: 4, tile_sample_stride: 1 };
    let tiling = Tiling::new(axis, axis, 1);
    let grid = TileGrid::new(Direction::Decode, Size::new(u32::MAX, u32::MAX), &tiling).unwrap();
    let bands: Vec<Band> = grid.bands().take(1000).collect();
    assert_eq!(bands[999].top, 999);
    let block = bands[999].blocks().nth(1000).unwrap();
    assert_eq!(block.region, Region::new(999, 1000, 1, 1));
    assert_eq!(block.term_count(), 16);
}
