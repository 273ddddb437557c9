//! A plan as JSON: everything that is known about it.

use std::ops::{Range, Sub};

use halovae::core::{Axis, Plan, Size, TileAxis, TimeLaw};
use halovae::plan::{
    Chunk, Slice, Traffic, Within, chunks_waited_for, slice_count, slices, streams,
};
use halovae::report::Rectangle;
use halovae::{Estimates, Planned};
use serde::Serialize;

/// A plan.
#[derive(Debug, Serialize)]
pub(crate) struct PlanJson {
    version: &'static str,
    strategy: String,
    /// Pixels per latent cell.
    scale: u32,
    /// Of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Frames>,
    /// In cells.
    latents: Extents,
    /// In pixels.
    output: Extents,
    ranks: Ranks,
    notices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tiles: Option<Tiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patches: Option<Patches>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<Shards>,
    /// Latent cells that go through the VAE over those that there are.
    redundancy: f64,
    /// The largest load over the mean.
    imbalance: f64,
    /// What `work` counts: `latent cells` or `flops`.
    work_unit: &'static str,
    /// Bytes of the weights, once a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_bytes: Option<u64>,
    /// Where memory is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<WithinJson>,
    /// Bytes of finished pieces that rank 0's process holds at most until they are stitched.
    #[serde(skip_serializing_if = "Option::is_none")]
    stitching_bytes: Option<u64>,
    loads: Vec<Load>,
    pieces: Vec<Piece>,
}

/// How the frames of a video lie on those of the latents.
#[derive(Debug, Serialize)]
struct Frames {
    /// Frames of the video for each frame of the latents...
    per_latent: u32,
    /// ...but for the first of them, if this is set: then it has one.
    first_alone: bool,
    /// Whether some are finished while others are still decoded, if a decoder is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<bool>,
    /// Frames of latents that are decoded at a time, if a decoder is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    latents_at_a_time: Option<u32>,
    /// How they go through it, and what comes of them: of pieces that have all of the frames, one by one
    /// or together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chunks: Vec<Chunk>,
    /// How many of these go in before the first frame is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks_waited_for: Option<usize>,
    /// Where the plan is cut along time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    slices: Vec<SliceJson>,
}

/// Pieces of the same frames.
#[derive(Debug, Serialize)]
struct SliceJson {
    pieces: Span<u64>,
    /// Frames of the latents that they decode.
    latents: Span<u32>,
    /// Frames that they make.
    output: Span<u32>,
    /// How many of these, from the first on, are blended with earlier slices.
    blended: u32,
}

/// Some in a row.
#[derive(Debug, Serialize)]
struct Span<T> {
    first: T,
    count: T,
}

impl<T: Copy + Sub<Output = T>> From<Range<T>> for Span<T> {
    fn from(Range { start, end }: Range<T>) -> Self {
        Self { first: start, count: end - start }
    }
}

impl From<Slice> for SliceJson {
    fn from(Slice { pieces, latents, frames, blended, .. }: Slice) -> Self {
        Self { pieces: pieces.into(), latents: latents.into(), output: frames.into(), blended }
    }
}

/// Height and width, and the frames of several.
#[derive(Debug, Serialize)]
pub(crate) struct Extents {
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<u32>,
    height: u32,
    width: u32,
}

#[derive(Debug, Serialize)]
struct Ranks {
    requested: u32,
    group: u32,
    effective: u32,
}

#[derive(Debug, Serialize)]
struct Tiles {
    /// Along time, if several.
    #[serde(skip_serializing_if = "Option::is_none")]
    slices: Option<u32>,
    rows: u32,
    cols: u32,
    /// In cells.
    tile: Extents,
    /// In cells.
    stride: Extents,
    /// In pixels.
    blend_extent: Extents,
    /// In pixels.
    row_limit: Extents,
}

#[derive(Debug, Serialize)]
struct Patches {
    rows: u32,
    cols: u32,
    /// Of the first core, in cells, before it is cut at the edges.
    halo: Extents,
}

#[derive(Debug, Serialize)]
struct Shards {
    /// Along time, if several.
    #[serde(skip_serializing_if = "Option::is_none")]
    slices: Option<u32>,
    rows: u32,
    cols: u32,
    /// With one rank for each shard, if a decoder is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Traffic>,
}

/// What shards that take turns do within.
#[derive(Debug, Serialize)]
struct WithinJson {
    max_memory_bytes: u64,
    /// What is needed at the least.
    needed_bytes: u64,
    /// Values that wait in each rank's memory at most; others wait in a file.
    waiting_bytes: u64,
}

impl From<Within> for WithinJson {
    fn from(Within { max_memory, needed, waiting, .. }: Within) -> Self {
        Self { max_memory_bytes: max_memory, needed_bytes: needed, waiting_bytes: waiting }
    }
}

#[derive(Debug, Serialize)]
struct Load {
    rank: usize,
    pieces: u64,
    work: f64,
    /// Device bytes of values and workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_live_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Piece {
    index: u64,
    rank: u32,
    /// What is decoded, in latent cells.
    window: Rectangle,
    /// The part of the decoded window that is wanted, in its own pixels.
    keep: Rectangle,
    /// Where that part lies, in pixels of the output.
    output: Rectangle,
}

impl PlanJson {
    /// Collects everything.
    pub(crate) fn new(planned: &Planned, estimates: &Estimates) -> Self {
        let plan = &planned.plan;
        let known = estimates.memory.is_some();
        let is_video = plan.input().frames > 1;
        let streaming = estimates.streaming.as_ref();
        // Slices of a grid do not have all frames.
        let of_all = streaming.filter(|_| slice_count(plan) == 1);
        let loads = estimates.ranks.iter().enumerate().map(|(rank, estimate)| Load {
            rank,
            pieces: estimate.pieces,
            work: estimate.flops,
            peak_live_bytes: estimates.memory.as_ref().map(|memory| memory.live[rank]),
            sent_bytes: known.then_some(estimate.sent_bytes),
        });
        let pieces = plan.pieces().zip(&estimates.owners).map(|(piece, &rank)| Piece {
            index: piece.index,
            rank,
            window: Rectangle::new(piece.input, is_video),
            keep: Rectangle::new(piece.keep, is_video),
            output: Rectangle::new(piece.output, is_video),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            strategy: plan.strategy().to_string(),
            scale: planned.scale.space,
            frames: (plan.output().frames > 1).then(|| Frames {
                per_latent: planned.scale.time.factor,
                first_alone: planned.scale.time.law == TimeLaw::FirstAlone,
                streams: streaming.map(|streaming| streams(plan, streaming).is_early()),
                latents_at_a_time: streaming.map(|_| estimates.chunk.min(plan.input().frames)),
                chunks: of_all.map_or_else(Vec::new, |all| all.chunks.clone()),
                chunks_waited_for: of_all.map(chunks_waited_for),
                slices: match slices(plan) {
                    all if all.len() > 1 => all.into_iter().map(SliceJson::from).collect(),
                    _ => Vec::new(),
                },
            }),
            latents: plan.input().into(),
            output: plan.output().into(),
            ranks: Ranks {
                requested: planned.requested,
                group: planned.group,
                effective: planned.ranks,
            },
            notices: planned.notices.iter().map(|notice| format!("{notice:#}")).collect(),
            tiles: tiles(plan),
            patches: patches(plan),
            shards: shards(plan, estimates),
            redundancy: plan.redundancy(),
            imbalance: estimates.balance.imbalance(),
            work_unit: estimates.unit.name(),
            weight_bytes: estimates.memory.as_ref().map(|memory| memory.weights),
            within: estimates.memory.as_ref().and_then(|memory| memory.within).map(Into::into),
            stitching_bytes: estimates.memory.as_ref().map(|memory| memory.stitching),
            loads: loads.collect(),
            pieces: pieces.collect(),
        }
    }
}

impl From<Size> for Extents {
    fn from(Size { frames, height, width }: Size) -> Self {
        Self { frames: several(frames), height, width }
    }
}

fn tiles(plan: &Plan) -> Option<Tiles> {
    let Plan::Tiled(grid) = plan else { return None };
    let axes = |f: fn(&TileAxis) -> u32| {
        Size::video(f(grid.time()), f(grid.height()), f(grid.width())).into()
    };
    Some(Tiles {
        slices: several(grid.slices()),
        rows: grid.rows(),
        cols: grid.cols(),
        tile: axes(TileAxis::tile),
        stride: axes(TileAxis::stride),
        blend_extent: axes(TileAxis::blend_extent),
        row_limit: axes(TileAxis::row_limit),
    })
}

fn shards(plan: &Plan, estimates: &Estimates) -> Option<Shards> {
    let Plan::Sharded(grid) = plan else { return None };
    let traffic = estimates.traffic;
    let slices = several(grid.slices());
    Some(Shards { slices, rows: grid.rows(), cols: grid.cols(), traffic })
}

/// A number that is only told if it is not one.
fn several(count: u32) -> Option<u32> {
    (count > 1).then_some(count)
}

fn patches(plan: &Plan) -> Option<Patches> {
    let Plan::Patch(grid) = plan else { return None };
    let core = grid.patch(0)?.core.size();
    let halo = Size::new(grid.halo(Axis::Height, core), grid.halo(Axis::Width, core)).into();
    Some(Patches { rows: grid.rows(), cols: grid.cols(), halo })
}
