//! What is chosen for a decode once its weights are on the devices: frames at a time, shards, what waits
//! where.

use halovae_core::{Axes, Plan, ShardGrid, Size};
use halovae_engine::decode::Place;
use halovae_engine::group::{CHOICE, FirstRanks, Objects};
use halovae_engine::shard::{self, FitError, ParkLimit};

use super::control::Together;
use super::run::Run;
use crate::devices::CPU;
use crate::error::Error;
use crate::memory;
use crate::notice::Notice;
use crate::options::DecodeOptions;
use crate::plan::{Allowed, Chosen, Planned};
use crate::room::{beside, has_any};

/// Bytes of a sink that those cover which are set aside for the program itself.
const COVERED: u64 = 2 << 20;

/// What was chosen.
pub(super) struct Fit {
    /// Frames of latents at a time.
    pub(super) chunk: u32,
    /// What of shards that take turns may wait in memory.
    pub(super) park: Option<ParkLimit>,
    /// Whether the values are in the host's memory.
    pub(super) on_host: bool,
    /// What the sink holds beside them.
    pub(super) sink_bytes: u64,
}

/// What is chosen from.
pub(super) struct Fitting<'a> {
    pub(super) options: &'a DecodeOptions,
    pub(super) run: &'a dyn Run,
    pub(super) place: Place,
    pub(super) together: Option<Together<'a>>,
    /// Images or videos of the batch.
    pub(super) images: u32,
}

impl Fitting<'_> {
    /// Chooses, and adds to the plan's notices what does not fit.
    ///
    /// # Errors
    /// That the memory that is allowed is too little, and what other processes fail with.
    pub(super) fn fit(&self, planned: &mut Planned) -> Result<Fit, Error> {
        let Chosen { chunk, fit } = self.choose(planned)?;
        let park = fit.map(|fit| {
            planned.plan = Plan::sharded(fit.grid);
            let scratch = self.options.scratch_dir.clone().unwrap_or_else(std::env::temp_dir);
            ParkLimit { bytes: fit.limit, scratch }
        });
        let on_host = self.run.backend() == CPU;
        if on_host {
            let neighbours = self.together.map_or(1, |together| together.neighbours);
            let available = memory::available_to_each(neighbours).unwrap_or(u64::MAX);
            let notice = self.memory_notice(&planned.plan, park.as_ref(), chunk, available)?;
            planned.notices.extend(notice);
        }
        Ok(Fit { chunk, park, on_host, sink_bytes: self.sink_bytes() })
    }

    /// Chooses frames at a time and shards. Of several processes, whose devices may differ, rank 0
    /// chooses; the others find out what of their shards may wait in memory.
    fn choose(&self, planned: &Planned) -> Result<Chosen, Error> {
        let Self { options, run, place, .. } = *self;
        let fit_shards =
            |latents, bytes, given, chunk| self.fit_shards(latents, bytes, given, chunk);
        let allowed = Allowed {
            max_memory: options.max_memory,
            is_grid_given: options.cut.shard_grid.is_some(),
            choose_chunk: &|plan| run.choose_chunk(plan),
            fit_shards: &fit_shards,
        };
        let Some(together) = self.together else { return Ok(allowed.choose(&planned.plan)?) };
        let own = (place.first == 0).then(|| allowed.choose(&planned.plan)).transpose()?;
        let group = FirstRanks::new(together.group, place.size);
        let latents = planned.plan.input();
        let chunk = match latents.frames {
            1 => own.as_ref().map_or(1, |own| own.chunk),
            _ => group.broadcast_object(0, CHOICE, own.as_ref().map(|own| own.chunk))?,
        };
        let (Some(bytes), Plan::Sharded(_)) = (options.max_memory, &planned.plan) else {
            return Ok(Chosen { chunk, fit: None });
        };
        let fit = own.and_then(|own| own.fit);
        let grid = fit.map(|shard::Fit { grid, .. }| [grid.slices(), grid.rows(), grid.cols()]);
        let [slices, rows, cols]: [u32; 3] = group.broadcast_object(0, CHOICE, grid)?;
        let fit = match fit {
            Some(fit) => fit,
            None => {
                let shards = Axes::new(slices, rows, cols);
                let grid = ShardGrid::of(latents, shards, planned.scale)?;
                fit_shards(latents, bytes, Some(grid), chunk)?
            }
        };
        Ok(Chosen { chunk, fit: Some(fit) })
    }

    /// What the sink holds beyond what is set aside for the program itself, if this process has it. So a
    /// plan, which knows no sink, is that of every decode whose writer holds no more than some rows.
    fn sink_bytes(&self) -> u64 {
        match self.place.first {
            0 => self.options.sink_bytes.saturating_sub(COVERED),
            _ => 0,
        }
    }

    /// The shards that fit `budget` bytes beside what the sink holds.
    fn fit_shards(
        &self,
        latents: Size,
        budget: u64,
        given: Option<ShardGrid>,
        chunk: u32,
    ) -> Result<shard::Fit, FitError> {
        let sink = self.sink_bytes();
        let left = budget.saturating_sub(sink);
        self.run.fit_shards(latents, self.place, left, given, chunk).map_err(|error| match error {
            FitError::Memory { latents, least, .. } => {
                FitError::Memory { latents, budget, least: least.saturating_add(sink) }
            }
            error => error,
        })
    }

    /// That the host has less memory, `available`, than this process will take beside what it has taken
    /// already.
    fn memory_notice(
        &self,
        plan: &Plan,
        park: Option<&ParkLimit>,
        chunk: u32,
        available: u64,
    ) -> Result<Option<Notice>, Error> {
        let Self { run, place, images, .. } = *self;
        let estimate = run.estimate(plan, images, place, park, chunk)?;
        let host = run.host_bytes(plan, place, chunk).saturating_add(self.sink_bytes());
        let needed = estimate.saturating_sub(run.taken()).saturating_add(host);
        if needed <= available {
            return Ok(None);
        }
        let left = available.saturating_sub(self.sink_bytes());
        let room = beside(run.room(plan, images, place, chunk, left)?, self.sink_bytes());
        let instead = has_any(&room).then_some(room);
        Ok(Some(Notice::Memory { needed, available, instead }))
    }
}
