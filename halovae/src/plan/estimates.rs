//! The numbers of a plan: who has which piece, how much work and memory that is.

use std::collections::{BTreeMap, HashMap};

use halovae_core::{
    Axis, Balance, LayerHalo, Margins, Plan, RankEstimate, RankLoad, Size, WorkModel, balance,
    estimate_ranks, piece_costs,
};
use halovae_engine::decode::{CHUNK, stitching_bytes};
use halovae_engine::flow::Flow;
use halovae_engine::program::{Analysis, MemoryModel, Program};
use halovae_engine::schedule::Schedule;
use halovae_engine::shard::{Cut, Traffic, UncutError, exchanged_layers, peak_bytes};

use super::fit::Chosen;
use super::planned::Planned;
use super::time::{Streaming, slices};
use crate::error::Error;

/// A decoder as it runs on a backend.
#[derive(Clone, Copy)]
pub(crate) struct Runs<'a> {
    /// Fused for the backend.
    pub(crate) program: &'a Program,
    /// The backend's.
    pub(crate) memory: &'a dyn MemoryModel,
}

/// What work is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkUnit {
    /// Latent cells: no decoder is known.
    Cells,
    /// Multiplications and additions.
    Flops,
}

impl WorkUnit {
    /// What is counted, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cells => "latent cells",
            Self::Flops => "flops",
        }
    }
}

/// The numbers of a plan for one image or video.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Estimates {
    /// The rank of each piece.
    pub owners: Vec<u32>,
    /// What each rank does.
    pub ranks: Vec<RankEstimate>,
    /// How evenly.
    pub balance: Balance,
    /// Work of the whole decode, counted as that of the ranks.
    pub whole_work: f64,
    /// What [`RankEstimate::flops`] counts.
    pub unit: WorkUnit,
    /// Bytes of memory, if a decoder is known.
    pub memory: Option<Memory>,
    /// How many frames of latents are decoded at a time.
    pub chunk: u32,
    /// How latents go through the decoder, if one is known.
    pub streaming: Option<Streaming>,
    /// The same for the windows of all pieces, by their frames.
    pub(crate) streams: BTreeMap<u32, Streaming>,
    /// What work there is.
    pub(crate) work: WorkModel,
    /// What the ranks of a sharded decode exchange, if a decoder is known.
    pub traffic: Option<Traffic>,
    /// Frames of the latents before and behind a slice that convs read of the slices beside, if a
    /// decoder is known and it is cut along time.
    pub halo_in_time: Option<[f64; 2]>,
}

/// Bytes of device memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Memory {
    /// Weights, which ranks on one device share.
    pub weights: u64,
    /// Values and workspace of each rank's largest piece, or of its shards.
    pub live: Vec<u64>,
    /// Finished pieces that the process of rank 0 holds until they are stitched.
    pub stitching: u64,
    /// What shards that take turns do within, where memory is bounded.
    pub within: Option<Within>,
}

/// A bound of a decode's memory, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Within {
    /// Bytes that the process may take, weights and what the host holds included.
    pub max_memory: u64,
    /// Of these, what is needed at the least.
    pub needed: u64,
    /// Bytes of values that wait for their turn on each rank's device; others wait in a file.
    pub waiting: u64,
}

impl Estimates {
    /// Those of a plan of whose decoder nothing is known: work in latent cells.
    ///
    /// # Errors
    /// The planner's.
    pub fn of_cells(planned: &Planned) -> Result<Self, Error> {
        Self::new(planned, None, None)
    }

    /// The numbers of `planned`, pieces assigned as a decode assigns them; with what was chosen by
    /// memory, if a decoder is known.
    ///
    /// # Errors
    /// The planner's, and [`Error::Uncut`].
    pub(crate) fn new(
        planned: &Planned,
        model: Option<&Runs<'_>>,
        chosen: Option<&Chosen>,
    ) -> Result<Self, Error> {
        let plan = &planned.plan;
        let schedule = Schedule::new(plan, 1, planned.ranks)?;
        let owners: Vec<u32> = schedule.items().iter().map(|item| item.owner).collect();
        let work = model.map_or_else(WorkModel::default, |model| work_model(model, plan.input()));
        let mut costs = vec![0; owners.len()];
        let mut loads = vec![RankLoad::default(); planned.ranks as usize];
        let mut ranks = vec![RankEstimate::default(); planned.ranks as usize];
        piece_costs(plan, &work, &mut costs)?;
        let balance = balance(&costs, &owners, &mut loads)?;
        estimate_ranks(plan, &owners, &work, &mut ranks)?;
        let chunk = chosen.map_or(CHUNK, |chosen| chosen.chunk);
        let stream =
            |model: &Runs<'_>, frames| Streaming::from(&Flow::new(model.program, frames, chunk));
        let streaming = model.map(|model| stream(model, plan.input().frames));
        let mut streams = BTreeMap::new();
        if let Some(model) = model {
            for slice in slices(plan) {
                let frames = slice.latents.end - slice.latents.start;
                streams.entry(frames).or_insert_with(|| stream(model, frames));
            }
        }
        let limit = chosen.and_then(|chosen| chosen.fit).map(|fit| fit.limit);
        let of = |model| memory(model, plan, chunk, &schedule, planned.ranks, limit);
        let memory = model.map(of).transpose()?;
        let traffic = match (model, plan) {
            (Some(model), Plan::Sharded(grid)) => Some(Traffic::new(model.program, *grid, chunk)?),
            _ => None,
        };
        let halo_in_time = match (model, plan) {
            (Some(model), Plan::Sharded(grid)) if grid.slices() > 1 => {
                Some(halo_in_time(&exchanged_layers(model.program)?))
            }
            _ => None,
        };
        let unit = if model.is_some() { WorkUnit::Flops } else { WorkUnit::Cells };
        let whole_work = work.flops(plan.input());
        Ok(Self {
            owners,
            ranks,
            balance,
            whole_work,
            unit,
            memory,
            chunk,
            streaming,
            streams,
            work,
            traffic,
            halo_in_time,
        })
    }
}

/// Work per latent cell. That of convs is proportional to the cells of a piece and that of
/// attention to their square, so one size tells all.
fn work_model(model: &Runs<'_>, latents: Size) -> WorkModel {
    let figures = Analysis::new(model.program, latents, CHUNK, model.memory);
    let (cells, area) = (latents.volume() as f64, latents.area() as f64);
    WorkModel {
        flops_per_cell: (figures.flops - figures.attention_flops) as f64 / cells,
        flops_per_cell_pair: figures.attention_flops as f64 / (cells * area),
        output_bytes_per_pixel: 4 * u64::from(model.program.out_channels()),
        ..WorkModel::default()
    }
}

/// The most of all layers, which have different numbers of frames.
fn halo_in_time(layers: &[LayerHalo]) -> [f64; 2] {
    let read = |layer: &LayerHalo| {
        let factor = f64::from(layer.scale.time.factor.max(1));
        layer.reach.along(Axis::Time).map(|frames| f64::from(frames) / factor)
    };
    layers.iter().map(read).fold([0.0; 2], |[a, b], [past, future]| [past.max(a), future.max(b)])
}

fn memory(
    model: &Runs<'_>,
    plan: &Plan,
    chunk: u32,
    schedule: &Schedule,
    ranks: u32,
    limit: Option<u64>,
) -> Result<Memory, UncutError> {
    let weights = model.memory.prepared_weight_bytes(model.program);
    let stitching = stitching_bytes(plan, model.program, ranks, chunk);
    if let Plan::Sharded(grid) = plan {
        let cut = Cut::new(model.program, *grid, ranks)?;
        // Many ranks, and few sizes of shards.
        let mut known: HashMap<(Size, Margins), u64> = HashMap::new();
        let mut of = |rank| {
            let peak = || peak_bytes(model.program, &cut, rank, model.memory, limit, chunk);
            let shards = cut.shards_of(rank);
            match grid.shard(shards.start) {
                Some(shard) if shards.len() == 1 => {
                    let sides = Margins { past: 1, future: 1, ..Margins::of_frame([1; 4]) };
                    let key = (shard.core.size(), grid.margins(shard.index, 1, sides));
                    *known.entry(key).or_insert_with(peak)
                }
                _ => peak(),
            }
        };
        let live = (0..ranks).map(&mut of).collect();
        return Ok(Memory { weights, live, stitching, within: None });
    }
    // A grid has many pieces and few sizes.
    let mut known: HashMap<Size, u64> = HashMap::new();
    let mut live = vec![0; ranks as usize];
    for item in schedule.items() {
        let bytes = *known.entry(item.window).or_insert_with(|| {
            halovae_engine::program::peak_bytes(model.program, item.window, chunk, model.memory)
        });
        let most: &mut u64 = &mut live[item.owner as usize];
        *most = bytes.max(*most);
    }
    Ok(Memory { weights, live, stitching, within: None })
}
