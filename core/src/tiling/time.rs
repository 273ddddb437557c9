//! Tiles of frames.

use super::{Cells, Direction, stored_stride};
use crate::{Axis, PlanError, TimeLaw, TimeScale};

/// How frames are tiled, with the attributes that diffusers' classes have (HunyuanVideo, LTX).
///
/// Their layers have the first frame alone ([`TimeLaw::FirstAlone`]), and so each tile is a frame
/// of the latents and `tile_sample_min_num_frames` pixel frames more. The first frame of each tile
/// but the first one lies where its predecessor has computed already, and one frame of it is
/// dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimeTiling {
    /// The tile in pixel frames, without the one before them.
    pub tile_sample_min_num_frames: u32,
    /// Pixel frames from one tile's start to the next.
    pub tile_sample_stride_num_frames: u32,
    /// Which frame of a decoded tile is dropped. Of an encoded one it is always the first.
    pub dropped: DroppedFrame,
}

/// Which frame of each decoded tile but the first one is dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum DroppedFrame {
    /// The first, so that each frame stands where it belongs (HunyuanVideo).
    First,
    /// The last, so that the others stand one frame later than they belong (LTX, LTX-2).
    Last,
}

impl TimeTiling {
    /// The tile in units of the input, without the frame before: latent frames to decode, pixel
    /// frames to encode.
    pub(super) fn tile(&self, direction: Direction, factor: u32) -> u32 {
        match direction {
            Direction::Decode => self.tile_sample_min_num_frames.checked_div(factor).unwrap_or(0),
            Direction::Encode => self.tile_sample_min_num_frames,
        }
    }

    /// Tile and step in latent frames, without the frame before.
    pub(super) fn cells(&self, direction: Direction, scale: TimeScale) -> Result<Cells, PlanError> {
        let factor = scale.factor;
        // With one frame for each, both laws are the same.
        if scale.law != TimeLaw::FirstAlone && factor != 1 {
            return Err(PlanError::TimeTilesOfEvenFrames { factor });
        }
        let dropped = match direction {
            Direction::Decode => self.dropped,
            Direction::Encode => DroppedFrame::First,
        };
        let cells = stored_stride(
            Axis::Time,
            factor,
            ("tile_sample_min_num_frames", self.tile_sample_min_num_frames),
            ("tile_sample_stride_num_frames", self.tile_sample_stride_num_frames),
        )?;
        Ok(Cells { dropped: Some(dropped), ..cells })
    }
}
