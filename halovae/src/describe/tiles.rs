//! How a VAE tiles if nothing else is asked for.

use halovae_core::{AxisTiling, Direction, PlanError, Size, TileAxis, TileGrid, Tiling};
use serde::Serialize;

use crate::options::tile_pixels;

/// Height and width for the figures of a model without tiles.
const UNTILED_PIXELS: u32 = 512;

/// The tiles of a VAE, as diffusers has them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TileFacts {
    /// Height and width of a tile in pixels, if it has tiles.
    pub sample_min_size: Option<[u32; 2]>,
    /// The same in latent cells; without tiles, of 512 pixels.
    pub latent_min_size: [u32; 2],
    /// How far tiles are apart, along height and width.
    pub steps: [TileStep; 2],
    /// What follows for the grid, along height and width; `None` for tiles that cannot be.
    pub axes: Option<[AxisFacts; 2]>,
    /// Why they cannot be.
    #[serde(skip)]
    pub refused: Option<PlanError>,
}

/// How far tiles are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TileStep {
    /// There is one tile.
    Whole,
    /// The part of a tile that the next one overlaps.
    OverlapFactor(f64),
    /// From tile to tile, in pixels.
    Stride(u32),
}

/// A grid of tiles along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AxisFacts {
    /// From tile to tile, in latent cells.
    pub stride: u32,
    /// Pixels over which two tiles are blended.
    pub blend_extent: u32,
    /// Pixels of a tile that are kept.
    pub row_limit: u32,
}

impl TileFacts {
    pub(super) fn new(tiling: &Tiling) -> Self {
        let latent_min_size @ [height, width] = cells(tiling);
        let axes = [tiling.height, tiling.width];
        let grid = TileGrid::new(Direction::Decode, Size::new(height, width), tiling);
        let facts = |axis: &TileAxis| AxisFacts {
            stride: axis.stride(),
            blend_extent: axis.blend_extent(),
            row_limit: axis.row_limit(),
        };
        let sample_min_size = match axes.map(tile_pixels) {
            [Some(rows), Some(columns)] => Some([rows, columns]),
            _ => None,
        };
        Self {
            sample_min_size,
            latent_min_size,
            steps: axes.map(TileStep::new),
            axes: grid.as_ref().ok().map(|grid| [grid.height(), grid.width()].map(facts)),
            refused: grid.err(),
        }
    }
}

impl TileStep {
    fn new(axis: AxisTiling) -> Self {
        match axis {
            AxisTiling::Whole => Self::Whole,
            AxisTiling::Overlap { tile_overlap_factor, .. } => {
                Self::OverlapFactor(tile_overlap_factor)
            }
            AxisTiling::Stride { tile_sample_stride, .. } => Self::Stride(tile_sample_stride),
        }
    }
}

/// Height and width of a tile in latent cells.
pub(super) fn cells(tiling: &Tiling) -> [u32; 2] {
    let in_cells = |pixels: u32| pixels.checked_div(tiling.scale.space).unwrap_or(0).max(1);
    [tiling.height, tiling.width].map(|axis| match axis {
        AxisTiling::Whole => in_cells(UNTILED_PIXELS),
        AxisTiling::Overlap { tile_latent_min_size, .. } => tile_latent_min_size,
        AxisTiling::Stride { tile_sample_min_size, .. } => in_cells(tile_sample_min_size),
    })
}
