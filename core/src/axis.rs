//! One axis of a tile grid.

use crate::error::nonzero;
use crate::scale::scaled;
use crate::tiling::{Cells, Direction, DroppedFrame};
use crate::{Axis, PlanError, TimeLaw, TimeScale};

/// One axis of a [`TileGrid`](crate::TileGrid): where its tiles start, how long they are, and how
/// they are blended. Input units are latent cells to decode and pixels to encode; output units the
/// other ones.
///
/// Tile `i` covers `i * stride .. min(i * stride + tile, extent)`. On the output side it starts at
/// `i * row_limit`: the grid is consistent, so position `p` of tile `i` is position
/// `p + row_limit` of tile `i - 1`, for clipped tiles too.
///
/// Tiles of frames are the same but for the first frame, which is alone. On the input's side each
/// tile is longer by one, the frame before its own. On the output's side all that was said goes for
/// the frames behind the first one, and tile 0 has that one too. A last window that is nothing but
/// the frame before its own is no tile: diffusers decodes it and keeps no frame of it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TileAxis {
    extent: u32,
    /// Without the frame before.
    tile: u32,
    stride: u32,
    count: u32,
    output_extent: u32,
    output_tile: u32,
    row_limit: u32,
    /// Cells alone before all others, on either side: 1 where frames are tiled, else 0.
    lone: u32,
    /// Cells at the start of a computed tile that are not kept, but for the first tile.
    skipped: u32,
    /// Cells of the output, from a tile's first on, that are blended with the same weight.
    grain: u32,
}

impl TileAxis {
    /// `cells` are tile and step; without them the axis is not cut.
    pub(crate) fn new(
        axis: Axis,
        direction: Direction,
        extent: u32,
        scale: TimeScale,
        cells: Option<Cells>,
    ) -> Result<Self, PlanError> {
        let (output_extent, latents) = match direction {
            Direction::Decode => (scaled(axis, extent, scale)?, extent),
            Direction::Encode => {
                let latents = scale.latents(extent).ok_or_else(|| misfit(axis, extent, scale))?;
                (latents, latents)
            }
        };
        let whole = Self {
            extent,
            tile: extent,
            stride: extent,
            count: 1,
            output_extent,
            output_tile: output_extent,
            row_limit: output_extent,
            lone: 0,
            skipped: 0,
            grain: 1,
        };
        let Some(Cells { tile, stride, dropped }) = cells else { return Ok(whole) };
        // A tile's pixels fit u32: they are the caller's size of a tile.
        let pixels = (tile * scale.factor, stride * scale.factor);
        let ((tile, stride), (output_tile, row_limit), cells) = match direction {
            Direction::Decode => ((tile, stride), pixels, stride),
            Direction::Encode => (pixels, (tile, stride), stride),
        };
        let lone = u32::from(dropped.is_some());
        let count = (latents - lone).div_ceil(cells);
        let skipped = u32::from(dropped == Some(DroppedFrame::First));
        Ok(Self { tile, stride, count, output_tile, row_limit, lone, skipped, ..whole })
    }

    /// The same, where so many cells are blended with one weight; a divisor of the scale.
    pub(crate) const fn with_grain(self, grain: u32) -> Self {
        Self { grain, ..self }
    }

    /// How many cells of the output are blended with the same weight.
    pub const fn grain(&self) -> u32 {
        self.grain
    }

    /// The input's length, in input units.
    pub const fn extent(&self) -> u32 {
        self.extent
    }

    /// An unclipped tile's length, in input units; of frames, with the one before them.
    pub const fn tile(&self) -> u32 {
        self.tile.saturating_add(self.lone)
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

    /// An unclipped tile's length, in output units, without what is dropped.
    pub const fn output_tile(&self) -> u32 {
        self.output_tile
    }

    /// How much of a blended tile is kept, in output units; also the step on the output side. Of
    /// the first tile of frames one more is kept.
    pub const fn row_limit(&self) -> u32 {
        self.row_limit
    }

    /// Over how much of its start a tile is blended with its predecessor, in output units, before
    /// clipping: see [`ramp_extent`](Self::ramp_extent).
    pub const fn blend_extent(&self) -> u32 {
        self.output_tile - self.row_limit
    }

    /// Whether the input exceeds the tile, strictly.
    pub const fn triggers(&self) -> bool {
        self.extent > self.tile
    }

    /// Where tile `index` starts, in input units; `extent` if there is no such tile.
    pub const fn start(&self, index: u32) -> u32 {
        if index < self.count { index * self.stride } else { self.extent }
    }

    /// How long tile `index` is, in input units, clipped at the end; 0 if there is no such tile.
    pub fn len(&self, index: u32) -> u32 {
        match index < self.count {
            true => self.lone + self.tile.min(self.extent - self.lone - self.start(index)),
            false => 0,
        }
    }

    /// Where tile `index` starts, in output units; `output_extent` if there is no such tile.
    pub const fn output_start(&self, index: u32) -> u32 {
        match index {
            0 => 0,
            _ if index < self.count => index * self.row_limit + self.lone,
            _ => self.output_extent,
        }
    }

    /// How long tile `index` is before cropping, in output units, without what is dropped; 0 if
    /// there is no such tile.
    pub fn output_len(&self, index: u32) -> u32 {
        match index {
            // Frames are tiled only where there are more than a tile has, with the lone one.
            0 => self.lone + self.output_tile.min(self.output_extent),
            _ => self.output_tile.min(self.output_extent - self.output_start(index)),
        }
    }

    /// How many cells at the start of tile `index`, as it was computed, are dropped; the others are
    /// dropped at its end.
    pub const fn skipped(&self, index: u32) -> u32 {
        if index == 0 { 0 } else { self.skipped }
    }

    /// Starts and lengths of tile `index`, which there is.
    #[inline]
    pub(crate) fn spans(&self, index: u32) -> TileSpans {
        let len = self.output_len(index);
        TileSpans {
            input: (self.start(index), self.len(index)),
            keep: (self.skipped(index), len),
            output: (self.output_start(index), len),
        }
    }

    /// How many cells of each computed tile but the first are dropped, in output units.
    pub const fn dropped(&self) -> u32 {
        self.lone
    }

    /// Over how much of its start tile `index` is blended with its predecessor: diffusers'
    /// `min(len_a, len_b, blend_extent)`. 0 for the first tile.
    pub fn ramp_extent(&self, index: u32) -> u32 {
        if index == 0 { 0 } else { self.output_len(index).min(self.blend_extent()) }
    }

    /// The weight of tile `index` against all before it, at its output position `position`:
    /// `position / ramp_extent` inside the ramp and 1 behind it, both counted in whole
    /// [`grain`](Self::grain)s.
    pub fn ramp(&self, index: u32, position: u64) -> f64 {
        ramp_at(self.ramp_extent(index), position, self.grain)
    }

    /// How far tile `index - back` starts before tile `index`, in output units.
    pub(crate) fn shift(&self, index: u32, back: u32) -> u64 {
        let lone = if back > 0 && index == back { self.lone } else { 0 };
        u64::from(back) * u64::from(self.row_limit) + u64::from(lone)
    }

    /// How much of tile `index` is kept once it is blended, in output units.
    pub(crate) fn kept(&self, index: u32) -> u32 {
        let lone = if index == 0 { self.lone } else { 0 };
        self.row_limit.saturating_add(lone).min(self.output_len(index))
    }

    /// How many latent cells of tile `index` go through the VAE.
    pub(crate) fn cells(&self, direction: Direction, index: u32) -> u32 {
        match direction {
            Direction::Decode => self.len(index),
            Direction::Encode if index == 0 => self.output_len(index),
            // What is dropped goes through it too. There is room for it: tile 0 has it as well.
            Direction::Encode => self.output_len(index) + self.lone,
        }
    }

    /// `f` of the latent cells of each tile, added up without walking all of them.
    pub(crate) fn sum_cells(&self, direction: Direction, f: impl Fn(u32) -> u128) -> u128 {
        // These many tiles end before the last place where one fits, so none of them is clipped.
        // Behind them come that one and at most MAX_BLEND_DEPTH that reach the end of the input.
        let full = (self.extent - self.lone).saturating_sub(self.tile) / self.stride;
        let rest: u128 = (full..self.count).map(|index| f(self.cells(direction, index))).sum();
        u128::from(full) * f(self.cells(direction, 0)) + rest
    }
}

/// Starts and lengths of a tile along an axis.
#[derive(Clone, Copy)]
pub(crate) struct TileSpans {
    /// Its window of the input, in input units.
    pub(crate) input: (u32, u32),
    /// The part of what is computed that is not dropped, in output units.
    pub(crate) keep: (u32, u32),
    /// Where that part lies in the output, in output units.
    pub(crate) output: (u32, u32),
}

/// The weight at `position` of a tile that is blended over `extent` of its start, which is as many
/// whole grains.
pub(crate) fn ramp_at(extent: u32, position: u64, grain: u32) -> f64 {
    match (position < u64::from(extent), grain) {
        (false, _) => 1.0,
        (true, 0 | 1) => position as f64 / f64::from(extent),
        (true, _) => (position / u64::from(grain)) as f64 / f64::from(extent / grain),
    }
}

/// An input to encode that ends inside a latent cell.
fn misfit(axis: Axis, extent: u32, scale: TimeScale) -> PlanError {
    let TimeScale { factor, law } = scale;
    match law {
        TimeLaw::FirstAlone => PlanError::FramesNotWhole { frames: extent, factor },
        TimeLaw::Even | TimeLaw::AfterFirst => {
            PlanError::ExtentNotMultiple { axis, extent, scale: factor }
        }
    }
}

/// The name of an input's extent, where it is 0.
pub(crate) fn check_extent(axis: Axis, direction: Direction, extent: u32) -> Result<(), PlanError> {
    let name = match (direction, axis) {
        (Direction::Decode, Axis::Time) => "latent frames",
        (Direction::Encode, Axis::Time) => "frames",
        (Direction::Decode, Axis::Height) => "latent height",
        (Direction::Decode, Axis::Width) => "latent width",
        (Direction::Encode, Axis::Height) => "image height",
        (Direction::Encode, Axis::Width) => "image width",
    };
    nonzero(name, extent)
}
