//! What a decode did, in figures: data that `serde` writes.

mod ops;
mod shares;

pub use halovae_engine::wrap::Sent;
pub use ops::OpKind;
pub use shares::{PeakBytes, Piece, Rectangle, Share, Shares};

use serde::Serialize;

/// What a decode did, over all ranks.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What decoded: the device and its type of values.
    pub backend: String,
    /// CPU threads over all ranks of a process.
    pub threads: u32,
    /// How the latents were cut.
    pub strategy: String,
    /// Of a video, whether frames were finished while others were still decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed: Option<bool>,
    /// Of a video, how many frames of the latents went in at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent_frames_at_a_time: Option<u32>,
    /// How many ranks decoded.
    pub ranks: Ranks,
    /// Every piece, by image and index.
    pub pieces: Vec<Piece>,
    /// Where the time went.
    pub seconds: Seconds,
    /// Memory.
    pub peak_bytes: PeakBytes,
    /// The GPU-to-GPU transport, if ranks could have been linked: NCCL of that version, or `host` memory.
    pub exchange: Option<String>,
    /// What ranks sent each other, if they are processes or linked.
    pub sent: Option<Sent>,
    /// Time and work by kind of op, over all ranks, if ops were traced.
    pub ops: Vec<OpKind>,
}

/// Ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ranks {
    /// As asked for.
    pub requested: u32,
    /// Those that decoded.
    pub effective: u32,
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Seconds {
    /// What came before the decode, where the caller tells: reading checkpoint and latents, and preparing
    /// the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// From the first piece to the last row; stitching and writing run meanwhile.
    pub decode: f64,
    /// What of that went into finding out how ops run fastest, in the slowest rank of this process; later
    /// decodes of the size do without.
    pub tuning: f64,
    /// Blending.
    pub stitch: f64,
    /// In the sink: encoding and writing.
    pub write: f64,
    /// All of it, where the caller tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
}

impl Report {
    /// The same with what all processes of a decode did, by rank.
    #[must_use]
    pub fn of_all(self, shares: Vec<Share>) -> Self {
        let Shares { pieces, ops, peak_bytes, sent } = Shares::new(shares);
        Self { pieces, ops, peak_bytes, sent, ..self }
    }
}
