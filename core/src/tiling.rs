//! The tilings of diffusers' classes, and what makes their numbers consistent.
//!
//! All of them come down to a tile and a step in whole latent cells, the same on both sides of the
//! VAE. diffusers computes the two sides apart, with truncations, and does not compare them; where
//! they disagree it returns an output of the wrong size, or blends frames that do not belong
//! together. Here that is an error, unless only the rounding of floating-point numbers sets them
//! apart.

mod overlap;
mod space;
mod time;

pub use space::AxisTiling;
pub use time::{DroppedFrame, TimeTiling};

use crate::error::nonzero;
use crate::{Axis, PlanError, Scale, Size};

/// Most tiles that may lie over one pixel along one axis. diffusers' defaults have two; the bound
/// keeps the weights of a pixel in a fixed number of registers, without allocation.
pub const MAX_BLEND_DEPTH: u32 = 16;

/// Which way through the VAE.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Direction {
    /// From latents to pixels: the input is in latent cells.
    Decode,
    /// From pixels to latents: the input is in pixels.
    Encode,
}

/// How the axes are tiled.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Tiling {
    /// Frames; without it, each tile has all of them.
    pub time: Option<TimeTiling>,
    /// Rows.
    pub height: AxisTiling,
    /// Columns.
    pub width: AxisTiling,
    /// How pixels lie on latent cells.
    pub scale: Scale,
    /// Rows, and columns, of pixels that tiles are blended with the same weight: of models whose
    /// pixels lie in channels until the tiles have been blended, else 1. A decode alone has them.
    pub grain: u32,
}

impl Tiling {
    /// Tiles of rows and columns, each over all frames.
    pub fn new(height: AxisTiling, width: AxisTiling, scale: impl Into<Scale>) -> Self {
        Self { time: None, height, width, scale: scale.into(), grain: 1 }
    }

    /// The same with tiles of frames.
    #[must_use]
    pub const fn with_time(self, time: TimeTiling) -> Self {
        Self { time: Some(time), ..self }
    }

    /// The same, blended in blocks of `grain` rows and columns of pixels.
    #[must_use]
    pub const fn with_grain(self, grain: u32) -> Self {
        Self { grain, ..self }
    }

    /// Whether diffusers would tile this input: it exceeds the tile, strictly, on any axis.
    pub fn triggers(&self, direction: Direction, input: Size) -> bool {
        Axis::ALL.into_iter().any(|axis| self.triggers_along(axis, direction, input))
    }

    /// Whether the input exceeds the tile along this axis.
    pub(crate) fn triggers_along(&self, axis: Axis, direction: Direction, input: Size) -> bool {
        let factor = self.scale.along(axis).factor;
        let tile = match axis {
            Axis::Time => self.time.map(|time| time.tile(direction, factor)),
            Axis::Height => self.height.tile(direction, factor),
            Axis::Width => self.width.tile(direction, factor),
        };
        tile.is_some_and(|tile| input.along(axis) > tile)
    }

    /// Cells of the output that are blended with the same weight.
    pub(crate) fn grain(&self, axis: Axis, direction: Direction) -> Result<u32, PlanError> {
        let (grain, scale) = (self.grain, self.scale.space);
        nonzero("grain", grain)?;
        if !scale.is_multiple_of(grain) {
            return Err(PlanError::GrainNotDivisor { grain, scale });
        }
        match (axis, direction) {
            (Axis::Time, _) | (_, Direction::Encode) => Ok(1),
            (Axis::Height | Axis::Width, Direction::Decode) => Ok(grain),
        }
    }

    /// Tile and step along an axis, if diffusers' arithmetic gives the same on both sides of the
    /// VAE; `None` for an axis that is not cut.
    pub(crate) fn cells(
        &self,
        axis: Axis,
        direction: Direction,
    ) -> Result<Option<Cells>, PlanError> {
        match axis {
            Axis::Time => self.time.map(|time| time.cells(direction, self.scale.time)).transpose(),
            Axis::Height => self.height.cells(axis, direction, self.scale.space),
            Axis::Width => self.width.cells(axis, direction, self.scale.space),
        }
    }
}

/// A consistent tile and step, in latent cells.
#[derive(Clone, Copy)]
pub(crate) struct Cells {
    pub(crate) tile: u32,
    pub(crate) stride: u32,
    /// Of tiles of frames, which of a tile's frames is dropped.
    pub(crate) dropped: Option<DroppedFrame>,
}

/// The least stride with which no more than [`MAX_BLEND_DEPTH`] tiles lie over one cell.
fn min_stride(tile: u32) -> u32 {
    tile.div_ceil(MAX_BLEND_DEPTH)
}

/// Tile and step of a stored tile and stride in pixels, each with its attribute's name.
fn stored_stride(
    axis: Axis,
    scale: u32,
    (tile_name, tile): (&'static str, u32),
    (stride_name, stride): (&'static str, u32),
) -> Result<Cells, PlanError> {
    nonzero(tile_name, tile)?;
    nonzero(stride_name, stride)?;
    let off =
        |name, value, works| PlanError::NotMultipleOfScale { axis, name, value, scale, works };
    if !tile.is_multiple_of(scale) {
        return Err(off(tile_name, tile, (tile / scale).max(1) * scale));
    }
    let (tile_sample_stride, tile_sample_min_size) = (stride, tile);
    if stride > tile {
        return Err(PlanError::StrideTooLarge { axis, tile_sample_stride, tile_sample_min_size });
    }
    let cells = Cells { tile: tile / scale, stride: stride / scale, dropped: None };
    let least = min_stride(cells.tile);
    if !stride.is_multiple_of(scale) {
        return Err(off(stride_name, stride, cells.stride.max(least) * scale));
    }
    if cells.stride < least {
        return Err(PlanError::StrideTooSmall {
            axis,
            tile_sample_stride,
            tile_sample_min_size,
            max: MAX_BLEND_DEPTH,
            works: least * scale,
        });
    }
    Ok(cells)
}
