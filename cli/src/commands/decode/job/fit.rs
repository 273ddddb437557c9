//! What is chosen for a decode once its weights are on the devices: frames at a time, shards, what waits
//! where.

use halovae_core::{Axes, Plan, ShardGrid};
use halovae_engine::backend::Backend;
use halovae_engine::decode::{Decoder, Place};
use halovae_engine::group::{CHOICE, FirstRanks, Objects};
use halovae_engine::shard::ParkLimit;

use crate::args::{ByteSize, DecodeArgs, ShardGridArg};
use crate::error::Error;
use crate::notices::Notice;
use crate::plan::options::Planned;
use crate::processes::Processes;
use crate::{backend, memory, room};

/// What was chosen.
pub(super) struct Fit {
    /// Frames of latents at a time.
    pub(super) chunk: u32,
    /// What of shards that take turns may wait in memory.
    pub(super) park: Option<ParkLimit>,
    /// Whether the values are in the host's memory.
    pub(super) on_host: bool,
}

/// Chooses, and adds to the plan's notices what does not fit.
///
/// # Errors
/// That the memory that is allowed is too little, and what other processes fail with.
pub(super) fn fit<B: Backend>(
    args: &DecodeArgs,
    decoder: &Decoder<B>,
    place: Place,
    processes: Option<&Processes>,
    images: u32,
    planned: &mut Planned,
) -> Result<Fit, Error> {
    let chunk = choose_chunk(args, decoder, place, processes, &planned.plan)?;
    let park = fit_memory(args, decoder, place, processes, chunk, planned)?;
    let on_host = decoder.backends().all(|backend| backend.name() == backend::CPU);
    if on_host {
        let available = memory::available_to_each(processes.map_or(1, Processes::neighbours));
        let available = available.unwrap_or(u64::MAX);
        let plan = &planned.plan;
        let notice = memory_notice(decoder, plan, images, place, park.as_ref(), chunk, available)?;
        planned.notices.extend(notice);
    }
    Ok(Fit { chunk, park, on_host })
}

/// How many frames of latents are decoded at a time: as the decoder would have it, or one, where that
/// does not fit the memory. Of several processes, whose devices may differ, rank 0 chooses.
fn choose_chunk<B: Backend>(
    args: &DecodeArgs,
    decoder: &Decoder<B>,
    place: Place,
    processes: Option<&Processes>,
    plan: &Plan,
) -> Result<u32, Error> {
    let fits = |chunk| match (args.max_memory, plan) {
        (Some(ByteSize(budget)), &Plan::Sharded(grid)) => {
            let given = given_grid(args, grid);
            decoder.fit_shards(grid.latents(), place, budget, given, chunk).is_ok()
        }
        _ => true,
    };
    let choose = || match decoder.choose_chunk(plan) {
        chunk if chunk > 1 && !fits(chunk) => 1,
        chunk => chunk,
    };
    let own = (place.first == 0).then(choose);
    match processes {
        Some(processes) if plan.input().frames > 1 => {
            let group = FirstRanks::new(processes.group(), place.size);
            Ok(group.broadcast_object(0, CHOICE, own)?)
        }
        _ => Ok(own.unwrap_or(1)),
    }
}

/// The grid, if the user gave it.
fn given_grid(args: &DecodeArgs, grid: ShardGrid) -> Option<ShardGrid> {
    (args.ranks.shard_grid != ShardGridArg::Auto).then_some(grid)
}

/// Chooses the shards for `--max-memory`, and says what of them may wait in memory. Of several
/// processes rank 0 chooses.
fn fit_memory<B: Backend>(
    args: &DecodeArgs,
    decoder: &Decoder<B>,
    place: Place,
    processes: Option<&Processes>,
    chunk: u32,
    planned: &mut Planned,
) -> Result<Option<ParkLimit>, Error> {
    let (Some(ByteSize(budget)), Plan::Sharded(grid)) = (args.max_memory, planned.plan) else {
        return Ok(None);
    };
    let latents = grid.latents();
    let given = given_grid(args, grid);
    let fit = |given| decoder.fit_shards(latents, place, budget, given, chunk);
    let fit = match processes {
        None => fit(given)?,
        Some(processes) => {
            let own = match place.first {
                0 => Some(fit(given)?.grid),
                _ => None,
            };
            let own = own.map(|grid| [grid.slices(), grid.rows(), grid.cols()]);
            let group = FirstRanks::new(processes.group(), place.size);
            let [slices, rows, cols]: [u32; 3] = group.broadcast_object(0, CHOICE, own)?;
            fit(Some(ShardGrid::of(latents, Axes::new(slices, rows, cols), planned.scale)?))?
        }
    };
    planned.plan = Plan::sharded(fit.grid);
    let scratch = args.scratch_dir.clone().unwrap_or_else(std::env::temp_dir);
    Ok(Some(ParkLimit { bytes: fit.limit, scratch }))
}

/// That the host has less memory, `available`, than this process will take beside what it has taken
/// already.
fn memory_notice<B: Backend>(
    decoder: &Decoder<B>,
    plan: &Plan,
    images: u32,
    place: Place,
    park: Option<&ParkLimit>,
    chunk: u32,
    available: u64,
) -> Result<Option<Notice>, Error> {
    let taken: u64 = decoder.backends().map(|backend| backend.memory().current).sum();
    let estimate = decoder.estimate_peak_bytes(plan, images, place, park, chunk)?;
    let needed =
        estimate.saturating_sub(taken).saturating_add(decoder.host_bytes(plan, place, chunk));
    if needed <= available {
        return Ok(None);
    }
    let instead = room::flags(&decoder.room(plan, images, place, chunk, available)?);
    Ok(Some(Notice::Memory { needed, available, instead }))
}
