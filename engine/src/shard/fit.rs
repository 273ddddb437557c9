//! How many shards fit a given memory.

use halovae_core::{Axes, LayerHalo, Notice, PlanError, Scale, ShardGrid, Size};

use super::cut::Cut;
use super::estimate::peak_bytes;
use super::pass::{UncutError, exchanged_layers};
use super::rounds::most_frames;
use crate::flow::Flow;
use crate::program::{MemoryModel, Program, ValueId, ValueKind};
use crate::tensor::Shape;

/// How a decode is cut so that it fits a memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The shards.
    pub grid: ShardGrid,
    /// Bytes of values that may wait on each rank's device.
    pub limit: u64,
    /// Bytes that are needed at the least: weights, one shard's turn on each rank, and what the
    /// host holds meanwhile.
    pub needed: u64,
}

/// Why no number of shards fits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// The program cannot be cut.
    #[error(transparent)]
    Uncut(#[from] UncutError),
    /// There is no grid at all.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Even the finest grid needs more.
    #[error(
        "no number of shards that was tried decodes {} latent cells in {}: the least is {} MiB, {} \
         MiB of them for the program itself; allow that much, or use fewer ranks if there are several",
        cells(*.latents),
        crate::format_bytes(*.budget),
        // As a flag takes it, and never less than it is.
        least.div_ceil(1 << 20),
        PROCESS_BYTES >> 20
    )]
    Memory {
        /// The latents, in cells.
        latents: Size,
        /// The bytes that were allowed.
        budget: u64,
        /// The bytes that would do.
        least: u64,
    },
}

/// Numbers of shards that are tried: each allows a compact grid, and is at most a third above the
/// one before.
const SHARDS: [u32; 24] = [
    1, 2, 3, 4, 6, 8, 9, 12, 16, 20, 25, 30, 36, 49, 64, 81, 100, 121, 144, 196, 256, 400, 576,
    1024,
];

/// After so many grids that need no less than coarser ones, finer ones are not tried: of long videos each
/// takes seconds.
const MOST_IN_VAIN: u32 = 3;

/// What a process holds besides its devices' memory: code, threads, encoders.
const PROCESS_BYTES: u64 = 64 << 20;

/// The grid of `shards` shards over rows and columns that exchange the least; see
/// [`ShardGrid::choose`].
///
/// # Errors
/// [`PlanError`].
pub fn choose(
    latents: Size,
    shards: u32,
    scale: Scale,
    layers: &[LayerHalo],
) -> Result<(ShardGrid, Option<Notice>), PlanError> {
    // Frames all have the same halos, so one of them tells.
    let (grid, notice) =
        ShardGrid::choose(Size { frames: 1, ..latents }, shards, scale.space, layers)?;
    let bands = Axes::new(1, grid.rows(), grid.cols());
    Ok((ShardGrid::of(latents, bands, scale)?, notice))
}

/// Who decodes, and in what memory.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Ranks of the group.
    pub ranks: u32,
    /// Those of them that are of one process.
    pub together: u32,
    /// Bytes that each process may take.
    pub bytes: u64,
    /// At most so many frames of latents are decoded at a time.
    pub chunk: u32,
}

/// The fewest shards with which `latents` are decoded within a budget. Half of what the weights leave
/// is left for values that wait; if that cannot be, the fewest that fit. With a `grid` there is no
/// choice but of what may wait.
///
/// # Errors
/// [`FitError`].
pub fn fit(
    program: &Program,
    model: &dyn MemoryModel,
    latents: Size,
    within: Budget,
    grid: Option<ShardGrid>,
) -> Result<Fit, FitError> {
    let Budget { ranks, bytes: budget, together, .. } = within;
    let layers = exchanged_layers(program)?;
    let tried: Vec<ShardGrid> = match grid {
        Some(grid) => vec![grid],
        None => {
            let counts = SHARDS.into_iter().chain([ranks]).filter(|&shards| shards >= ranks);
            let grid = |shards| choose(latents, shards, program.out_scale(), &layers);
            let mut grids: Vec<ShardGrid> = counts
                .map(|shards| grid(shards).map(|(grid, _)| grid))
                .collect::<Result<_, _>>()?;
            grids.sort_by_key(ShardGrid::len);
            grids.dedup();
            grids
        }
    };
    let fixed = model.prepared_weight_bytes(program).saturating_add(PROCESS_BYTES);
    let room = budget.saturating_sub(fixed) / 2;
    let mut fallback: Option<Fit> = None;
    let (mut least, mut in_vain) = (u64::MAX, 0);
    for grid in tried {
        let needed = needed_bytes(program, model, grid, &within, &layers)?;
        in_vain = if needed < least { 0 } else { in_vain + 1 };
        if in_vain == MOST_IN_VAIN {
            break;
        }
        least = least.min(needed);
        if needed > budget {
            continue;
        }
        let left = (budget - needed) / u64::from(together.max(1));
        let fit = Fit { grid, limit: left - allocator_bytes(latents, left), needed };
        if needed <= fixed.saturating_add(room) {
            return Ok(fit);
        }
        fallback.get_or_insert(fit);
    }
    fallback.ok_or(FitError::Memory { latents, budget, least })
}

/// What the allocator holds beside `bytes` of values, in pages that are not full and gaps. It is for large
/// values that are mapped one by one; a heap leaves larger gaps.
fn allocator_bytes(latents: Size, bytes: u64) -> u64 {
    if latents.frames > 1 { bytes / 32 } else { 0 }
}

fn cells(Size { frames, height, width }: Size) -> String {
    match frames {
        1 => format!("{height} x {width}"),
        _ => format!("{frames} x {height} x {width}"),
    }
}

fn needed_bytes(
    program: &Program,
    model: &dyn MemoryModel,
    grid: ShardGrid,
    within: &Budget,
    layers: &[LayerHalo],
) -> Result<u64, UncutError> {
    let Budget { ranks, together, chunk, .. } = *within;
    let cut = Cut::new(program, grid, ranks)?;
    let together = together.clamp(1, cut.ranks());
    let turns = (0..cut.ranks()).map(|rank| peak_bytes(program, &cut, rank, model, Some(0), chunk));
    let mut turns: Vec<u64> = turns.collect();
    // Whatever ranks a process has, they need no more than those that need most.
    turns.sort_unstable_by(|a, b| b.cmp(a));
    let turns = turns.into_iter().take(together as usize).fold(0, u64::saturating_add);
    // One layer's borders, one value on its way to the file or back, rows of finished shards at the
    // stitcher and the shards on their way to it: of the frames that are decoded together.
    let most = most_frames(program, &cut, chunk);
    let of_round = |id: ValueId| {
        let shape = cut.shape(program, id, 0);
        match program.value(id).kind {
            ValueKind::Stats { .. } => shape.bytes(),
            ValueKind::Features { .. } => shape.over(most[id.index()] as usize).bytes(),
        }
    };
    let latents = grid.latents();
    let share = most[program.input().index()].max(1);
    let borders = layers.iter().map(|layer| grid.halo_bytes(std::slice::from_ref(layer))).max();
    let borders = u128::from(borders.unwrap_or(0)) * u128::from(share);
    let borders = borders.div_ceil(latents.frames.max(1).into());
    let values = 0..program.values().len() as u32;
    let largest = values.map(|id| of_round(ValueId(id))).max().unwrap_or(0);
    let output = cut.shape(program, program.output(), 0);
    let frames = match grid.slices() {
        1 => Flow::new(program, latents.frames, chunk).most_finished(),
        _ => u32::try_from(output.frames).unwrap_or(u32::MAX),
    };
    let picture = output.over(frames as usize).bytes();
    // Frames go out one after the other, so several that come together wait for all shards.
    let waiting = if frames > 1 { grid.rows().saturating_mul(grid.cols()) } else { grid.cols() };
    let pieces = (u64::from(waiting) + 5).saturating_mul(picture);
    let latents = Shape::sample(latents, program.latent_channels() as usize);
    Ok([
        model.prepared_weight_bytes(program),
        turns,
        allocator_bytes(grid.latents(), turns),
        u64::try_from(borders).unwrap_or(u64::MAX),
        largest.saturating_mul(together.into()),
        pieces,
        latents.bytes().saturating_mul(2),
        PROCESS_BYTES,
    ]
    .into_iter()
    .fold(0, u64::saturating_add))
}
