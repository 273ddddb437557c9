//! A video as its container describes it.

use crate::frame_rate::FrameRate;

/// A video as its container describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    /// In pixels, at most `u16::MAX`.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) frames: usize,
    pub(super) rate: FrameRate,
}
