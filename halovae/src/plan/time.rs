//! A plan along time: which frames its pieces have, and when frames are finished.

use std::ops::Range;

use halovae_core::{Plan, Strategy};
use halovae_engine::flow::{Flow, FlowStep};
use serde::{Serialize, Serializer};

/// Pieces of the same frames.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slice {
    /// Their indices.
    pub pieces: Range<u64>,
    /// Frames of the latents that they decode.
    pub latents: Range<u32>,
    /// Frames that they make.
    pub frames: Range<u32>,
    /// How many of these, from the first on, are blended with what slices before make of them.
    pub blended: u32,
}

/// Latents that go through a decoder together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Chunk {
    /// Their frames.
    #[serde(serialize_with = "span")]
    pub latents: Range<u32>,
    /// Frames that are finished with them; perhaps none.
    #[serde(rename = "output", serialize_with = "span")]
    pub frames: Range<u32>,
}

/// A range as its first and how many there are, as all JSON of plans has it.
fn span<S: Serializer>(range: &Range<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Span {
        first: u32,
        count: u32,
    }
    Span { first: range.start, count: range.end.saturating_sub(range.start) }.serialize(serializer)
}

/// How the latents of a video, or of a part of it that has all of its frames, go through a decoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Streaming {
    /// One after the other. Each has as many frames of latents, but perhaps the last.
    pub chunks: Vec<Chunk>,
}

impl From<&Flow> for Streaming {
    fn from(flow: &Flow) -> Self {
        let chunk = |step: &FlowStep| Chunk {
            latents: step.latents.clone(),
            frames: step.finished.clone(),
        };
        Self { chunks: flow.steps().iter().map(chunk).collect() }
    }
}

/// How many slices there are.
pub fn slice_count(plan: &Plan) -> u32 {
    match plan {
        Plan::Whole(_) | Plan::Patch(_) => 1,
        Plan::Tiled(grid) => grid.slices(),
        Plan::Sharded(grid) => grid.slices(),
    }
}

/// The slices in their order.
pub fn slices(plan: &Plan) -> Vec<Slice> {
    let count = slice_count(plan);
    let of_slice = plan.piece_count() / u64::from(count);
    let slice = |index: u32| {
        let first = u64::from(index) * of_slice;
        // Those of a slice all have the same frames.
        let piece = plan.piece(first)?;
        let blended = match plan {
            Plan::Tiled(grid) => grid.time().ramp_extent(index),
            Plan::Whole(_) | Plan::Patch(_) | Plan::Sharded(_) => 0,
        };
        Some(Slice {
            pieces: first..first + of_slice,
            latents: piece.input.first..piece.input.first + piece.input.frames,
            frames: piece.output.first..piece.output.first + piece.output.frames,
            blended,
        })
    };
    (0..count).filter_map(slice).collect()
}

/// Whether the pieces of a plan go through all frames of the video together, chunk by chunk.
pub fn goes_by_chunks(plan: &Plan) -> bool {
    let is_sharded = plan.strategy() == Strategy::Sharded;
    slice_count(plan) == 1 && (is_sharded || plan.piece_count() == 1)
}

/// When frames of a video are finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Streams {
    /// Some of them as latents go in, before later ones are.
    ByChunks,
    /// Those of a slice when its tiles are decoded, before the tiles of later slices are.
    BySlices,
    /// All of them at the end.
    No,
}

impl Streams {
    /// Whether some frames are finished while others are still decoded.
    pub fn is_early(self) -> bool {
        self != Self::No
    }
}

/// When the frames of a plan are finished.
pub fn streams(plan: &Plan, streaming: &Streaming) -> Streams {
    if goes_by_chunks(plan) && chunks_waited_for(streaming) < streaming.chunks.len() {
        return Streams::ByChunks;
    }
    // Shards of slices all are done at the end: each waits for the slice before it at every conv.
    match plan {
        Plan::Tiled(grid) if grid.slices() > 1 => Streams::BySlices,
        _ => Streams::No,
    }
}

/// How many chunks go in before the first frame is finished.
pub fn chunks_waited_for(streaming: &Streaming) -> usize {
    streaming.chunks.iter().take_while(|chunk| chunk.frames.is_empty()).count() + 1
}
