//! One axis of a tile grid.

use crate::tiling::{AxisTiling, Direction};
use crate::{Axis, PlanError};

/// One axis of a [`TileGrid`](crate::TileGrid): where its tiles start, how long they are, and how
/// they are blended. Input units are latent cells to decode and pixels to encode; output units the
/// other ones.
///
/// Tile `i` covers `i * stride .. min(i * stride + tile, extent)`. On the output side it starts at
/// `i * row_limit`: the grid is consistent, so position `p` of tile `i` is position
/// `p + row_limit` of tile `i - 1`, for clipped tiles too.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TileAxis {
    extent: u32,
    tile: u32,
    stride: u32,
    count: u32,
    output_extent: u32,
    output_tile: u32,
    row_limit: u32,
}

impl TileAxis {
    pub(crate) fn new(
        axis: Axis,
        direction: Direction,
        extent: u32,
        tiling: &AxisTiling,
        scale: u32,
    ) -> Result<Self, PlanError> {
        let name = match (direction, axis) {
            (Direction::Decode, Axis::Time) => "latent frames",
            (Direction::Encode, Axis::Time) => "frames",
            (Direction::Decode, Axis::Height) => "latent height",
            (Direction::Decode, Axis::Width) => "latent width",
            (Direction::Encode, Axis::Height) => "image height",
            (Direction::Encode, Axis::Width) => "image width",
        };
        crate::tiling::nonzero(name, extent)?;
        let cells = tiling.cells(axis, direction, scale)?;
        // A tile's pixels fit u32: they are the caller's tile_sample_min_size.
        let pixels = (cells.tile * scale, cells.stride * scale);
        let cells = (cells.tile, cells.stride);
        let (output_extent, (tile, stride), (output_tile, row_limit)) = match direction {
            Direction::Decode => (scaled(axis, extent, scale)?, cells, pixels),
            Direction::Encode if !extent.is_multiple_of(scale) => {
                return Err(PlanError::ExtentNotMultiple { axis, extent, scale });
            }
            Direction::Encode => (extent / scale, pixels, cells),
        };
        let count = extent.div_ceil(stride);
        Ok(Self { extent, tile, stride, count, output_extent, output_tile, row_limit })
    }

    /// The input's length, in input units.
    pub const fn extent(&self) -> u32 {
        self.extent
    }

    /// An unclipped tile's length, in input units.
    pub const fn tile(&self) -> u32 {
        self.tile
    }

    /// From one tile's start to the next, in input units (diffusers' `overlap_size`).
    pub const fn stride(&self) -> u32 {
        self.stride
    }

    /// How many tiles there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The output's length, in output units.
    pub const fn output_extent(&self) -> u32 {
        self.output_extent
    }

    /// An unclipped tile's length, in output units.
    pub const fn output_tile(&self) -> u32 {
        self.output_tile
    }

    /// How much of a blended tile is kept, in output units; also the step on the output side.
    pub const fn row_limit(&self) -> u32 {
        self.row_limit
    }

    /// Over how much of its start a tile is blended with its predecessor, in output units, before
    /// clipping: see [`ramp_extent`](Self::ramp_extent).
    pub const fn blend_extent(&self) -> u32 {
        self.output_tile - self.row_limit
    }

    /// Where tile `index` starts, in input units; `extent` if there is no such tile.
    pub const fn start(&self, index: u32) -> u32 {
        if index < self.count { index * self.stride } else { self.extent }
    }

    /// How long tile `index` is, in input units, clipped at the end; 0 if there is no such tile.
    pub fn len(&self, index: u32) -> u32 {
        self.tile.min(self.extent - self.start(index))
    }

    /// Where tile `index` starts, in output units; `output_extent` if there is no such tile.
    pub const fn output_start(&self, index: u32) -> u32 {
        if index < self.count { index * self.row_limit } else { self.output_extent }
    }

    /// How long tile `index` is before cropping, in output units; 0 if there is no such tile.
    pub fn output_len(&self, index: u32) -> u32 {
        self.output_tile.min(self.output_extent - self.output_start(index))
    }

    /// Over how much of its start tile `index` is blended with its predecessor: diffusers'
    /// `min(len_a, len_b, blend_extent)`. 0 for the first tile.
    pub fn ramp_extent(&self, index: u32) -> u32 {
        if index == 0 { 0 } else { self.output_len(index).min(self.blend_extent()) }
    }

    /// The weight of tile `index` against all before it, at its output position `position`:
    /// `position / ramp_extent` inside the ramp and 1 behind it.
    pub fn ramp(&self, index: u32, position: u64) -> f64 {
        let extent = self.ramp_extent(index);
        if position < u64::from(extent) { position as f64 / f64::from(extent) } else { 1.0 }
    }

    /// `f` of the length of each tile, in input units, added up without walking all of them.
    pub(crate) fn sum_lens(&self, f: impl Fn(u32) -> u128) -> u128 {
        // These many tiles end before the last place where one fits, so none of them is clipped.
        // Behind them come that one and at most MAX_BLEND_DEPTH that reach the end of the input.
        let full = self.extent.saturating_sub(self.tile) / self.stride;
        let rest: u128 = (full..self.count).map(|index| f(self.len(index))).sum();
        u128::from(full) * f(self.tile) + rest
    }
}

/// Latent cells in pixels.
pub(crate) fn scaled(axis: Axis, extent: u32, scale: u32) -> Result<u32, PlanError> {
    extent.checked_mul(scale).ok_or(PlanError::OutputTooLarge { axis, extent, scale })
}
