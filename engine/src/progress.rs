//! What ranks say while they decode.

use halovae_core::Region;

use crate::group::Way;

/// One decoded piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PieceReport {
    /// Which image of the batch.
    pub image: u32,
    /// Which piece of that image's plan.
    pub piece: u64,
    /// Who decoded it.
    pub rank: u32,
    /// The latent window that was decoded.
    pub window: Region,
    /// Seconds from its upload to its download; of a shard, the seconds of its turns.
    pub seconds: f64,
}

/// What a rank tells while it works.
pub(crate) trait Progress {
    /// A piece is finished: its report, its place among all items, and its bytes.
    fn piece(&self, report: PieceReport, item: u64, bytes: u64);

    /// The transport of what the ranks exchange.
    fn way(&self, way: Way);

    /// `done` of `of` turns of the rank's shards are over.
    fn turns(&self, rank: u32, done: u64, of: u64);
}
