//! What a decode did, as JSON.

use std::path::PathBuf;

use halovae::{OpKind, PeakBytes, Piece, Sent};
use serde::Serialize;

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
    /// The pictures of some frames of a video that were written beside them, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) previews: Vec<PathBuf>,
    /// What decoded.
    pub(crate) backend: String,
    /// CPU threads over all ranks of a process.
    pub(crate) threads: u32,
    /// How the latents were cut.
    pub(crate) strategy: String,
    /// Of a video, whether frames were finished while latents of later ones waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) streamed: Option<bool>,
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
