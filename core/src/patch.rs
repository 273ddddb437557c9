//! Patch grids: one patch a rank, decoded with a halo of latents that is cropped.

use core::iter::FusedIterator;

use crate::axis::scaled;
use crate::span::Cores;
use crate::tiling::nonzero;
use crate::{Axis, AxisTiling, PlanError, Region, Size, Tiling};

/// Most ranks of a patch grid; keeps the search for its factors short.
pub const MAX_PATCH_RANKS: u32 = 1 << 20;

/// The patches of one decode (vLLM-Omni): the ranks form the most square grid, rank
/// `row * cols + col` has core `row * h / rows .. (row + 1) * h / rows` of the rows and likewise of
/// the columns, and decodes it with a halo on each side, clipped at the edges.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PatchGrid {
    rows: Cores,
    cols: Cores,
    /// Half of what tiles share, per axis, in latent cells.
    least_halo: Size,
}

/// One patch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Patch {
    /// Its place among the patches, in row-major order.
    pub index: u64,
    /// Its place among those of the grid, empty ones counted: the rank that has it in vLLM-Omni.
    pub rank: u32,
    /// What the rank is responsible for, in latent cells.
    pub core: Region,
    /// The core with its halo, in latent cells: what is decoded.
    pub window: Region,
    /// The core in pixels of the decoded window.
    pub crop: Region,
    /// Where the crop lies in the output, in pixels.
    pub output: Region,
}

#[expect(clippy::len_without_is_empty, reason = "a grid has at least one patch")]
impl PatchGrid {
    /// The patches of `latents` over `ranks`, with `scale` pixels per latent cell.
    /// `tile_overlap_factor` is that of height and width.
    ///
    /// A rank whose core is empty, since there are fewer latents than the grid has places, has no
    /// patch and no work.
    ///
    /// # Errors
    /// [`PlanError::Zero`], [`PlanError::OverlapFactorOutOfRange`], [`PlanError::OutputTooLarge`],
    /// and [`PlanError::TooManyRanks`] beyond [`MAX_PATCH_RANKS`].
    pub fn new(
        latents: Size,
        ranks: u32,
        tile_latent_min_size: Size,
        tile_overlap_factor: [f64; 2],
        scale: u32,
    ) -> Result<Self, PlanError> {
        let Size { height, width, .. } = tile_latent_min_size;
        let [height_factor, width_factor] = tile_overlap_factor;
        let axis = |tile_latent_min_size, tile_overlap_factor| AxisTiling::Overlap {
            // What tiles are in pixels does not matter to patches.
            tile_sample_min_size: 0,
            tile_latent_min_size,
            tile_overlap_factor,
        };
        let height = axis(height, height_factor);
        let width = axis(width, width_factor);
        Self::like(latents, ranks, &Tiling { height, width, scale })
    }

    /// The patches whose least halos are half of what the tiles of `tiling` share.
    ///
    /// # Errors
    /// Those of [`PatchGrid::new`].
    pub fn like(latents: Size, ranks: u32, tiling: &Tiling) -> Result<Self, PlanError> {
        let Tiling { height, width, scale } = *tiling;
        nonzero("latent height", latents.height)?;
        nonzero("latent width", latents.width)?;
        nonzero("vae_patch_parallel_size", ranks)?;
        nonzero("scale", scale)?;
        let least_halo = Size::new(
            height.shared_cells(Axis::Height, scale)? / 2,
            width.shared_cells(Axis::Width, scale)? / 2,
        );
        scaled(Axis::Height, latents.height, scale)?;
        scaled(Axis::Width, latents.width, scale)?;
        if ranks > MAX_PATCH_RANKS {
            return Err(PlanError::TooManyRanks { ranks, max: MAX_PATCH_RANKS });
        }
        let rows = most_square_rows(ranks);
        Ok(Self {
            rows: Cores { extent: latents.height, slots: rows, scale },
            cols: Cores { extent: latents.width, slots: ranks / rows, scale },
            least_halo,
        })
    }

    /// Rows of the grid, those of ranks without work included.
    pub const fn rows(&self) -> u32 {
        self.rows.slots
    }

    /// Columns of the grid, those of ranks without work included.
    pub const fn cols(&self) -> u32 {
        self.cols.slots
    }

    /// Ranks of the grid, those without work included.
    pub const fn ranks(&self) -> u32 {
        // At most MAX_PATCH_RANKS.
        self.rows.slots * self.cols.slots
    }

    /// The latents, in cells.
    pub const fn latents(&self) -> Size {
        Size::new(self.rows.extent, self.cols.extent)
    }

    /// The output, in pixels.
    pub const fn output(&self) -> Size {
        // Checked when the grid was made.
        let scale = self.rows.scale;
        Size::new(self.rows.extent * scale, self.cols.extent * scale)
    }

    /// How many patches there are: the ranks that have work.
    pub fn len(&self) -> u64 {
        u64::from(self.rows.count()) * u64::from(self.cols.count())
    }

    /// Patch `index` in row-major order.
    pub fn patch(&self, index: u64) -> Option<Patch> {
        if index >= self.len() {
            return None;
        }
        // Row and column are below the counts of the axes, which are u32.
        let cols = u64::from(self.cols.count());
        let (row, col) = ((index / cols) as u32, (index % cols) as u32);
        let rank = self.rows.slot(row) * self.cols.slots + self.cols.slot(col);
        let (top, bottom) = self.rows.range(row);
        let (left, right) = self.cols.range(col);
        let core = Region::new(top, left, bottom - top, right - left);
        let (above, below) = clip(self.halo(Axis::Height, core.size()), self.rows, (top, bottom));
        let (before, behind) = clip(self.halo(Axis::Width, core.size()), self.cols, (left, right));
        let window = Region::new(
            top - above,
            left - before,
            above + core.height + below,
            before + core.width + behind,
        );
        let scale = self.rows.scale;
        let (height, width) = (core.height * scale, core.width * scale);
        let crop = Region::new(above * scale, before * scale, height, width);
        let output = Region::new(top * scale, left * scale, height, width);
        Some(Patch { index, rank, core, window, crop, output })
    }

    /// The halo of a core of this size along an axis before it is clipped, in latent cells:
    /// `max(int(tile_latent_min_size * tile_overlap_factor) / 2, min(core_h, core_w) / 2)`.
    pub fn halo(&self, axis: Axis, core: Size) -> u32 {
        let least = match axis {
            Axis::Time => return 0,
            Axis::Height => self.least_halo.height,
            Axis::Width => self.least_halo.width,
        };
        least.max(core.height.min(core.width) / 2)
    }

    /// All patches in row-major order, lazily.
    pub const fn patches(&self) -> Patches {
        Patches { grid: *self, next: 0 }
    }

    pub(crate) const fn axes(&self) -> (Cores, Cores) {
        (self.rows, self.cols)
    }
}

/// The halo before and behind a core, inside the latents.
fn clip(halo: u32, axis: Cores, (start, end): (u32, u32)) -> (u32, u32) {
    (halo.min(start), halo.min(axis.extent - end))
}

/// The largest divisor of `ranks` that is at most its square root.
fn most_square_rows(ranks: u32) -> u32 {
    (1..=ranks.isqrt()).rev().find(|&rows| ranks.is_multiple_of(rows)).unwrap_or(1)
}

/// The patches of a [`PatchGrid`].
#[derive(Clone, Debug)]
pub struct Patches {
    grid: PatchGrid,
    next: u64,
}

impl Iterator for Patches {
    type Item = Patch;

    fn next(&mut self) -> Option<Patch> {
        let patch = self.grid.patch(self.next)?;
        self.next += 1;
        Some(patch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        crate::plan::size_hint(self.grid.len() - self.next)
    }
}

impl FusedIterator for Patches {}
