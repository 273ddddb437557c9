//! Patch grids: one patch a rank, decoded with a halo of latents that is cropped. A patch has all
//! frames.

use crate::error::nonzero;
use crate::grid::{iterate_by_index, place};
use crate::span::Cores;
use crate::{Axes, Axis, AxisTiling, PlanError, Region, Scale, Size, Tiling, TimeScale};

/// Most ranks of a patch grid; keeps the search for its factors short.
pub const MAX_PATCH_RANKS: u32 = 1 << 20;

/// The patches of one decode (vLLM-Omni): the ranks form the most square grid, rank
/// `row * cols + col` has core `row * h / rows .. (row + 1) * h / rows` of the rows and likewise of
/// the columns, and decodes it with a halo on each side, clipped at the edges.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PatchGrid {
    axes: Axes<Cores>,
    /// Half of what tiles share, per axis, in latent cells.
    least_halo: Size,
}

/// One patch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// The patches of `latents` over `ranks`, with an output of this scale.
    /// `tile_overlap_factor` is that of height and width.
    ///
    /// A rank whose core is empty, since there are fewer latents than the grid has places, has no
    /// patch and no work.
    ///
    /// # Errors
    /// [`PlanError::Zero`], [`PlanError::FirstFrameMissing`],
    /// [`PlanError::OverlapFactorOutOfRange`], [`PlanError::OutputTooLarge`], and [`PlanError::TooManyRanks`] beyond [`MAX_PATCH_RANKS`].
    pub fn new(
        latents: Size,
        ranks: u32,
        tile_latent_min_size: Size,
        tile_overlap_factor: [f64; 2],
        scale: impl Into<Scale>,
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
        Self::like(latents, ranks, &Tiling::new(height, width, scale))
    }

    /// The patches whose least halos are half of what the tiles of `tiling` share. How it tiles
    /// frames does not matter to patches.
    ///
    /// # Errors
    /// Those of [`PatchGrid::new`].
    pub fn like(latents: Size, ranks: u32, tiling: &Tiling) -> Result<Self, PlanError> {
        let Tiling { height, width, scale, .. } = *tiling;
        nonzero("vae_patch_parallel_size", ranks)?;
        scale.output(latents)?;
        let least_halo = Size::new(
            height.shared_cells(Axis::Height, scale.space)? / 2,
            width.shared_cells(Axis::Width, scale.space)? / 2,
        );
        if ranks > MAX_PATCH_RANKS {
            return Err(PlanError::TooManyRanks { ranks, max: MAX_PATCH_RANKS });
        }
        let rows = most_square_rows(ranks);
        let slots = Axes::new(1, rows, ranks / rows);
        let axes = Axes::<Cores>::of(latents, slots, scale);
        Ok(Self { axes, least_halo })
    }

    /// Rows of the grid, those of ranks without work included.
    pub const fn rows(&self) -> u32 {
        self.axes.height.slots
    }

    /// Columns of the grid, those of ranks without work included.
    pub const fn cols(&self) -> u32 {
        self.axes.width.slots
    }

    /// Ranks of the grid, those without work included.
    pub const fn ranks(&self) -> u32 {
        // At most MAX_PATCH_RANKS.
        self.rows() * self.cols()
    }

    /// The latents, in cells.
    pub const fn latents(&self) -> Size {
        self.axes.latents()
    }

    /// The output, in pixels.
    pub const fn output(&self) -> Size {
        self.axes.output()
    }

    /// How many patches there are: the ranks that have work.
    pub fn len(&self) -> u64 {
        let Axes { height, width, .. } = self.axes.map(|axis| u64::from(axis.count()));
        height * width
    }

    /// Patch `index` in row-major order.
    pub fn patch(&self, index: u64) -> Option<Patch> {
        let place = place(index, self.axes.map(Cores::count))?;
        let slot = |axis: Axis| self.axes[axis].slot(place[axis]);
        let spans = |of: &dyn Fn(Axis) -> (u32, u32)| Region::from_spans(Axes::from_fn(of));
        let core = spans(&|axis| self.axes[axis].part(place[axis], TimeScale::SAME));
        let halo =
            |axis| clip(self.halo(axis, core.size()), self.axes[axis].extent, core.span(axis));
        let window = spans(&|axis| {
            let ((start, len), (before, behind)) = (core.span(axis), halo(axis));
            (start - before, before + len + behind)
        });
        let output = spans(&|axis| self.axes[axis].part(place[axis], self.axes[axis].scale));
        let crop = spans(&|axis| {
            // All frames are kept, and cells of rows and columns are all alike.
            let before = halo(axis).0 * self.axes[axis].scale.factor;
            (before, output.size().along(axis))
        });
        let rank = slot(Axis::Height) * self.cols() + slot(Axis::Width);
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
        Patches { owner: *self, next: 0 }
    }

    pub(crate) const fn axes(&self) -> Axes<Cores> {
        self.axes
    }
}

/// The halo before and behind a core, inside the latents.
fn clip(halo: u32, extent: u32, (start, len): (u32, u32)) -> (u32, u32) {
    (halo.min(start), halo.min(extent - start - len))
}

/// The largest divisor of `ranks` that is at most its square root.
fn most_square_rows(ranks: u32) -> u32 {
    (1..=ranks.isqrt()).rev().find(|&rows| ranks.is_multiple_of(rows)).unwrap_or(1)
}

/// The patches of a [`PatchGrid`].
#[derive(Clone, Debug)]
pub struct Patches {
    owner: PatchGrid,
    next: u64,
}

iterate_by_index!(Patches: Patch, patch of len);
