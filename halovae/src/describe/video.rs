//! A decoder of videos: how many frames come out, which of them can be decoded while later ones are not
//! there yet, and in how much memory.

use halovae_core::{Size, Strategy, TimeLaw, TimeScale};
use halovae_engine::decode::CHUNK;
use halovae_engine::flow::Flow;
use halovae_engine::program::{Program, Reads};
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::options::CutOptions;
use crate::plan::{Memory, Planner, Streaming};

/// Frames of latents that memory is told for if no number is asked for; enough of the last that nothing
/// grows any more with decoders that keep a few frames.
const LATENT_FRAMES: [u32; 4] = [1, 2, 6, 21];
/// Ranks of the sharded decode.
const RANKS: u32 = 4;

/// Decodes of videos.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VideoFacts {
    /// How frames lie on those of the latents.
    #[serde(serialize_with = "law_by_name")]
    pub time: TimeScale,
    /// How the latents of the most frames that memory is told for go through the decoder.
    pub streaming: Streaming,
    /// Ops that read all frames at once: what comes behind them is not streamed.
    pub waits_for_all: Option<WaitsForAll>,
    /// Bytes of the weights for several frames, once a device.
    pub weight_bytes: u64,
    /// Height and width of the frames in pixels.
    pub pixels: [u32; 2],
    /// Ranks of the sharded decode.
    pub sharded_ranks: u32,
    /// Memory by the number of frames.
    pub memory: Vec<VideoMemory>,
}

/// Ops that read all frames at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaitsForAll {
    /// The first of them.
    pub first: String,
    /// How many more there are.
    pub others: usize,
}

/// Bytes of values, workspace and finished pieces, of the rank that needs most; `None` where there is no
/// such decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VideoMemory {
    /// Frames of the video, if they can be counted.
    pub frames: Option<u32>,
    /// Frames of the latents.
    pub latent_frames: u32,
    /// In one piece, streamed.
    pub whole: Option<u64>,
    /// In one piece, all frames at once.
    pub at_once: Option<u64>,
    /// In the VAE's tiles, on one rank.
    pub tiled: Option<u64>,
    /// In shards on [`VideoFacts::sharded_ranks`] ranks.
    pub sharded: Option<u64>,
}

impl VideoFacts {
    /// For latents of that height and width, and so many frames or several numbers of them.
    pub(super) fn new(
        program: &Program,
        planner: &Planner,
        latents: Size,
        frames: Option<u32>,
    ) -> Result<Self, Error> {
        let scale = program.out_scale();
        let frames = frames.map_or_else(|| LATENT_FRAMES.to_vec(), |frames| vec![frames]);
        let most = frames.iter().copied().max().unwrap_or(1);
        let pixels = scale.layer(Size { frames: 1, ..latents }).unwrap_or(latents);
        let memory = frames.iter().map(|&frames| memory(planner, Size { frames, ..latents }));
        Ok(Self {
            time: scale.time,
            streaming: Streaming::from(&Flow::new(program, most, CHUNK)),
            waits_for_all: WaitsForAll::of(program),
            weight_bytes: planner.decoder(most).map_or(0, |decoder| decoder.weight_bytes),
            pixels: [pixels.height, pixels.width],
            sharded_ranks: RANKS,
            memory: memory.collect::<Result<_, _>>()?,
        })
    }
}

impl WaitsForAll {
    fn of(program: &Program) -> Option<Self> {
        let reads_all = |(_, reads)| reads == Reads::All;
        let mut waiting = program.ops().iter().filter(|op| op.reads().any(reads_all));
        let first = program.op_name(waiting.next()?).to_string();
        Some(Self { first, others: waiting.count() })
    }
}

fn memory(planner: &Planner, latents: Size) -> Result<VideoMemory, Error> {
    let of = |strategy, ranks| match planner.plan(latents, &CutOptions::of(strategy, ranks), ranks)
    {
        Ok((_, estimates)) => Ok(Some(estimates.memory.map_or(0, |memory| of_worst(&memory)))),
        Err(refused) if refused.is_of_plan() => Ok(None),
        Err(error) => Err(error),
    };
    Ok(VideoMemory {
        frames: planner.tiling().scale.time.at(latents.frames),
        latent_frames: latents.frames,
        whole: of(Strategy::Whole, 1)?,
        at_once: planner.bytes_at_once(latents)?,
        tiled: of(Strategy::Tiled, 1)?,
        sharded: of(Strategy::Sharded, RANKS)?,
    })
}

/// Of the rank that needs most; rank 0 stitches.
fn of_worst(Memory { live, stitching, .. }: &Memory) -> u64 {
    let [stitches, others @ ..] = &live[..] else { return *stitching };
    others.iter().copied().fold(stitches.saturating_add(*stitching), u64::max)
}

/// Frames for each frame of the latents, and whether the first has one alone.
fn law_by_name<S: Serializer>(time: &TimeScale, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Law {
        per_latent: u32,
        first_alone: bool,
    }
    let TimeScale { factor, law } = *time;
    Law { per_latent: factor, first_alone: law == TimeLaw::FirstAlone }.serialize(serializer)
}
