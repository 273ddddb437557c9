//! What a decode did, as JSON.

use std::path::PathBuf;

use halovae_core::Region;
use halovae_engine::decode::PieceReport;
use halovae_engine::wrap::Sent;
use serde::{Deserialize, Serialize};

use crate::ops::{OpKind, by_kind};

/// The report of one decode.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The version of halovae.
    pub(crate) version: &'static str,
    /// The checkpoint.
    pub(crate) vae: PathBuf,
    /// What was decoded.
    pub(crate) latents: LatentsReport,
    /// What came out.
    pub(crate) image: ImageReport,
    /// The files that were written.
    pub(crate) output: Vec<PathBuf>,
    /// What decoded.
    pub(crate) backend: String,
    /// CPU threads over all ranks of a process.
    pub(crate) threads: u32,
    /// How the latents were cut.
    pub(crate) strategy: String,
    /// Of a video, how many frames of the latents went in at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latent_frames_at_a_time: Option<u32>,
    /// Which ranks decoded.
    pub(crate) ranks: RanksReport,
    /// What was decided for the user, in words.
    pub(crate) notices: Vec<String>,
    /// Every piece, by image and index.
    pub(crate) pieces: Vec<Piece>,
    /// Where the time went.
    pub(crate) seconds: Seconds,
    /// Memory.
    pub(crate) peak_bytes: PeakBytes,
    /// The GPU-to-GPU transport, if ranks could have been linked: NCCL of
    /// that version, or host memory.
    pub(crate) exchange: Option<String>,
    /// What ranks sent each other, if they are processes or linked.
    pub(crate) sent: Option<Sent>,
    /// Time and work by kind of op, over all ranks.
    pub(crate) ops: Vec<OpKind>,
}

/// The latents.
#[derive(Debug, Serialize)]
pub(crate) struct LatentsReport {
    /// The file.
    pub(crate) path: PathBuf,
    /// Batch, channels, frames of several, height, width.
    pub(crate) shape: Vec<usize>,
}

/// The images or videos.
#[derive(Debug, Serialize)]
pub(crate) struct ImageReport {
    /// Batch, channels, frames of several, height, width.
    pub(crate) shape: Vec<usize>,
}

/// Ranks.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RanksReport {
    /// `vae_patch_parallel_size` as asked for.
    pub(crate) requested: u32,
    /// Those that decoded.
    pub(crate) effective: u32,
}

/// A piece.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// The image of the batch.
    pub(crate) image: u32,
    /// Its place in the plan.
    pub(crate) index: u64,
    /// Who decoded it.
    pub(crate) rank: u32,
    /// The window of the latents that was decoded, in cells.
    pub(crate) rectangle: Rectangle,
    /// From its upload to its download.
    pub(crate) seconds: f64,
}

impl Piece {
    /// Of an image, or of a video.
    pub(crate) fn new(piece: &PieceReport, is_video: bool) -> Self {
        Self {
            image: piece.image,
            index: piece.piece,
            rank: piece.rank,
            rectangle: Rectangle::new(piece.window, is_video),
            seconds: piece.seconds,
        }
    }
}

/// A rectangle, in some frames of a video.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rectangle {
    /// The first of a video's frames and how many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    first: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    frames: Option<u32>,
    top: u32,
    left: u32,
    height: u32,
    width: u32,
}

impl Rectangle {
    /// A part of an image, or of a video.
    pub(crate) fn new(part: Region, is_video: bool) -> Self {
        let Region { first, frames, top, left, height, width } = part;
        let [first, frames] = [first, frames].map(|extent| is_video.then_some(extent));
        Self { first, frames, top, left, height, width }
    }
}

/// Seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Seconds {
    /// Reading checkpoint and latents, and preparing the weights.
    pub(crate) load: f64,
    /// From the first piece to the last row; stitching and writing run meanwhile.
    pub(crate) decode: f64,
    /// What of that went into finding out how ops run fastest, in the slowest rank of this process;
    /// later decodes of the size do without.
    pub(crate) tuning: f64,
    /// Blending.
    pub(crate) stitch: f64,
    /// Encoding and writing the files of the output.
    pub(crate) write: f64,
    /// From the start of the command to when this is written, the last but for the names of all files.
    pub(crate) total: f64,
}

/// Bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeakBytes {
    /// Device memory over all ranks, by estimate.
    pub(crate) estimated: u64,
    /// Device memory over all ranks, as the backends counted it.
    pub(crate) measured: u64,
    /// Physical memory of the largest process, where the system tells.
    pub(crate) process: Option<u64>,
    /// Physical memory of each process, by rank.
    pub(crate) processes: Vec<Option<u64>>,
}

/// What one process did of a decode.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Share {
    /// Its pieces.
    pub(crate) pieces: Vec<Piece>,
    /// Time and work of its ops.
    pub(crate) ops: Vec<OpKind>,
    /// Its device memory, by estimate.
    pub(crate) estimated: u64,
    /// Its device memory, as its backends counted it.
    pub(crate) measured: u64,
    /// Its physical memory, where the system tells.
    pub(crate) process: Option<u64>,
    /// What it sent to others.
    pub(crate) sent: Option<Sent>,
}

/// What all processes did.
pub(crate) struct Shares {
    /// Every piece, by image and index.
    pub(crate) pieces: Vec<Piece>,
    /// Time and work by kind of op.
    pub(crate) ops: Vec<OpKind>,
    /// Memory.
    pub(crate) peak_bytes: PeakBytes,
    /// What they sent each other.
    pub(crate) sent: Option<Sent>,
}

impl Shares {
    /// Adds up the shares of all processes, by rank.
    pub(crate) fn new(shares: Vec<Share>) -> Self {
        let peak_bytes = PeakBytes {
            estimated: shares.iter().map(|share| share.estimated).sum(),
            measured: shares.iter().map(|share| share.measured).sum(),
            process: shares.iter().filter_map(|share| share.process).max(),
            processes: shares.iter().map(|share| share.process).collect(),
        };
        let sent: Vec<Sent> = shares.iter().filter_map(|share| share.sent).collect();
        let sent = (!sent.is_empty()).then(|| sent.into_iter().sum());
        let (pieces, ops): (Vec<_>, Vec<_>) =
            shares.into_iter().map(|share| (share.pieces, share.ops)).unzip();
        let mut pieces: Vec<Piece> = pieces.into_iter().flatten().collect();
        pieces.sort_by_key(|piece| (piece.image, piece.index));
        Self { pieces, ops: by_kind(ops.into_iter().flatten()), peak_bytes, sent }
    }
}
