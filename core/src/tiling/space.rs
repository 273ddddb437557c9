//! Tiles of rows and columns: by overlap factor or by stored stride.

use super::overlap::OverlapTile;
use super::{Cells, Direction, stored_stride};
use crate::error::nonzero;
use crate::{Axis, PlanError};

/// How rows or columns are tiled, with the attributes that diffusers' classes have.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum AxisTiling {
    /// Not at all: each tile has all rows, or all columns.
    Whole,
    /// By overlap factor (AutoencoderKL, Flux.2, HunyuanImage, HunyuanVideo 1.5).
    Overlap {
        /// The tile in pixels.
        tile_sample_min_size: u32,
        /// The tile in latent cells.
        tile_latent_min_size: u32,
        /// The part of a tile that overlaps the next, `0..1`: the float nearest to a whole number
        /// of latent cells over the tile's.
        tile_overlap_factor: f64,
    },
    /// By stored stride (Wan, Qwen-Image, HunyuanVideo, LTX-2).
    Stride {
        /// The tile in pixels.
        tile_sample_min_size: u32,
        /// Pixels from one tile's start to the next.
        tile_sample_stride: u32,
    },
}

impl AxisTiling {
    /// The tile in units of the input: latent cells to decode, pixels to encode.
    pub(super) fn tile(&self, direction: Direction, scale: u32) -> Option<u32> {
        match (*self, direction) {
            (Self::Whole, _) => None,
            (Self::Overlap { tile_latent_min_size, .. }, Direction::Decode) => {
                Some(tile_latent_min_size)
            }
            (Self::Stride { tile_sample_min_size, .. }, Direction::Decode) => {
                Some(tile_sample_min_size.checked_div(scale).unwrap_or(0))
            }
            (
                Self::Overlap { tile_sample_min_size, .. }
                | Self::Stride { tile_sample_min_size, .. },
                Direction::Encode,
            ) => Some(tile_sample_min_size),
        }
    }

    /// Tile and step in latent cells, if diffusers' arithmetic gives the same on both sides;
    /// `None` for an axis that is not cut.
    pub(super) fn cells(
        &self,
        axis: Axis,
        direction: Direction,
        scale: u32,
    ) -> Result<Option<Cells>, PlanError> {
        nonzero("scale", scale)?;
        match *self {
            Self::Whole => Ok(None),
            Self::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor } => {
                nonzero("tile_sample_min_size", tile_sample_min_size)?;
                nonzero("tile_latent_min_size", tile_latent_min_size)?;
                check_overlap_factor(axis, tile_overlap_factor)?;
                let expected = u64::from(tile_latent_min_size) * u64::from(scale);
                if u64::from(tile_sample_min_size) != expected {
                    return Err(PlanError::TileSizesDisagree {
                        axis,
                        tile_sample_min_size,
                        tile_latent_min_size,
                        scale,
                    });
                }
                let tile = OverlapTile { direction, scale, cells: tile_latent_min_size };
                tile.step(tile_overlap_factor)
                    .map(|stride| Some(Cells { tile: tile.cells, stride, dropped: None }))
                    .map_err(|misfit| tile.error(misfit, axis, tile_overlap_factor))
            }
            Self::Stride { tile_sample_min_size, tile_sample_stride } => stored_stride(
                axis,
                scale,
                ("tile_sample_min_size", tile_sample_min_size),
                ("tile_sample_stride", tile_sample_stride),
            )
            .map(Some),
        }
    }

    /// Latent cells that a tile shares with the next, as vLLM-Omni counts them for the halos of
    /// patches: `int(tile_latent_min_size * tile_overlap_factor)`, rounding errors included, so
    /// that its patches are the same. It knows no stored strides; theirs is counted exactly.
    pub(crate) fn shared_cells(&self, axis: Axis, scale: u32) -> Result<u32, PlanError> {
        match *self {
            Self::Whole => Ok(0),
            Self::Overlap { tile_latent_min_size, tile_overlap_factor, .. } => {
                nonzero("tile_latent_min_size", tile_latent_min_size)?;
                check_overlap_factor(axis, tile_overlap_factor)?;
                Ok((f64::from(tile_latent_min_size) * tile_overlap_factor) as u32)
            }
            Self::Stride { tile_sample_min_size, tile_sample_stride } => {
                nonzero("tile_sample_min_size", tile_sample_min_size)?;
                Ok(tile_sample_min_size.saturating_sub(tile_sample_stride) / scale)
            }
        }
    }
}

/// `0..1`, and so not NaN either.
fn check_overlap_factor(axis: Axis, tile_overlap_factor: f64) -> Result<(), PlanError> {
    if (0.0..1.0).contains(&tile_overlap_factor) {
        Ok(())
    } else {
        Err(PlanError::OverlapFactorOutOfRange { axis, tile_overlap_factor })
    }
}
