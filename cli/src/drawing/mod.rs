//! What drawings of one plan and of several have in common.

pub(crate) mod canvas;
pub(crate) mod cut;

use crate::svg::PALETTE;

/// The colour of a rank's pieces.
pub(crate) fn colour(rank: u32) -> &'static str {
    PALETTE[rank as usize % PALETTE.len()]
}
