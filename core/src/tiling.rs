//! The two tiling arithmetics of diffusers, and what makes their numbers consistent.
//!
//! Both come down to a tile and a step in whole latent cells, the same on both sides of the VAE.
//! diffusers computes the two sides apart, with truncations, and does not compare them; where they
//! disagree it returns an image of the wrong size. Here that is an error, unless only the rounding
//! of floating-point numbers sets them apart.

use crate::{Axis, PlanError, Size};

/// Most tiles that may lie over one pixel along one axis. diffusers' defaults have two; the bound
/// keeps the weights of a pixel in a fixed number of registers, without allocation.
pub const MAX_BLEND_DEPTH: u32 = 16;

/// Which way through the VAE.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// From latents to pixels: the input is in latent cells.
    Decode,
    /// From pixels to latents: the input is in pixels.
    Encode,
}

/// How one axis is tiled, with the attributes that diffusers' classes have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AxisTiling {
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

/// How both axes are tiled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiling {
    /// Rows.
    pub height: AxisTiling,
    /// Columns.
    pub width: AxisTiling,
    /// Pixels per latent cell along either axis.
    pub scale: u32,
}

impl Tiling {
    /// Whether diffusers would tile this input: it exceeds the tile, strictly, on either axis.
    pub fn triggers(&self, direction: Direction, input: Size) -> bool {
        input.height > self.height.tile(direction, self.scale)
            || input.width > self.width.tile(direction, self.scale)
    }
}

/// A consistent tile and step, in latent cells.
#[derive(Clone, Copy)]
pub(crate) struct Cells {
    pub(crate) tile: u32,
    pub(crate) stride: u32,
}

impl AxisTiling {
    /// The tile in units of the input: latent cells to decode, pixels to encode.
    fn tile(&self, direction: Direction, scale: u32) -> u32 {
        match (*self, direction) {
            (Self::Overlap { tile_latent_min_size, .. }, Direction::Decode) => tile_latent_min_size,
            (Self::Stride { tile_sample_min_size, .. }, Direction::Decode) => {
                tile_sample_min_size.checked_div(scale).unwrap_or(0)
            }
            (
                Self::Overlap { tile_sample_min_size, .. }
                | Self::Stride { tile_sample_min_size, .. },
                Direction::Encode,
            ) => tile_sample_min_size,
        }
    }

    /// Tile and step in latent cells, if diffusers' arithmetic gives the same on both sides.
    pub(crate) fn cells(
        &self,
        axis: Axis,
        direction: Direction,
        scale: u32,
    ) -> Result<Cells, PlanError> {
        nonzero("scale", scale)?;
        match *self {
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
                    .map(|stride| Cells { tile: tile_latent_min_size, stride })
                    .map_err(|misfit| tile.error(misfit, axis, tile_overlap_factor))
            }
            Self::Stride { tile_sample_min_size, tile_sample_stride } => {
                nonzero("tile_sample_min_size", tile_sample_min_size)?;
                nonzero("tile_sample_stride", tile_sample_stride)?;
                stored_stride(axis, scale, tile_sample_min_size, tile_sample_stride)
            }
        }
    }

    /// Latent cells that a tile shares with the next, as vLLM-Omni counts them for the halos of
    /// patches: `int(tile_latent_min_size * tile_overlap_factor)`, rounding errors included, so
    /// that its patches are the same. It knows no stored strides; theirs is counted exactly.
    pub(crate) fn shared_cells(&self, axis: Axis, scale: u32) -> Result<u32, PlanError> {
        match *self {
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

pub(crate) fn nonzero(name: &'static str, value: u32) -> Result<(), PlanError> {
    if value == 0 { Err(PlanError::Zero { name }) } else { Ok(()) }
}

/// The least stride with which no more than [`MAX_BLEND_DEPTH`] tiles lie over one cell.
fn min_stride(tile: u32) -> u32 {
    tile.div_ceil(MAX_BLEND_DEPTH)
}

fn stored_stride(
    axis: Axis,
    scale: u32,
    tile_sample_min_size: u32,
    tile_sample_stride: u32,
) -> Result<Cells, PlanError> {
    let off =
        |name, value, works| PlanError::NotMultipleOfScale { axis, name, value, scale, works };
    if !tile_sample_min_size.is_multiple_of(scale) {
        let works = (tile_sample_min_size / scale).max(1) * scale;
        return Err(off("tile_sample_min_size", tile_sample_min_size, works));
    }
    if tile_sample_stride > tile_sample_min_size {
        return Err(PlanError::StrideTooLarge { axis, tile_sample_stride, tile_sample_min_size });
    }
    let cells = Cells { tile: tile_sample_min_size / scale, stride: tile_sample_stride / scale };
    let least = min_stride(cells.tile);
    if !tile_sample_stride.is_multiple_of(scale) {
        let works = cells.stride.max(least) * scale;
        return Err(off("tile_sample_stride", tile_sample_stride, works));
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

/// A tile whose sizes in cells and in pixels agree, waiting for an overlap factor.
#[derive(Clone, Copy)]
struct OverlapTile {
    direction: Direction,
    scale: u32,
    cells: u32,
}

enum Misfit {
    TooDeep,
    NotWhole,
}

impl OverlapTile {
    /// The step in latent cells, if it is the same on both sides of the VAE: exactly that of an
    /// overlap of whole cells, or what diffusers' floating-point numbers come to.
    fn step(self, factor: f64) -> Result<u32, Misfit> {
        let (latent_step, pixel_step) = match self.whole_overlap(factor) {
            Some(overlap) => (self.cells - overlap, (self.cells - overlap) * self.scale),
            None => self.steps_of_diffusers(factor),
        };
        let least = min_stride(self.cells);
        if latent_step < least || pixel_step < least * self.scale {
            Err(Misfit::TooDeep)
        } else if u64::from(latent_step) * u64::from(self.scale) != u64::from(pixel_step) {
            Err(Misfit::NotWhole)
        } else {
            Ok(latent_step)
        }
    }

    /// The overlap in latent cells, if the factor stands for a whole number of them. A division
    /// of two whole numbers gives the float that is nearest to their quotient, and so does reading
    /// a decimal that equals the quotient: 0.8 and 64 / 80 are one float, whatever a product of
    /// 80 and 0.8 comes to.
    fn whole_overlap(self, factor: f64) -> Option<u32> {
        let overlap = nearest(f64::from(self.cells) * factor);
        (overlap < self.cells && self.factor(overlap) == factor).then_some(overlap)
    }

    fn factor(self, overlap: u32) -> f64 {
        f64::from(overlap) / f64::from(self.cells)
    }

    /// The step in latent cells and that in pixels, as diffusers has them: one is `overlap_size`,
    /// on the input's side, and the other `row_limit`, on the output's.
    fn steps_of_diffusers(self, factor: f64) -> (u32, u32) {
        let pixels = self.cells * self.scale;
        // `as` truncates towards zero as Python's int() does, and the products are at most a tile.
        let overlap_size = |tile: u32| (f64::from(tile) * (1.0 - factor)) as u32;
        let row_limit = |tile: u32| tile - (f64::from(tile) * factor) as u32;
        match self.direction {
            Direction::Decode => (overlap_size(self.cells), row_limit(pixels)),
            Direction::Encode => (row_limit(self.cells), overlap_size(pixels)),
        }
    }

    /// The factor nearest to `factor` that works with this tile and is not 0, unless nothing but 0
    /// does.
    fn near(self, factor: f64) -> f64 {
        let most = self.cells - min_stride(self.cells);
        self.factor(nearest(f64::from(self.cells) * factor).max(1).min(most))
    }

    fn error(self, misfit: Misfit, axis: Axis, tile_overlap_factor: f64) -> PlanError {
        let works = self.near(tile_overlap_factor);
        match misfit {
            Misfit::TooDeep => PlanError::OverlapTooDeep {
                axis,
                tile_latent_min_size: self.cells,
                tile_overlap_factor,
                max: MAX_BLEND_DEPTH,
                works,
            },
            Misfit::NotWhole => PlanError::OverlapNotWhole {
                axis,
                tile_latent_min_size: self.cells,
                tile_overlap_factor,
                works,
            },
        }
    }
}

/// The whole number nearest to one that is not negative, the lower of two.
fn nearest(value: f64) -> u32 {
    let below = value as u32;
    below + u32::from(value - f64::from(below) > 0.5)
}
