//! A comparison as JSON: a row for each plan, and why there is none where there is none.

use halovae::Comparison;
use halovae::plan::{Figures, InTime, Row, Traffic};
use serde::Serialize;

use crate::error::Chain;
use crate::plan::json::Extents;

/// A comparison.
#[derive(Debug, Serialize)]
pub(crate) struct ComparisonJson {
    version: &'static str,
    /// Pixels per latent cell.
    scale: u32,
    /// Of the tiled strategy, in pixels.
    tile: Extents,
    /// Its frames, where frames are tiled, without the one before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    tile_frames: Option<u32>,
    /// What `work` counts: `latent cells` or `flops`.
    work_unit: &'static str,
    /// Bytes of the weights, once a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_bytes: Option<u64>,
    notices: Vec<String>,
    rows: Vec<RowJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    strategy: String,
    /// Of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<u32>,
    /// In pixels.
    height: u64,
    width: u64,
    /// In cells.
    latents: Extents,
    /// The ranks that there are.
    ranks: u32,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Planned(Box<FiguresJson>),
    Refused { refused: String },
}

#[derive(Debug, Serialize)]
struct FiguresJson {
    /// The ranks that decode.
    effective_ranks: u32,
    /// Of pieces along time.
    slices: u32,
    rows: u32,
    cols: u32,
    pieces: u64,
    /// Latent cells that go through the VAE over those that there are.
    redundancy: f64,
    work: f64,
    /// Over that of the whole decode: of all ranks, and of the busiest.
    work_ratio: f64,
    busiest_ratio: f64,
    /// The largest load over the mean.
    imbalance: f64,
    #[serde(flatten)]
    bytes: Option<BytesJson>,
    #[serde(flatten)]
    time: Option<TimeJson>,
    notices: Vec<String>,
}

/// Of a video whose decoder is known.
#[derive(Debug, Serialize)]
struct TimeJson {
    /// Whether some frames are finished before all latents are in.
    streams: bool,
    latents_at_a_time: u32,
    /// When the first frame is finished, as a part of the decode's time, by the work that is done then.
    first_frame: Option<f64>,
}

impl From<InTime> for TimeJson {
    fn from(InTime { streams, latents_at_a_time, first_frame, .. }: InTime) -> Self {
        Self { streams, latents_at_a_time, first_frame }
    }
}

#[derive(Debug, Serialize)]
struct BytesJson {
    /// Values and workspace of the rank that needs most.
    peak_live_bytes: u64,
    /// What ranks exchange while they decode.
    exchanged_bytes: u64,
    collectives: u32,
    /// Of these.
    traffic: Traffic,
    /// Finished pieces that travel to the rank that stitches.
    finished_bytes: u64,
    /// Finished pieces that wait there until they are written.
    stitching_bytes: u64,
}

impl ComparisonJson {
    /// Collects everything.
    pub(crate) fn new(comparison: &Comparison) -> Self {
        let decoder = comparison.decoder.as_ref();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            scale: comparison.scale.space,
            tile: comparison.tile.into(),
            tile_frames: comparison.tile_frames,
            work_unit: if decoder.is_some() { "flops" } else { "latent cells" },
            weight_bytes: decoder.map(|decoder| decoder.weight_bytes),
            notices: comparison.notices().iter().map(|notice| format!("{notice:#}")).collect(),
            rows: comparison.rows.iter().map(|row| json_row(comparison, row)).collect(),
        }
    }
}

fn json_row(comparison: &Comparison, row: &Row) -> RowJson {
    let [height, width] = comparison.pixels(row.latents);
    RowJson {
        strategy: row.strategy.to_string(),
        frames: comparison.frames(row.latents),
        height,
        width,
        latents: row.latents.into(),
        ranks: row.ranks,
        outcome: match &row.figures {
            Ok(figures) => Outcome::Planned(Box::new(figures.into())),
            Err(refused) => Outcome::Refused { refused: Chain(refused).to_string() },
        },
    }
}

impl From<&Figures> for FiguresJson {
    fn from(figures: &Figures) -> Self {
        let bytes = figures.bytes.as_ref().map(|bytes| BytesJson {
            peak_live_bytes: bytes.peak_live,
            exchanged_bytes: bytes.traffic.bytes(),
            collectives: bytes.traffic.collectives(),
            traffic: bytes.traffic,
            finished_bytes: bytes.finished,
            stitching_bytes: bytes.stitching,
        });
        let [slices, rows, cols] = figures.grid;
        Self {
            effective_ranks: figures.effective_ranks,
            slices,
            rows,
            cols,
            pieces: figures.pieces,
            redundancy: figures.redundancy,
            work: figures.work,
            work_ratio: figures.work_ratio,
            busiest_ratio: figures.busiest_ratio,
            imbalance: figures.imbalance,
            bytes,
            time: figures.time.map(Into::into),
            notices: figures.notices.iter().map(|notice| format!("{notice:#}")).collect(),
        }
    }
}
