//! The planner with any numbers: it refuses or keeps its promises, and never panics.

#![no_main]

use halovae_core::{
    AxisTiling, Block, Direction, DitParallel, LayerHalo, Margins, PatchGrid, Plan, RankEstimate,
    RankLoad, Region, Request, ShardGrid, Size, TileGrid, Tiling, Window, WorkModel, balance,
    choose_strategy, contiguous, estimate_ranks, largest_first, piece_costs, round_robin,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Plans may have 2^64 pieces; that many are looked at from either end.
const LOOKED_AT: u64 = 48;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Axis {
    /// Numbers that agree, as a VAE's config has them.
    Consistent {
        cells: u16,
        overlap: u16,
    },
    Overlap {
        pixels: u32,
        cells: u32,
        factor: f64,
    },
    ConsistentStride {
        cells: u16,
        stride: u16,
    },
    Stride {
        pixels: u32,
        stride: u32,
    },
}

impl Axis {
    fn tiling(self, scale: u32) -> AxisTiling {
        match self {
            Self::Consistent { cells, overlap } => AxisTiling::Overlap {
                tile_sample_min_size: u32::from(cells).wrapping_mul(scale),
                tile_latent_min_size: cells.into(),
                tile_overlap_factor: f64::from(overlap) / f64::from(cells),
            },
            Self::Overlap { pixels, cells, factor } => AxisTiling::Overlap {
                tile_sample_min_size: pixels,
                tile_latent_min_size: cells,
                tile_overlap_factor: factor,
            },
            Self::ConsistentStride { cells, stride } => AxisTiling::Stride {
                tile_sample_min_size: u32::from(cells).wrapping_mul(scale),
                tile_sample_stride: u32::from(stride).wrapping_mul(scale),
            },
            Self::Stride { pixels, stride } => {
                AxisTiling::Stride { tile_sample_min_size: pixels, tile_sample_stride: stride }
            }
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Extent {
    Small(u8),
    Medium(u16),
    Any(u32),
}

impl Extent {
    fn get(self) -> u32 {
        match self {
            Self::Small(extent) => extent.into(),
            Self::Medium(extent) => extent.into(),
            Self::Any(extent) => extent,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    height: Extent,
    width: Extent,
    scale: Extent,
    encode: bool,
    tile_height: Axis,
    tile_width: Axis,
    ranks: Extent,
    patch_tile: [Extent; 2],
    patch_overlap: [f64; 2],
    factors: [Extent; 6],
    group: Extent,
    use_tiling: bool,
    parallel_supported: bool,
    flops_per_cell: f64,
    flops_per_cell_pair: f64,
    bytes: [u64; 3],
    at: u64,
}

fuzz_target!(|input: Input| {
    groups(&input);
    let scale = input.scale.get();
    let size = Size::new(input.height.get(), input.width.get());
    let tiling = Tiling {
        height: input.tile_height.tiling(scale),
        width: input.tile_width.tiling(scale),
        scale,
    };
    let direction = if input.encode { Direction::Encode } else { Direction::Decode };
    let triggers = tiling.triggers(direction, size);
    let _ = choose_strategy(input.ranks.get(), input.use_tiling, triggers);
    if let Ok(grid) = TileGrid::new(direction, size, &tiling) {
        assert_eq!(grid.triggers(), triggers);
        check(&Plan::tiled(grid), &input);
    }
    let tile = Size::new(input.patch_tile[0].get(), input.patch_tile[1].get());
    let patches = PatchGrid::new(size, input.ranks.get(), tile, input.patch_overlap, scale);
    if let Ok(grid) = patches {
        assert_eq!(grid.ranks(), input.ranks.get());
        assert!(grid.rows() <= grid.cols());
        check(&Plan::patch(grid), &input);
    }
    shards(size, scale, &input);
    if let Ok(plan) = Plan::whole(size, scale) {
        check(&plan, &input);
    }
});

/// Grids of shards: bands that hold their halos, and transfers that both sides agree on.
fn shards(size: Size, scale: u32, input: &Input) {
    let [top, bottom, left, right, kernel, stride] = input.factors.map(Extent::get);
    let reach = Margins::of_frame([top, bottom, left, right]);
    let layer_scale = scale.min(input.group.get());
    let layers = [LayerHalo { scale: layer_scale, reach, bytes_per_cell: input.bytes[0] }];
    let [rows, cols] = input.patch_tile.map(Extent::get);
    let chosen = ShardGrid::choose(size, input.ranks.get(), scale, &layers);
    for grid in [ShardGrid::fit(size, rows, cols, scale, &layers), chosen] {
        let Ok((grid, _)) = grid else { continue };
        assert!(grid.fits(layer_scale, reach), "{grid:?}");
        check(&Plan::sharded(grid), input);
        let index = (input.at % u64::from(grid.len())) as u32;
        for transfer in grid.received(index, layer_scale, reach) {
            assert!(grid.part(transfer.from, layer_scale).contains(transfer.rect), "{transfer:?}");
            let mut sent = grid.sent(transfer.from, layer_scale, reach);
            assert!(sent.any(|other| other == transfer), "{transfer:?}");
        }
    }
    let axis =
        Window { kernel, stride, before: top, behind: bottom, repeat: left, ..Window::POINT };
    if let Ok([before, behind]) = axis.reach() {
        assert!(before <= top && behind <= kernel);
    }
}

fn groups(input: &Input) {
    let [data, cfg, ulysses, ring, pipeline, tensor] = input.factors.map(Extent::get);
    let product = [data, cfg, ulysses, ring, pipeline, tensor]
        .iter()
        .try_fold(1u32, |product, &factor| product.checked_mul(factor))
        .filter(|&product| product > 0);
    let group = DitParallel { data, cfg, ulysses, ring, pipeline, tensor }.size();
    assert_eq!(group.ok(), product);
    let request = Request {
        vae_patch_parallel_size: input.ranks.get(),
        group_size: input.group.get(),
        use_tiling: input.use_tiling,
        parallel_supported: input.parallel_supported,
    };
    let Ok(resolved) = request.resolve() else {
        assert!(request.vae_patch_parallel_size == 0 || request.group_size == 0);
        return;
    };
    assert!((1..=request.group_size).contains(&resolved.ranks));
    assert!(resolved.ranks <= request.vae_patch_parallel_size);
    assert!(resolved.ranks == 1 || resolved.use_tiling);
    let again = Request {
        vae_patch_parallel_size: resolved.ranks,
        use_tiling: resolved.use_tiling,
        ..request
    };
    let again = again.resolve().expect("what was resolved is possible");
    assert_eq!((again.ranks, again.use_tiling), (resolved.ranks, resolved.use_tiling));
    assert!(again.notices.is_empty());
}

fn check(plan: &Plan, input: &Input) {
    let count = plan.piece_count();
    assert!(count > 0);
    assert!(plan.piece(count).is_none());
    let [whole_input, whole_output] = [plan.input().at_origin(), plan.output().at_origin()];
    let first = 0..count.min(LOOKED_AT);
    let last = count.saturating_sub(LOOKED_AT)..count;
    for index in first.chain(last).chain([input.at % count]) {
        let piece = plan.piece(index).expect("an index below the count");
        assert_eq!(piece.index, index);
        for rect in [piece.input, piece.keep, piece.output] {
            assert!(!rect.is_empty(), "{piece:?}");
        }
        assert!(whole_input.contains(piece.input), "{piece:?}");
        assert!(whole_output.contains(piece.output), "{piece:?}");
        assert_eq!(piece.keep.size(), piece.output.size());
    }
    blocks(plan, whole_output);
    let cells = match plan.direction() {
        Direction::Decode => plan.input().area(),
        Direction::Encode => plan.output().area(),
    };
    assert!(plan.processed_cells() >= u128::from(cells));
    assert!(plan.redundancy() >= 1.0);
    if count <= 512 {
        shares(plan, input, count as usize);
    }
}

/// Bands and blocks follow each other without gaps; all of them cover the output.
fn blocks(plan: &Plan, output: Region) {
    let mut bottom = 0u64;
    let mut complete = true;
    for (index, band) in (0u64..).zip(plan.bands()) {
        if index == LOOKED_AT {
            complete = false;
            break;
        }
        assert!(band.height > 0 && u64::from(band.top) == bottom, "{band:?}");
        bottom += u64::from(band.height);
        let pieces = band.pieces();
        let mut right = 0u64;
        let mut row_complete = true;
        for (index, block) in (0u64..).zip(band.blocks()) {
            if index == LOOKED_AT {
                row_complete = false;
                break;
            }
            let rect = block.rect;
            assert!((rect.top, rect.height) == (band.top, band.height), "{block:?}");
            assert!(rect.width > 0 && u64::from(rect.left) == right, "{block:?}");
            right = rect.right();
            assert!(output.contains(rect), "{block:?}");
            terms(plan, &block, &pieces);
        }
        assert!(!row_complete || right == output.right());
    }
    assert!(!complete || bottom == output.bottom());
}

fn terms(plan: &Plan, block: &Block, pieces: &std::ops::Range<u64>) {
    let rect = block.rect;
    let rows = [0, rect.height / 2, rect.height - 1];
    let columns = [0, rect.width / 2, rect.width - 1];
    let mut sums = [[0.0f64; 3]; 3];
    let mut before = None;
    for term in block.terms() {
        assert!(before < Some(term.piece), "terms are not in the order of pieces");
        before = Some(term.piece);
        assert!(pieces.contains(&term.piece));
        let piece = plan.piece(term.piece).expect("a term names a piece");
        assert_eq!(term.source.size(), rect.size());
        assert!(piece.keep.size().at_origin().contains(term.source), "{term:?} of {piece:?}");
        let source = (piece.output.top + term.source.top, piece.output.left + term.source.left);
        assert_eq!(source, (rect.top, rect.left), "{term:?} of {piece:?}");
        assert!(!term.is_unit() || block.term_count() == 1);
        for (row, sums) in rows.iter().zip(&mut sums) {
            for (column, sum) in columns.iter().zip(sums) {
                let weight = term.weight(*row, *column);
                assert!((-1e-6..=1.0 + 1e-6).contains(&weight), "{weight} in {term:?}");
                *sum += f64::from(weight);
            }
        }
    }
    for sum in sums.iter().flatten() {
        assert!((sum - 1.0).abs() < 1e-5, "weights add up to {sum} in {block:?}");
    }
}

fn shares(plan: &Plan, input: &Input, count: usize) {
    let ranks = (input.ranks.get() % 65) as usize;
    let model = WorkModel {
        flops_per_cell: input.flops_per_cell,
        flops_per_cell_pair: input.flops_per_cell_pair,
        live_bytes_per_cell: input.bytes[0],
        fixed_bytes: input.bytes[1],
        output_bytes_per_pixel: input.bytes[2],
    };
    let mut costs = vec![0; count];
    piece_costs(plan, &model, &mut costs).expect("as many costs as pieces");
    assert!(costs.iter().all(|&cost| cost > 0));
    let mut owners = vec![u32::MAX; count];
    let mut order = vec![0; count];
    let mut loads = vec![RankLoad::default(); ranks];
    let total: u128 = costs.iter().copied().map(u128::from).sum();
    let largest = costs.iter().copied().max().map_or(0, u128::from);
    match largest_first(&costs, &mut owners, &mut order, &mut loads) {
        Err(_) => assert_eq!(ranks, 0),
        Ok(shared) => {
            assert_eq!(shared.total, total);
            assert!(shared.makespan >= total.div_ceil(ranks as u128).max(largest));
            assert!(shared.makespan <= total / ranks as u128 + largest);
            assert_eq!(balance(&costs, &owners, &mut loads), Ok(shared));
            let mut estimates = vec![RankEstimate::default(); ranks];
            estimate_ranks(plan, &owners, &model, &mut estimates).expect("owners that exist");
            assert_eq!(estimates.iter().map(|e| e.pieces).sum::<u64>(), count as u64);
        }
    }
    if let Ok(runs) = contiguous(&costs, &mut owners, ranks as u32) {
        assert!(owners.is_sorted());
        assert_eq!(balance(&costs, &owners, &mut loads).map(|b| b.makespan), Ok(runs.makespan));
    }
    if round_robin(&mut owners, ranks as u32).is_ok() {
        assert!(owners.iter().all(|&owner| (owner as usize) < ranks));
    }
}
