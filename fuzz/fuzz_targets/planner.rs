//! The planner with any numbers: it refuses or keeps its promises, and never panics.

#![no_main]

use halovae_core::{
    Axes, Axis, AxisTiling, Block, Chunks, Direction, DitParallel, DroppedFrame, LayerHalo,
    Margins, PatchGrid, Piece, Plan, RankEstimate, RankLoad, Region, Request, Scale, ShardGrid,
    Size, Strategy, TileGrid, Tiling, TimeLaw, TimeScale, TimeTiling, Window, WorkModel, balance,
    choose_strategy, contiguous, estimate_ranks, largest_first, piece_costs, round_robin,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Plans may have 2^64 pieces; that many are looked at from either end.
const LOOKED_AT: u64 = 48;

/// A block may have 16 terms along each axis. Weights are added up in blocks that together have no
/// more than one such.
const WEIGHED: u32 = 1 << 12;

/// How rows or columns are tiled.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Tiles {
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

impl Tiles {
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

/// Frames and what lies on them.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Time {
    frames: Extent,
    scale: FrameScale,
    /// The input is as large as the layer of so many latents.
    is_whole: bool,
    tiles: Option<TimeTiles>,
    slices: Extent,
    layer: FrameScale,
    past_and_future: [Extent; 2],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct FrameScale {
    factor: Extent,
    law: u8,
}

impl FrameScale {
    fn get(self) -> TimeScale {
        let laws = [TimeLaw::FirstAlone, TimeLaw::Even, TimeLaw::AfterFirst];
        TimeScale { factor: self.factor.get(), law: laws[usize::from(self.law % 3)] }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct TimeTiles {
    /// Numbers of latent frames, which agree with the scale.
    are_latents: bool,
    frames: Extent,
    stride: Extent,
    drops_last: bool,
}

impl TimeTiles {
    fn tiling(self, factor: u32) -> TimeTiling {
        let factor = if self.are_latents { factor } else { 1 };
        let [tile, stride] = [self.frames, self.stride].map(|n| n.get().wrapping_mul(factor));
        TimeTiling {
            tile_sample_min_num_frames: tile,
            tile_sample_stride_num_frames: stride,
            dropped: if self.drops_last { DroppedFrame::Last } else { DroppedFrame::First },
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    height: Extent,
    width: Extent,
    scale: Extent,
    encode: bool,
    tile_height: Tiles,
    tile_width: Tiles,
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
    /// Of a video. Behind all others, so that inputs that end before it are images.
    time: Option<Time>,
    first_alone: bool,
    skip: Extent,
    /// Which of the axes are not tiled.
    untiled: [bool; 2],
    chunk: Extent,
}

impl Input {
    fn scale(&self) -> Scale {
        let time = self.time.map_or(TimeScale::SAME, |time| time.scale.get());
        Scale::video(time, self.scale.get())
    }

    /// Of a layer whose cells are no finer than those of the output.
    fn layer_scale(&self) -> Scale {
        let Scale { time: of_output, space } = self.scale();
        let time = self.time.map_or(TimeScale::SAME, |time| time.layer.get());
        let factor = time.factor.min(of_output.factor);
        Scale::video(TimeScale { factor, ..time }, space.min(self.group.get()))
    }

    fn size(&self) -> Size {
        let frames = self.time.map_or(1, |time| time.frames.get());
        let size = Size::video(frames, self.height.get(), self.width.get());
        let is_whole = self.encode && self.time.is_some_and(|time| time.is_whole);
        self.scale().layer(size).filter(|_| is_whole).unwrap_or(size)
    }

    fn tiling(&self) -> Tiling {
        let scale = self.scale();
        let [height, width] =
            [self.tile_height, self.tile_width].map(|axis| axis.tiling(scale.space));
        let cut = |axis, is_whole| if is_whole { AxisTiling::Whole } else { axis };
        let [rows_whole, columns_whole] = self.untiled;
        let tiling = Tiling::new(cut(height, rows_whole), cut(width, columns_whole), scale);
        match self.time.and_then(|time| time.tiles) {
            Some(tiles) => tiling.with_time(tiles.tiling(scale.time.factor)),
            None => tiling,
        }
    }
}

fuzz_target!(|input: Input| {
    groups(&input);
    window(&input);
    let (scale, size, tiling) = (input.scale(), input.size(), input.tiling());
    time_scale(scale.time, input.at as u32);
    chunks(size.frames, scale.time, &input);
    let direction = if input.encode { Direction::Encode } else { Direction::Decode };
    let triggers = tiling.triggers(direction, size);
    let _ = choose_strategy(input.ranks.get(), input.use_tiling, triggers);
    if let Ok(grid) = TileGrid::new(direction, size, &tiling) {
        assert_eq!(grid.triggers(), triggers);
        check(&Plan::tiled(grid), scale, &input);
    }
    let tile = Size::new(input.patch_tile[0].get(), input.patch_tile[1].get());
    let patches = PatchGrid::new(size, input.ranks.get(), tile, input.patch_overlap, scale);
    for grid in [patches, PatchGrid::like(size, input.ranks.get(), &tiling)] {
        let Ok(grid) = grid else { continue };
        assert_eq!(grid.ranks(), input.ranks.get());
        assert!(grid.rows() <= grid.cols());
        check(&Plan::patch(grid), scale, &input);
    }
    shards(size, scale, &input);
    if let Ok(plan) = Plan::whole(size, scale) {
        assert_eq!(Some(plan.output()), scale.layer(size));
        check(&plan, scale, &input);
    }
});

/// Grids of shards: bands that hold their halos, and transfers that both sides agree on.
fn shards(size: Size, scale: Scale, input: &Input) {
    let [top, bottom, left, right, ..] = input.factors.map(Extent::get);
    let [past, future] = input.time.map_or([0; 2], |time| time.past_and_future.map(Extent::get));
    let reach = Margins { past, future, ..Margins::of_frame([top, bottom, left, right]) };
    let layer = LayerHalo { scale: input.layer_scale(), reach, bytes_per_cell: input.bytes[0] };
    let [rows, cols] = input.patch_tile.map(Extent::get);
    let slices = input.time.map_or(1, |time| time.slices.get());
    let fit = ShardGrid::fit(size, Axes::new(slices, rows, cols), scale, &[layer]);
    let chosen = ShardGrid::choose(size, input.ranks.get(), scale, &[layer]);
    for grid in [fit, chosen] {
        let Ok((grid, _)) = grid else { continue };
        assert!(grid.fits(layer.scale, reach), "{grid:?}");
        // Along an axis the longest band is less than twice the mean.
        assert!((0.999_999..8.0).contains(&grid.imbalance()), "{grid:?}");
        check(&Plan::sharded(grid), scale, input);
        // Cells of other laws may leave u32 although the output's do not.
        let Some(whole) = layer.scale.layer(size) else { continue };
        let index = (input.at % u64::from(grid.len())) as u32;
        halo(&grid, index, layer);
        if u64::from(grid.len()) <= LOOKED_AT {
            let owned = (0..grid.len()).map(|index| grid.part(index, layer.scale).volume());
            assert_eq!(owned.sum::<u128>(), whole.volume());
            let received = (0..grid.len()).map(|index| halo(&grid, index, layer));
            let bytes = received.sum::<u128>().saturating_mul(layer.bytes_per_cell.into());
            assert_eq!(grid.halo_bytes(&[layer]), u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}

/// What a shard receives of a layer fills the box around its part, and nothing twice. How many
/// cells that is.
fn halo(grid: &ShardGrid, index: u32, LayerHalo { scale, reach, .. }: LayerHalo) -> u128 {
    let (part, margins) = (grid.part(index, scale), grid.margins(index, scale, reach));
    let framed = Axes::from_fn(|axis| {
        let ((start, len), [before, behind]) = (part.span(axis), margins.along(axis));
        (start - before, before + len + behind)
    });
    let framed = Region::from_spans(framed);
    let received: Vec<_> = grid.received(index, scale, reach).collect();
    assert!(received.len() <= 26);
    assert!(received.is_sorted_by(|a, b| a.from < b.from), "{received:?}");
    let mut cells = 0;
    for (at, transfer) in received.iter().enumerate() {
        assert!(transfer.to == index && transfer.from != index, "{transfer:?}");
        assert!(grid.part(transfer.from, scale).contains(transfer.region), "{transfer:?}");
        assert!(framed.contains(transfer.region), "{transfer:?}");
        let twice = |other: Region| transfer.region.intersect(other).is_some();
        assert!(!twice(part) && !received[..at].iter().any(|other| twice(other.region)));
        assert!(grid.sent(transfer.from, scale, reach).any(|sent| sent == *transfer));
        cells += transfer.region.volume();
    }
    assert_eq!(part.volume() + cells, framed.volume(), "{part:?} in {framed:?}: {received:?}");
    cells
}

/// What an op reads: as far as its padding, in order, and inside its input.
fn window(input: &Input) {
    let [before, behind, repeat, _, kernel, stride] = input.factors.map(Extent::get);
    let skip = input.skip.get();
    let first_alone = input.first_alone;
    let window = Window { kernel, stride, before, behind, repeat, first_alone, skip };
    if let Ok([past, future]) = window.reach() {
        assert!(past <= before && future < kernel);
    }
    let cells = u64::from(input.height.get());
    let outputs = window.outputs(cells);
    assert!(outputs <= window.outputs(cells + 1));
    let look_ahead = Window { behind: behind.saturating_add(1), ..window };
    assert!(outputs <= look_ahead.outputs(cells));
    let at = input.at.min(u64::MAX - 2);
    let [one, next, both] = [at..at + 1, at + 1..at + 2, at..at + 2].map(|of| window.cells(&of));
    assert!(one.start <= one.end && one.start <= next.start && one.end <= next.end);
    assert!(both == (one.start..next.end) || kernel == 0);
    assert!(window.cells(&(at..at)).is_empty());
    // The last output reads no further than what is padded behind the input.
    let places = outputs.checked_mul(stride.into()).and_then(|places| i64::try_from(places).ok());
    if let (Some(_), Some(last)) = (places, outputs.checked_sub(1)) {
        let tap = window.first(last as i64) + i64::from(kernel) - 1 - i64::from(behind);
        assert!(tap < 0 || window.cell(tap) < cells as i64, "{window:?} over {cells} cells");
    }
}

/// A frame belongs to the latents whose frames begin at or before it, and not to the next.
fn time_scale(time: TimeScale, frame: u32) {
    let Some(latent) = time.latent(frame) else {
        assert!(time.factor <= 1);
        return;
    };
    if time.factor > 0 {
        assert!(time.at(latent).is_some_and(|first| first <= frame));
        let next = latent.checked_add(1).and_then(|next| time.at(next));
        assert!(next.is_none_or(|next| frame < next));
    }
}

/// Chunks follow each other without gaps, and so do the frames that lie on them.
fn chunks(frames: u32, time: TimeScale, input: &Input) {
    let [each, fixed, limit] = input.bytes;
    let bytes = |frames: u32| u64::from(frames).saturating_mul(each).saturating_add(fixed);
    let fit = Chunks::fit(frames, limit, bytes);
    if let Ok(chunks) = fit {
        let longest = chunks.longest();
        assert!(bytes(longest) <= limit && (longest == frames || bytes(longest + 1) > limit));
    } else {
        assert!(frames == 0 || bytes(1) > limit);
    }
    for chunks in [fit, Chunks::new(frames, input.chunk.get())] {
        let Ok(chunks) = chunks else { continue };
        assert!(chunks.frames() == frames && (1..=frames).contains(&chunks.longest()));
        let count = chunks.len();
        assert_eq!((chunks.get(count), chunks.get(u32::MAX)), (None, None));
        let looked_at = LOOKED_AT as u32;
        for from in [0, count.saturating_sub(looked_at)] {
            let mut before = chunks.get(from).expect("an index below the count").start;
            let mut finished = time.at(before);
            for index in from..count.min(from + looked_at) {
                let chunk = chunks.get(index).expect("an index below the count");
                assert!(chunk.start == before && chunk.end > before, "{chunks:?}");
                before = chunk.end;
                let output = chunks.finished(index, time);
                assert!(output.as_ref().is_none_or(|output| finished == Some(output.start)));
                finished = output.map(|output| output.end);
            }
            assert!(from + looked_at < count || (before, finished) == (frames, time.at(frames)));
        }
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

fn check(plan: &Plan, scale: Scale, input: &Input) {
    let count = plan.piece_count();
    assert!(count > 0);
    assert!(plan.piece(count).is_none());
    let [whole_input, whole_output] = [plan.input().at_origin(), plan.output().at_origin()];
    let first = 0..count.min(LOOKED_AT);
    let last = count.saturating_sub(LOOKED_AT)..count;
    for index in first.chain(last).chain([input.at % count]) {
        let piece = plan.piece(index).expect("an index below the count");
        assert_eq!(piece.index, index);
        for region in [piece.input, piece.keep, piece.output] {
            assert!(!region.is_empty(), "{piece:?}");
        }
        assert!(whole_input.contains(piece.input), "{piece:?}");
        assert!(whole_output.contains(piece.output), "{piece:?}");
        assert_eq!(piece.keep.size(), piece.output.size());
        computed(plan, scale, &piece);
    }
    blocks(plan, whole_output);
    let cells = match plan.direction() {
        Direction::Decode => plan.input().volume(),
        Direction::Encode => plan.output().volume(),
    };
    assert!(plan.processed_cells() >= cells);
    assert!(plan.redundancy() >= 1.0);
    if count <= 512 {
        shares(plan, input, count as usize);
    }
}

/// What is kept of a window has been computed of it.
fn computed(plan: &Plan, scale: Scale, piece: &Piece) {
    let latents = plan.piece_latents(piece);
    let pixels = scale.layer(latents).expect("a part of a layer that fits");
    let computed = match (plan.strategy(), plan.direction()) {
        // A shard's frames are those of its latents in the whole video, not alone.
        (Strategy::Sharded, _) => return,
        (_, Direction::Decode) => {
            assert_eq!(latents, piece.input.size());
            pixels
        }
        (_, Direction::Encode) => {
            assert_eq!(pixels, piece.input.size());
            latents
        }
    };
    assert!(computed.at_origin().contains(piece.keep), "{piece:?} of {computed:?}");
}

/// Bands and blocks follow each other without gaps; all of them cover the output.
fn blocks(plan: &Plan, output: Region) {
    let (mut frame, mut row) = (0u64, 0u64);
    let mut held = 0..0;
    let mut complete = true;
    let mut weighed = WEIGHED;
    for (index, band) in (0u64..).zip(plan.bands()) {
        if index == LOOKED_AT {
            complete = false;
            break;
        }
        assert!(band.frames > 0 && u64::from(band.first) == frame, "{band:?}");
        assert!(band.height > 0 && u64::from(band.top) == row, "{band:?}");
        row += u64::from(band.height);
        if row == output.bottom() {
            (frame, row) = (frame + u64::from(band.frames), 0);
        }
        let pieces = band.pieces();
        assert!(held.start <= pieces.start && held.end <= pieces.end, "{held:?}, then {band:?}");
        assert!(pieces.start < pieces.end && pieces.end <= plan.piece_count(), "{band:?}");
        held = pieces.clone();
        let mut right = 0u64;
        let mut row_complete = true;
        for (index, block) in (0u64..).zip(band.blocks()) {
            if index == LOOKED_AT {
                row_complete = false;
                break;
            }
            let region = block.region;
            assert_eq!(region.span(Axis::Time), (band.first, band.frames), "{block:?}");
            assert_eq!(region.span(Axis::Height), (band.top, band.height), "{block:?}");
            assert!(region.width > 0 && u64::from(region.left) == right, "{block:?}");
            right = region.right();
            assert!(output.contains(region), "{block:?}");
            if let Some(left) = weighed.checked_sub(block.term_count()) {
                weighed = left;
                terms(plan, &block, &pieces);
            }
        }
        assert!(!row_complete || right == output.right());
    }
    assert!(!complete || (frame, row) == (output.end(), 0));
    assert!(!complete || held.end == plan.piece_count());
}

fn terms(plan: &Plan, block: &Block, pieces: &std::ops::Range<u64>) {
    let region = block.region;
    let places = |len: u32| [0, len / 2, len - 1];
    let Size { frames, height, width } = region.size();
    let (frames, rows, columns) = (places(frames), places(height), places(width));
    let mut sums = [[[0.0f64; 3]; 3]; 3];
    let mut before = None;
    let mut count = 0;
    for term in block.terms() {
        assert!(before < Some(term.piece), "terms are not in the order of pieces");
        before = Some(term.piece);
        count += 1;
        assert!(pieces.contains(&term.piece));
        let piece = plan.piece(term.piece).expect("a term names a piece");
        assert_eq!(term.source.size(), region.size());
        assert!(piece.keep.size().at_origin().contains(term.source), "{term:?} of {piece:?}");
        for axis in Axis::ALL {
            let start = |region: Region| region.span(axis).0;
            let source = start(piece.output) + start(term.source);
            assert_eq!(source, start(region), "{term:?} of {piece:?}");
        }
        assert_eq!(term.is_unit(), block.term_count() == 1);
        let of_frames = frames.map(|dt| term.frame_weight(dt));
        let of_rows = rows.map(|dy| term.row_weight(dy));
        let of_columns = columns.map(|dx| term.column_weight(dx));
        for (frame, sums) in of_frames.iter().zip(&mut sums) {
            for (row, sums) in of_rows.iter().zip(sums) {
                for (column, sum) in of_columns.iter().zip(sums) {
                    let weight = frame * row * column;
                    assert!((-1e-9..=1.0 + 1e-9).contains(&weight), "{weight} in {term:?}");
                    *sum += weight;
                }
            }
        }
        let mut first = [f32::NAN];
        term.fill_weights(frames[1], rows[1], &mut first);
        let weight = term.weight(frames[1], rows[1], 0);
        assert_eq!(
            (first[0], weight),
            (weight, (of_frames[1] * of_rows[1] * of_columns[0]) as f32)
        );
        assert_eq!(term.weight(region.frames, 0, 0), 0.0);
    }
    assert_eq!(count, block.term_count());
    for sum in sums.iter().flatten().flatten() {
        assert!((sum - 1.0).abs() < 1e-9, "weights add up to {sum} in {block:?}");
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
    let even = WorkModel { flops_per_cell_pair: 0.5, ..WorkModel::default() };
    let of_pieces: f64 = plan.pieces().map(|piece| plan.piece_flops(&piece, &even)).sum();
    let error = (of_pieces - plan.flops(&even)).abs();
    assert!(error <= 1e-9 * of_pieces, "{of_pieces} and {}", plan.flops(&even));
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
            let cells = estimates.iter().map(|e| e.cells).sum::<u128>();
            assert_eq!(cells, plan.processed_cells());
            let sent = estimates.iter().map(|e| e.sent_bytes).fold(0, u64::saturating_add);
            assert_eq!(estimates[0].received_bytes, sent);
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
