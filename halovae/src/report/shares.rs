//! What a decode did, in figures.

use halovae_core::Region;
use halovae_engine::decode::PieceReport;
use halovae_engine::wrap::Sent;
use serde::{Deserialize, Serialize};

use super::ops::{OpKind, by_kind};

/// A piece.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Piece {
    /// The image of the batch.
    pub image: u32,
    /// Its place in the plan.
    pub index: u64,
    /// Who decoded it.
    pub rank: u32,
    /// The window of the latents that was decoded, in cells.
    pub rectangle: Rectangle,
    /// From its upload to its download.
    pub seconds: f64,
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
#[non_exhaustive]
pub struct Rectangle {
    /// The first of a video's frames.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<u32>,
    /// How many frames, of a video.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frames: Option<u32>,
    /// The first row.
    pub top: u32,
    /// The first column.
    pub left: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Rectangle {
    /// A part of an image, or of a video.
    pub fn new(part: Region, is_video: bool) -> Self {
        let Region { first, frames, top, left, height, width } = part;
        let [first, frames] = [first, frames].map(|extent| is_video.then_some(extent));
        Self { first, frames, top, left, height, width }
    }
}

/// Bytes.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PeakBytes {
    /// Device memory over all ranks, by estimate.
    pub estimated: u64,
    /// Device memory over all ranks, as the backends counted it.
    pub measured: u64,
    /// Physical memory of the largest process, where the system tells.
    pub process: Option<u64>,
    /// Physical memory of each process, by rank.
    pub processes: Vec<Option<u64>>,
}

/// What one process did of a decode.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Share {
    /// Its pieces.
    pub pieces: Vec<Piece>,
    /// Time and work of its ops.
    pub ops: Vec<OpKind>,
    /// Its device memory, by estimate.
    pub estimated: u64,
    /// Its device memory, as its backends counted it.
    pub measured: u64,
    /// Its physical memory, where the system tells.
    pub process: Option<u64>,
    /// What it sent to others.
    pub sent: Option<Sent>,
}

/// What all processes did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shares {
    /// Every piece, by image and index.
    pub pieces: Vec<Piece>,
    /// Time and work by kind of op.
    pub ops: Vec<OpKind>,
    /// Memory.
    pub peak_bytes: PeakBytes,
    /// What they sent each other.
    pub sent: Option<Sent>,
}

impl Shares {
    /// Adds up the shares of all processes, by rank.
    pub fn new(shares: Vec<Share>) -> Self {
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
