//! Every strategy over image sizes and numbers of ranks: what each would take, without decoding.

use halovae_core::{AxisTiling, Plan, Scale, Size, Strategy};
use halovae_engine::shard::Traffic;

use super::course::Course;
use super::estimates::Estimates;
use super::planned::Planned;
use super::planner::{DecoderFacts, Planner};
use super::time::streams;
use crate::error::Error;
use crate::notice::Notice;
use crate::options::{CutOptions, OptionError, tile_pixels};

/// More of either could not be read, as a table or as a drawing.
const MAX_SIZES: usize = 16;
const MAX_RANK_COUNTS: usize = 32;

/// What is compared, in the order in which it is shown.
pub const STRATEGIES: [Strategy; 4] =
    [Strategy::Whole, Strategy::Tiled, Strategy::Patch, Strategy::Sharded];

/// The plans of every strategy for every size and number of ranks.
#[derive(Debug)]
#[non_exhaustive]
pub struct Comparison {
    /// How pixels lie on latent cells.
    pub scale: Scale,
    /// Height and width of a tile in pixels.
    pub tile: Size,
    /// Its frames, where frames are tiled, without the one before them.
    pub tile_frames: Option<u32>,
    /// Sizes of the latents, in the order in which they were asked for.
    pub sizes: Vec<Size>,
    /// Numbers of ranks, ascending.
    pub ranks: Vec<u32>,
    /// The decoder, if one is known. Without one, work is counted in latent cells.
    pub decoder: Option<DecoderFacts>,
    /// By size, then by strategy, then by ranks.
    pub rows: Vec<Row>,
    notices: Vec<Notice>,
}

/// One plan.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row {
    /// How the latents are cut.
    pub strategy: Strategy,
    /// Their size.
    pub latents: Size,
    /// The ranks that there are.
    pub ranks: u32,
    /// What it takes, or why there is no such plan.
    pub figures: Result<Figures, Error>,
    /// The plan itself, where the ranks are the most of those that are compared.
    pub plan: Option<Box<(Planned, Estimates)>>,
}

/// What a plan takes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Figures {
    /// Slices, rows and columns of pieces.
    pub grid: [u32; 3],
    /// Pieces that are decoded.
    pub pieces: u64,
    /// Ranks that decode.
    pub effective_ranks: u32,
    /// Latent cells that go through the VAE over those that there are.
    pub redundancy: f64,
    /// Work of all ranks.
    pub work: f64,
    /// Work of all ranks over that of the whole decode. Below 1 where pieces spare attention more
    /// than overlaps and halos cost.
    pub work_ratio: f64,
    /// Work of the busiest rank over that of the whole decode: no better than 1 / ranks if shared
    /// out evenly and nothing is spared.
    pub busiest_ratio: f64,
    /// The largest load over the mean.
    pub imbalance: f64,
    /// Bytes, if a decoder is known.
    pub bytes: Option<Bytes>,
    /// When frames are finished, of a video whose decoder is known.
    pub time: Option<InTime>,
    /// What differs from the request.
    pub notices: Vec<Notice>,
}

/// Bytes that a plan takes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Bytes {
    /// Values and workspace of the rank that needs most.
    pub peak_live: u64,
    /// What ranks exchange while they decode: nothing, unless they share one decode.
    pub traffic: Traffic,
    /// Finished pieces that travel to the rank that stitches.
    pub finished: u64,
    /// Finished pieces that wait there until they are written.
    pub stitching: u64,
}

/// When the frames of a video are finished.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct InTime {
    /// Whether some are while others are still decoded.
    pub streams: bool,
    /// Frames of latents that are decoded at a time.
    pub latents_at_a_time: u32,
    /// The part of the decode's time after which the first is, by the work that is done by then.
    pub first_frame: Option<f64>,
}

impl Comparison {
    /// Plans everything. What the planner refuses becomes a row that says so.
    ///
    /// # Errors
    /// [`OptionError::Entries`] for too long lists; what is wrong if not a single plan can be made; that
    /// the machine gives no threads.
    pub fn new(planner: &Planner, asked: &[Size], ranks: &[u32]) -> Result<Self, Error> {
        let mut sizes: Vec<Size> = Vec::new();
        for size in asked {
            if !sizes.contains(size) {
                sizes.push(*size);
            }
        }
        let mut ranks = ranks.to_vec();
        ranks.sort_unstable();
        ranks.dedup();
        for (option, count, max) in [
            ("compare_sizes", sizes.len(), MAX_SIZES),
            ("compare_ranks", ranks.len(), MAX_RANK_COUNTS),
        ] {
            if count > max {
                return Err(OptionError::Entries { option, count, max }.into());
            }
        }
        let mut rows = Vec::new();
        for &latents in &sizes {
            for strategy in STRATEGIES {
                for (index, &count) in ranks.iter().enumerate() {
                    let cut = CutOptions::of(strategy, count);
                    let (figures, plan) = match planner.plan(latents, &cut, count) {
                        Ok(planned) => (Ok(Figures::new(&planned)), Some(Box::new(planned))),
                        Err(refused) if refused.is_of_plan() => (Err(refused), None),
                        Err(failed) => return Err(failed),
                    };
                    let plan = plan.filter(|_| index + 1 == ranks.len());
                    rows.push(Row { strategy, latents, ranks: count, figures, plan });
                }
            }
        }
        if rows.iter().all(|row| row.figures.is_err())
            && let Some(Row { figures: Err(refused), .. }) = rows.pop()
        {
            return Err(refused);
        }
        let tiling = planner.tiling();
        Ok(Self {
            scale: tiling.scale,
            tile: Size::new(tile(tiling.height), tile(tiling.width)),
            tile_frames: tiling.time.map(|time| time.tile_sample_min_num_frames),
            decoder: planner.decoder(sizes.first().map_or(1, |size| size.frames)),
            sizes,
            ranks,
            rows,
            notices: planner.notices().to_vec(),
        })
    }

    /// What was decided for all plans.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The rows of one size, by strategy, then by ranks.
    pub fn rows_of(&self, latents: Size) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.latents == latents)
    }

    /// Height and width in pixels of a picture of that many latent cells.
    pub fn pixels(&self, latents: Size) -> [u64; 2] {
        [latents.height, latents.width].map(|cells| u64::from(cells) * u64::from(self.scale.space))
    }

    /// The frames that come of latents, if they are a video's.
    pub fn frames(&self, latents: Size) -> Option<u32> {
        (latents.frames > 1).then(|| self.scale.time.at(latents.frames)).flatten()
    }

    /// What goes before height and width of a video.
    pub fn frames_of(&self, latents: Size) -> String {
        let frames = self.frames(latents);
        frames.map(|frames| format!("{frames} frames of ")).unwrap_or_default()
    }
}

impl Figures {
    fn new((planned, estimates): &(Planned, Estimates)) -> Self {
        let work: f64 = estimates.ranks.iter().map(|rank| rank.flops).sum();
        let busiest = estimates.ranks.iter().map(|rank| rank.flops).fold(0.0, f64::max);
        let finished = estimates.ranks.iter().map(|rank| rank.sent_bytes);
        let bytes = estimates.memory.as_ref().map(|memory| Bytes {
            peak_live: memory.live.iter().copied().max().unwrap_or(0),
            traffic: estimates.traffic.unwrap_or_default(),
            finished: finished.fold(0, u64::saturating_add),
            stitching: memory.stitching,
        });
        let streaming = estimates.streaming.as_ref().filter(|_| planned.plan.input().frames > 1);
        let time = streaming.map(|streaming| InTime {
            streams: streams(&planned.plan, streaming).is_early(),
            latents_at_a_time: estimates.chunk.min(planned.plan.input().frames),
            first_frame: Course::new(planned, estimates).first_frame(),
        });
        Self {
            grid: grid(&planned.plan),
            pieces: planned.plan.piece_count(),
            effective_ranks: planned.ranks,
            redundancy: planned.plan.redundancy(),
            work,
            work_ratio: work / estimates.whole_work,
            busiest_ratio: busiest / estimates.whole_work,
            imbalance: estimates.balance.imbalance(),
            bytes,
            time,
            notices: planned.notices.clone(),
        }
    }
}

/// Slices, rows and columns of a plan's pieces.
pub fn grid(plan: &Plan) -> [u32; 3] {
    match plan {
        Plan::Whole(_) => [1; 3],
        Plan::Tiled(grid) => [grid.slices(), grid.rows(), grid.cols()],
        Plan::Patch(grid) => [1, grid.rows(), grid.cols()],
        Plan::Sharded(grid) => [grid.slices(), grid.rows(), grid.cols()],
    }
}

/// A tile in pixels; without end where there are none.
fn tile(axis: AxisTiling) -> u32 {
    tile_pixels(axis).unwrap_or(u32::MAX)
}
