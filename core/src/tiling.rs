//! The two tiling arithmetics of diffusers, and what makes their numbers consistent.
//!
//! Both come down to a tile and a step in whole latent cells, the same on both sides of the VAE.
//! diffusers computes the two sides apart, with truncations, and does not compare them; where they
//! disagree it returns an image of the wrong size. Here that is an error.

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
        /// The part of a tile that overlaps the next, `0..1`.
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
}

/// `0..1`, and so not NaN either.
pub(crate) fn check_overlap_factor(axis: Axis, tile_overlap_factor: f64) -> Result<(), PlanError> {
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

/// How far from the overlap that was asked for [`OverlapTile::near`] looks, in latent cells.
const TRIED_ON_EACH_SIDE: u32 = 128;

enum Misfit {
    TooDeep,
    NotWhole,
}

impl OverlapTile {
    /// The step in latent cells. diffusers has it twice, as `overlap_size` on the input's side and
    /// as `row_limit` on the output's, and they have to agree.
    fn step(self, factor: f64) -> Result<u32, Misfit> {
        let pixels = self.cells * self.scale;
        let (input_tile, output_tile) = match self.direction {
            Direction::Decode => (self.cells, pixels),
            Direction::Encode => (pixels, self.cells),
        };
        // `as` truncates towards zero as Python's int() does, and the products are at most a tile.
        let overlap_size = (f64::from(input_tile) * (1.0 - factor)) as u32;
        let blend_extent = (f64::from(output_tile) * factor) as u32;
        let row_limit = output_tile - blend_extent;
        let (latent_step, pixel_step) = match self.direction {
            Direction::Decode => (overlap_size, row_limit),
            Direction::Encode => (row_limit, overlap_size),
        };
        let too_deep = match self.direction {
            Direction::Decode => overlap_size < min_stride(self.cells),
            Direction::Encode => overlap_size < min_stride(self.cells) * self.scale,
        };
        if too_deep {
            Err(Misfit::TooDeep)
        } else if u64::from(latent_step) * u64::from(self.scale) != u64::from(pixel_step) {
            Err(Misfit::NotWhole)
        } else {
            Ok(latent_step)
        }
    }

    /// The factor nearest to `factor` that works with this tile. Whole overlaps mostly do, but
    /// their quotients are rounded, so they are tried one by one; no overlap always works.
    fn near(self, factor: f64) -> f64 {
        let most = self.cells - min_stride(self.cells);
        let wanted = ((f64::from(self.cells) * factor) as u32).min(most);
        (0..TRIED_ON_EACH_SIDE)
            .flat_map(|off| [wanted.checked_sub(off), wanted.checked_add(off)])
            .flatten()
            .filter(|&overlap| overlap <= most)
            .map(|overlap| f64::from(overlap) / f64::from(self.cells))
            .find(|&candidate| self.step(candidate).is_ok())
            .unwrap_or(0.0)
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
