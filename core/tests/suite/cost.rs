use crate::cases::{any_case, any_shards, flux, hunyuan};
use halovae_core::*;
use proptest::prelude::*;

const MODEL: WorkModel = WorkModel {
    flops_per_cell: 3.0,
    flops_per_cell_pair: 0.5,
    live_bytes_per_cell: 7,
    fixed_bytes: 1000,
    output_bytes_per_pixel: 12,
};

/// Latent cells of a piece from its rectangles alone.
fn latents(plan: &Plan, piece: &Piece) -> Size {
    match plan.direction() {
        Direction::Decode => piece.input.size(),
        Direction::Encode => {
            // Of each tile of frames but the first, a latent is dropped.
            let tiled = matches!(plan, Plan::Tiled(grid) if grid.slices() > 1);
            let dropped = u32::from(tiled && piece.output.first > 0);
            let Size { frames, height, width } = piece.keep.size();
            Size::video(frames + dropped, height, width)
        }
    }
}

fn check(plan: &Plan, ranks: u32) -> Result<(), TestCaseError> {
    let latents = match plan.direction() {
        Direction::Decode => plan.input(),
        Direction::Encode => plan.output(),
    };
    let of_pieces: Vec<Size> = plan.pieces().map(|piece| self::latents(plan, &piece)).collect();
    let sizes: Vec<u64> = of_pieces.iter().map(|size| size.volume() as u64).collect();
    let processed: u64 = sizes.iter().sum();
    prop_assert_eq!(plan.processed_cells(), u128::from(processed));
    prop_assert_eq!(plan.redundancy(), processed as f64 / latents.volume() as f64);
    prop_assert!(plan.redundancy() >= 1.0);
    // A shard's cells meet all others of their frame in attention, another piece's only its own.
    let is_sharded = plan.strategy() == halovae_core::Strategy::Sharded;
    let pairs =
        |size: Size| size.volume() as u64 * if is_sharded { latents.area() } else { size.area() };
    let work = |size: Size| size.volume() as f64 * 3.0 + pairs(size) as f64 * 0.5;
    let flops: f64 = of_pieces.iter().copied().map(work).sum();
    prop_assert!((plan.flops(&MODEL) - flops).abs() <= flops * 1e-12);

    let mut costs = vec![0; sizes.len()];
    piece_costs(plan, &MODEL, &mut costs).unwrap();
    let expected: Vec<u64> =
        of_pieces.iter().map(|&size| (size.volume() as u64 * 3 + pairs(size) / 2).max(1)).collect();
    prop_assert_eq!(&costs, &expected);
    piece_costs(plan, &WorkModel::default(), &mut costs).unwrap();
    prop_assert_eq!(&costs, &sizes);

    let mut owners = vec![0; sizes.len()];
    round_robin(&mut owners, ranks).unwrap();
    owners.reverse();
    let mut estimates = vec![RankEstimate::default(); ranks as usize];
    estimate_ranks(plan, &owners, &MODEL, &mut estimates).unwrap();
    let pixels: Vec<u64> = plan.pieces().map(|piece| piece.keep.volume() as u64).collect();
    let mut travelled = 0;
    for (rank, estimate) in (0..).zip(&estimates) {
        let mine = || (0..owners.len()).filter(|&piece| owners[piece] == rank);
        let sent = if rank == 0 { 0 } else { mine().map(|i| pixels[i] * 12).sum::<u64>() };
        travelled += sent;
        prop_assert_eq!(estimate.pieces, mine().count() as u64);
        prop_assert_eq!(estimate.cells, mine().map(|i| u128::from(sizes[i])).sum::<u128>());
        let flops: f64 = mine().map(|i| work(of_pieces[i])).sum();
        prop_assert!((estimate.flops - flops).abs() <= flops * 1e-12);
        let largest = mine().map(|i| sizes[i]).max().unwrap_or(0);
        prop_assert_eq!(estimate.peak_bytes, 1000 + 7 * largest);
        prop_assert_eq!(estimate.sent_bytes, sent);
    }
    prop_assert_eq!(estimates[0].received_bytes, travelled);
    prop_assert!(estimates[1..].iter().all(|estimate| estimate.received_bytes == 0));
    Ok(())
}

proptest! {
    #[test]
    fn closed_forms_are_sums_over_pieces(
        case in any_case(), ranks in 1u32..5, frames in 1u32..4, height in 1u32..40,
        width in 1u32..40,
    ) {
        check(&Plan::tiled(case.grid()), ranks)?;
        let latents = Size::video(frames, height, width);
        check(&Plan::whole(latents, 3).unwrap(), ranks)?;
        let tile = Size::new(16, 16);
        let patches = PatchGrid::new(latents, ranks * 3, tile, [0.25, 0.5], 2).unwrap();
        check(&Plan::patch(patches), ranks)?;
    }

    /// Shards do the work of a whole decode, no more and no less, on any number of ranks.
    #[test]
    fn shards_share_out_a_whole_decode(grid in any_shards(), ranks in 1u32..5) {
        let (plan, latents) = (Plan::sharded(grid), grid.latents());
        check(&plan, ranks)?;
        let whole = Plan::whole(latents, grid.scale()).unwrap();
        prop_assert_eq!(plan.processed_cells(), whole.processed_cells());
        prop_assert_eq!(plan.redundancy(), 1.0);
        let flops = whole.flops(&MODEL);
        prop_assert_eq!(plan.flops(&MODEL), flops);
        let mut owners = vec![0; grid.len() as usize];
        round_robin(&mut owners, ranks).unwrap();
        let mut estimates = vec![RankEstimate::default(); ranks as usize];
        estimate_ranks(&plan, &owners, &MODEL, &mut estimates).unwrap();
        let shared: f64 = estimates.iter().map(|estimate| estimate.flops).sum();
        prop_assert!((shared - flops).abs() <= flops * 1e-12);
        let pieces: f64 = plan.pieces().map(|piece| plan.piece_flops(&piece, &MODEL)).sum();
        prop_assert!((pieces - flops).abs() <= flops * 1e-12);
    }

    #[test]
    fn sharded_plans_are_what_they_are_made_of(grid in any_shards()) {
        let plan = Plan::sharded(grid);
        prop_assert_eq!(plan.strategy(), halovae_core::Strategy::Sharded);
        prop_assert_eq!(plan.strategy().to_string(), "sharded");
        prop_assert_eq!(plan.direction(), Direction::Decode);
        prop_assert_eq!((plan.input(), plan.output()), (grid.latents(), grid.output()));
        prop_assert_eq!(plan.piece_count(), u64::from(grid.len()));
        for index in 0..grid.len() {
            let core = grid.shard(index).unwrap().core;
            let output = grid.part(index, grid.scale());
            let keep = output.size().at_origin();
            let expected = Piece { index: index.into(), input: core, keep, output };
            prop_assert_eq!(plan.piece(index.into()), Some(expected));
        }
        // No index is taken for another one whose low half is the same.
        prop_assert_eq!(plan.piece(1 << 32), None);
    }

    #[test]
    fn plans_are_what_they_are_made_of(case in any_case()) {
        let grid = case.grid();
        let plan = Plan::tiled(grid);
        prop_assert_eq!(plan.direction(), case.direction);
        prop_assert_eq!((plan.input(), plan.output()), (grid.input(), grid.output()));
        prop_assert_eq!(plan.piece_count(), grid.len());
        prop_assert_eq!(plan.strategy(), halovae_core::Strategy::Tiled);
        let mut pieces = plan.pieces();
        for tile in grid.tiles() {
            let left = (grid.len() - tile.index) as usize;
            prop_assert_eq!(pieces.size_hint(), (left, Some(left)));
            let Tile { index, input, keep, output, .. } = tile;
            prop_assert_eq!(pieces.next(), Some(Piece { index, input, keep, output }));
        }
        prop_assert_eq!(pieces.next(), None);
    }
}

#[test]
fn whole_and_patch_plans() {
    let latents = Size::new(5, 7);
    let whole = Plan::whole(latents, 8).unwrap();
    let output = Size::new(40, 56);
    let all = output.at_origin();
    let piece = Piece { index: 0, input: latents.at_origin(), keep: all, output: all };
    assert_eq!(whole.pieces().collect::<Vec<_>>(), [piece]);
    assert_eq!((whole.piece(1), whole.piece_count()), (None, 1));
    assert_eq!((whole.input(), whole.output()), (latents, output));
    assert_eq!((whole.strategy(), whole.redundancy()), (halovae_core::Strategy::Whole, 1.0));
    let Plan::Whole(parts) = whole else { panic!("{whole:?}") };
    assert_eq!((parts.latents(), parts.output()), (latents, output));

    let grid = PatchGrid::new(latents, 4, Size::new(4, 4), [0.25, 0.25], 8).unwrap();
    let patch = Plan::patch(grid);
    assert_eq!((patch.strategy(), patch.piece_count()), (halovae_core::Strategy::Patch, 4));
    assert_eq!((patch.input(), patch.output()), (latents, output));
    assert_eq!(patch.direction(), Direction::Decode);
}

/// 2048 x 2048 pixels of Flux: 3 x 3 tiles of 128, 128 and 64 cells.
#[test]
fn redundancy_of_flux() {
    let grid = TileGrid::new(Direction::Decode, Size::new(256, 256), &flux()).unwrap();
    let plan = Plan::tiled(grid);
    assert_eq!(plan.processed_cells(), 320 * 320);
    assert_eq!(plan.redundancy(), 1.5625);
}

/// 33 latent frames of HunyuanVideo: ten windows of 5, each of them 3 behind the one before, and a
/// last one of 3. None of them exceeds a tile in space.
#[test]
fn redundancy_of_hunyuan() {
    let latents = Size::video(33, 30, 32);
    let plan = Plan::tiled(TileGrid::new(Direction::Decode, latents, &hunyuan()).unwrap());
    assert_eq!(plan.processed_cells(), (10 * 5 + 3) * 30 * 32);
    assert_eq!(plan.redundancy(), 53.0 / 33.0);
    // Attention is of single frames.
    let attention = WorkModel { flops_per_cell: 0.0, flops_per_cell_pair: 1.0, ..MODEL };
    assert_eq!(plan.flops(&attention), 53.0 * 960.0 * 960.0);
}

#[test]
fn wrong_lengths_and_owners() {
    let plan = Plan::whole(Size::new(4, 4), 8).unwrap();
    let mismatch = |name, len| PlanError::LengthMismatch { name, len, expected: 1 };
    let one = &mut [RankEstimate::default()];
    assert_eq!(piece_costs(&plan, &MODEL, &mut [0; 2]), Err(mismatch("costs", 2)));
    assert_eq!(estimate_ranks(&plan, &[], &MODEL, one), Err(mismatch("owners", 0)));
    let beyond = |owner, ranks| PlanError::OwnerOutOfRange { piece: 0, owner, ranks };
    assert_eq!(estimate_ranks(&plan, &[1], &MODEL, one), Err(beyond(1, 1)));
    assert_eq!(estimate_ranks(&plan, &[0], &MODEL, &mut []), Err(beyond(0, 0)));
}

#[test]
fn costs_of_nonsense_models_are_bounded() {
    let plan = Plan::whole(Size::new(4, 4), 8).unwrap();
    let cost = |flops_per_cell| {
        let mut costs = [0];
        let model = WorkModel { flops_per_cell, ..MODEL };
        piece_costs(&plan, &model, &mut costs).unwrap();
        costs[0]
    };
    assert_eq!(cost(f64::NAN), 1);
    assert_eq!(cost(-1e300), 1);
    assert_eq!(cost(f64::INFINITY), u64::MAX);
    let huge = WorkModel { live_bytes_per_cell: u64::MAX, fixed_bytes: 9, ..MODEL };
    let one = &mut [RankEstimate::default()];
    estimate_ranks(&plan, &[0], &huge, one).unwrap();
    assert_eq!(one[0].peak_bytes, u64::MAX);
}
