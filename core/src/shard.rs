//! Shard grids: one decode cut over ranks, each feature map along height and width.
//!
//! A feature map of the decoder (a layer) has `scale` cells per latent cell along each axis, and a
//! shard owns its band of latent rows and columns, times that scale, in every layer. Nothing is
//! padded and no band overlaps another. A conv reads beyond its shard's part as far as its geometry
//! says; those cells come from the direct neighbours, corners included.

mod transfer;

pub use transfer::{Transfer, Transfers};

use crate::axis::scaled;
use crate::span::Cores;
use crate::tiling::nonzero;
use crate::{Axis, Margins, Notice, PlanError, Region, Size};

/// Most shards of a grid; keeps the search for its factors short.
pub const MAX_SHARDS: u32 = 1 << 20;

/// One layer that is exchanged before a conv reads it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LayerHalo {
    /// Its cells per latent cell along each axis.
    pub scale: u32,
    /// What the conv reads beyond a part.
    pub reach: Margins,
    /// Bytes of a cell: channels times bytes per value.
    pub bytes_per_cell: u64,
}

/// The shards of one decode: `rows` bands of latent rows, `cols` bands of latent columns, whose
/// sizes differ by at most one cell. Shard `row * cols + col` has band `row` of the rows,
/// `row * h / rows .. (row + 1) * h / rows`, and likewise of the columns.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ShardGrid {
    rows: Cores,
    cols: Cores,
}

/// One shard.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Shard {
    /// Its place among the shards, in row-major order.
    pub index: u32,
    /// Its row of the grid.
    pub row: u32,
    /// Its column of the grid.
    pub col: u32,
    /// What it owns of the latents, in cells.
    pub core: Region,
}

#[expect(clippy::len_without_is_empty, reason = "a grid has at least one shard")]
impl ShardGrid {
    /// A grid of `rows` x `cols` shards over `latents`, with `scale` pixels per latent cell.
    ///
    /// # Errors
    /// [`PlanError::Zero`], [`PlanError::TooManyBands`] where there are more bands than cells,
    /// [`PlanError::OutputTooLarge`], and [`PlanError::TooManyShards`] beyond [`MAX_SHARDS`].
    pub fn new(latents: Size, rows: u32, cols: u32, scale: u32) -> Result<Self, PlanError> {
        nonzero("latent height", latents.height)?;
        nonzero("latent width", latents.width)?;
        nonzero("shard rows", rows)?;
        nonzero("shard columns", cols)?;
        nonzero("scale", scale)?;
        scaled(Axis::Height, latents.height, scale)?;
        scaled(Axis::Width, latents.width, scale)?;
        let bands = |axis, bands: u32, extent: u32| match bands <= extent {
            true => Ok(()),
            false => Err(PlanError::TooManyBands { axis, bands, extent }),
        };
        bands(Axis::Height, rows, latents.height)?;
        bands(Axis::Width, cols, latents.width)?;
        if u64::from(rows) * u64::from(cols) > u64::from(MAX_SHARDS) {
            return Err(PlanError::TooManyShards { rows, cols, max: MAX_SHARDS });
        }
        Ok(Self {
            rows: Cores { extent: latents.height, slots: rows, scale },
            cols: Cores { extent: latents.width, slots: cols, scale },
        })
    }

    /// A grid of `rows` x `cols` shards, made coarser along each axis for itself until no band is
    /// thinner than a halo that is fetched from it; then with a notice.
    ///
    /// # Errors
    /// Those of [`ShardGrid::new`], but for bands, which are made fewer. The notice's `requested`
    /// stops at `u32::MAX`.
    pub fn fit(
        latents: Size,
        rows: u32,
        cols: u32,
        scale: u32,
        layers: &[LayerHalo],
    ) -> Result<(Self, Option<Notice>), PlanError> {
        nonzero("shard rows", rows)?;
        nonzero("shard columns", cols)?;
        Self::new(latents, 1, 1, scale)?;
        let fitting_rows = rows.min(most_bands(Axis::Height, latents.height, layers));
        let fitting_cols = cols.min(most_bands(Axis::Width, latents.width, layers));
        let grid = Self::new(latents, fitting_rows, fitting_cols, scale)?;
        let coarser = (fitting_rows, fitting_cols) != (rows, cols);
        let requested = rows.saturating_mul(cols);
        Ok((grid, coarser.then(|| grid.coarsened(requested))))
    }

    /// Of all grids of `shards` shards that fit, the one with the least exchanged bytes, of those
    /// the one whose largest shard is smallest, of those the one with the fewest columns. If none
    /// fits, the same for the largest number of shards below for which one does, with a notice;
    /// a single shard always fits.
    ///
    /// # Errors
    /// [`PlanError::Zero`], and those of [`ShardGrid::new`] for a single shard.
    pub fn choose(
        latents: Size,
        shards: u32,
        scale: u32,
        layers: &[LayerHalo],
    ) -> Result<(Self, Option<Notice>), PlanError> {
        nonzero("shards", shards)?;
        let single = Self::new(latents, 1, 1, scale)?;
        let most_rows = most_bands(Axis::Height, latents.height, layers);
        let most_cols = most_bands(Axis::Width, latents.width, layers);
        let most = u32::try_from(u64::from(most_rows) * u64::from(most_cols)).unwrap_or(u32::MAX);
        let best = |count: u32| {
            divisors(count)
                .filter(|&rows| rows <= most_rows && count / rows <= most_cols)
                .filter_map(|rows| Self::new(latents, rows, count / rows, scale).ok())
                .min_by_key(|grid| (grid.halo_bytes(layers), grid.largest(), grid.cols()))
        };
        let grid = (1..=shards.min(most).min(MAX_SHARDS)).rev().find_map(best).unwrap_or(single);
        Ok((grid, (grid.len() != shards).then(|| grid.coarsened(shards))))
    }

    fn coarsened(&self, requested: u32) -> Notice {
        Notice::ShardsCoarsened { requested, rows: self.rows(), cols: self.cols() }
    }

    /// Bands of rows.
    pub const fn rows(&self) -> u32 {
        self.rows.slots
    }

    /// Bands of columns.
    pub const fn cols(&self) -> u32 {
        self.cols.slots
    }

    /// How many shards there are.
    pub const fn len(&self) -> u32 {
        // At most MAX_SHARDS.
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

    /// Pixels per latent cell.
    pub const fn scale(&self) -> u32 {
        self.rows.scale
    }

    /// Shard `index` in row-major order.
    pub fn shard(&self, index: u32) -> Option<Shard> {
        if index >= self.len() {
            return None;
        }
        let (row, col) = (index / self.cols(), index % self.cols());
        let ((top, bottom), (left, right)) = (self.rows.range(row), self.cols.range(col));
        let core = Region::new(top, left, bottom - top, right - left);
        Some(Shard { index, row, col, core })
    }

    /// What a shard owns of a layer, in that layer's cells; empty for a shard that does not exist.
    /// Exact for layers up to the picture's scale; beyond it, coordinates stop at `u32::MAX`.
    pub fn part(&self, index: u32, scale: u32) -> Region {
        let Some(Shard { core, .. }) = self.shard(index) else { return Region::default() };
        // Ends of the latents, which are u32. Scaled one by one, parts stay beside each other.
        let (bottom, right) = (core.bottom() as u32, core.right() as u32);
        let (top, left) = (core.top.saturating_mul(scale), core.left.saturating_mul(scale));
        Region::new(
            top,
            left,
            bottom.saturating_mul(scale) - top,
            right.saturating_mul(scale) - left,
        )
    }

    /// `reach`, with 0 on the sides where the picture ends; none for a shard that does not exist.
    pub fn margins(&self, index: u32, reach: Margins) -> Margins {
        let Some(Shard { row, col, .. }) = self.shard(index) else { return Margins::NONE };
        let inside = |inside: bool, cells: u32| if inside { cells } else { 0 };
        Margins::of_frame([
            inside(row > 0, reach.top),
            inside(row + 1 < self.rows(), reach.bottom),
            inside(col > 0, reach.left),
            inside(col + 1 < self.cols(), reach.right),
        ])
    }

    /// Whether every halo of such a layer lies within the direct neighbours: no band is thinner than
    /// what is fetched from it.
    pub fn fits(&self, scale: u32, reach: Margins) -> bool {
        let layers = [LayerHalo { scale, reach, bytes_per_cell: 0 }];
        self.rows() <= most_bands(Axis::Height, self.rows.extent, &layers)
            && self.cols() <= most_bands(Axis::Width, self.cols.extent, &layers)
    }

    /// Bytes that all shards receive for these layers; stops at `u64::MAX`. Constant time a layer.
    /// Cells of a layer beyond `u32` count, although no [`part`](Self::part) has them.
    pub fn halo_bytes(&self, layers: &[LayerHalo]) -> u64 {
        let bytes_of = |layer: &LayerHalo| {
            let Margins { top, bottom, left, right, .. } = layer.reach;
            let scale = u128::from(layer.scale);
            // Whole rows for bands of rows, whole columns for bands of columns, and corners, which
            // are the product. Lengths are below 2^64 and what is fetched along them below 2^53.
            let rows = u128::from(fetched(self.rows, layer.scale, [top, bottom]));
            let cols = u128::from(fetched(self.cols, layer.scale, [left, right]));
            let height = u128::from(self.rows.extent) * scale;
            let width = u128::from(self.cols.extent) * scale;
            let cells = rows * width + cols * height + rows * cols;
            cells.saturating_mul(u128::from(layer.bytes_per_cell))
        };
        let bytes = layers.iter().map(bytes_of).fold(0, u128::saturating_add);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Latent cells of the largest shard.
    fn largest(&self) -> u64 {
        let longest = |cores: Cores| u64::from(cores.extent.div_ceil(cores.slots));
        longest(self.rows) * longest(self.cols)
    }

    /// The largest shard over the mean.
    pub fn imbalance(&self) -> f64 {
        self.largest() as f64 * f64::from(self.len()) / self.latents().area() as f64
    }

    pub(crate) const fn axes(&self) -> (Cores, Cores) {
        (self.rows, self.cols)
    }
}

/// Into how many bands an axis can be cut without any of them being empty, or thinner than a halo
/// that is fetched from it; an axis that is not cut has no halo.
fn most_bands(axis: Axis, extent: u32, layers: &[LayerHalo]) -> u32 {
    // Of `n` bands all but the last lend cells to the next, and the thinnest of them is the first,
    // with floor(extent / n) latent cells. All but the first lend cells to the previous one, and
    // the thinnest of these has floor((extent + 1) / n). Both decrease with `n`.
    let most = |cells: u64, reach: u32, scale: u32| match (reach, scale) {
        (0, _) => cells,
        // A layer without cells has no room for any halo.
        (_, 0) => 1,
        _ => cells / u64::from(reach.div_ceil(scale)),
    };
    let cells = u64::from(extent);
    let fitting = layers.iter().map(|layer| {
        let [before, behind] = layer.reach.along(axis);
        most(cells, before, layer.scale).min(most(cells + 1, behind, layer.scale))
    });
    // No more than `extent`, which is u32.
    fitting.fold(cells, u64::min).max(1) as u32
}

/// Cells of a layer of `scale` cells per latent cell that all bands of an axis together fetch from
/// the bands beside them.
fn fetched(axis: Cores, scale: u32, [before, behind]: [u32; 2]) -> u64 {
    let (cells, longer) = (axis.extent / axis.slots, axis.extent % axis.slots);
    let lent = |cells: u32, reach: u32| (u64::from(cells) * u64::from(scale)).min(reach.into());
    // All bands but one lend, `longer` of them one cell more than the others can.
    let total = |longer: u32, reach: u32| {
        let others = u64::from(axis.slots - 1 - longer) * lent(cells, reach);
        if longer == 0 { others } else { others + u64::from(longer) * lent(cells + 1, reach) }
    };
    // The last band, which lends nothing to a next one, is among the longer if there are any; the
    // first, which lends nothing to a previous one, never is.
    total(longer.saturating_sub(1), before) + total(longer, behind)
}

/// The divisors of `number`, which is at least 1, in no particular order.
fn divisors(number: u32) -> impl Iterator<Item = u32> {
    (1..=number.isqrt()).filter(move |&small| number.is_multiple_of(small)).flat_map(move |small| {
        let large = number / small;
        core::iter::once(small).chain((large != small).then_some(large))
    })
}
