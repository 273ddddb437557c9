//! Shard grids: one decode cut over ranks, each feature map along time, height and width.
//!
//! A feature map of the decoder (a layer) lies on the latents as its [`Scale`] says, and a shard
//! owns what lies on its band of latent frames, rows and columns, in every layer. Nothing is padded
//! and no band overlaps another. A conv reads beyond its shard's part as far as its geometry says;
//! those cells come from the direct neighbours, corners included.
//!
//! Of a layer with the first frame alone the first shard owns fewer frames than others of its
//! length, or none. A halo in time ends at the video's first frame: what lies before it is padding.

mod fit;
mod transfer;

pub use transfer::{Transfer, Transfers};

use crate::error::nonzero;
use crate::span::Cores;
use crate::{Axes, Axis, Margins, PlanError, Region, Scale, Size};

/// Most shards of a grid; keeps the search for its factors short.
pub const MAX_SHARDS: u32 = 1 << 20;

/// One layer that is exchanged before a conv reads it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LayerHalo {
    /// How it lies on the latents.
    pub scale: Scale,
    /// What the conv reads beyond a part.
    pub reach: Margins,
    /// Bytes of a cell: channels times bytes per value.
    pub bytes_per_cell: u64,
}

/// The shards of one decode: `slices` bands of latent frames, `rows` of latent rows, `cols` of
/// latent columns, whose sizes differ by at most one cell. Shard `(slice * rows + row) * cols + col`
/// has band `row` of the rows, `row * h / rows .. (row + 1) * h / rows`, and likewise of the frames
/// and the columns.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ShardGrid {
    axes: Axes<Cores>,
    scale: Scale,
}

/// One shard.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shard {
    /// Its place among the shards, in the order of time, rows and columns.
    pub index: u32,
    /// Its place in time in the grid.
    pub slice: u32,
    /// Its row of the grid.
    pub row: u32,
    /// Its column of the grid.
    pub col: u32,
    /// What it owns of the latents, in cells.
    pub core: Region,
}

#[expect(clippy::len_without_is_empty, reason = "a grid has at least one shard")]
impl ShardGrid {
    /// A grid of `rows` x `cols` shards over `latents`, each with all frames, with an output of
    /// this scale.
    ///
    /// # Errors
    /// Those of [`ShardGrid::of`].
    pub fn new(
        latents: Size,
        rows: u32,
        cols: u32,
        scale: impl Into<Scale>,
    ) -> Result<Self, PlanError> {
        Self::of(latents, Axes::new(1, rows, cols), scale)
    }

    /// A grid of so many shards along each axis over `latents`, with an output of this scale.
    ///
    /// # Errors
    /// [`PlanError::Zero`], [`PlanError::FirstFrameMissing`], [`PlanError::TooManyBands`] where
    /// there are more bands than cells, [`PlanError::OutputTooLarge`], and
    /// [`PlanError::TooManyShards`] beyond [`MAX_SHARDS`].
    pub fn of(
        latents: Size,
        shards: Axes<u32>,
        scale: impl Into<Scale>,
    ) -> Result<Self, PlanError> {
        let scale = scale.into();
        scale.output(latents)?;
        check_shards(shards)?;
        for axis in Axis::ALL {
            let (bands, extent) = (shards[axis], latents.along(axis));
            if bands > extent {
                return Err(PlanError::TooManyBands { axis, bands, extent });
            }
        }
        let Axes { time: slices, height: rows, width: cols } = shards;
        if shards_of(shards) > u128::from(MAX_SHARDS) {
            return Err(PlanError::TooManyShards { slices, rows, cols, max: MAX_SHARDS });
        }
        Ok(Self { axes: Axes::<Cores>::of(latents, shards, scale), scale })
    }

    /// Shards along each axis.
    pub const fn shards(&self) -> Axes<u32> {
        Axes::new(self.slices(), self.rows(), self.cols())
    }

    /// Bands of frames.
    pub const fn slices(&self) -> u32 {
        self.axes.time.slots
    }

    /// Bands of rows.
    pub const fn rows(&self) -> u32 {
        self.axes.height.slots
    }

    /// Bands of columns.
    pub const fn cols(&self) -> u32 {
        self.axes.width.slots
    }

    /// How many shards there are.
    pub const fn len(&self) -> u32 {
        // At most MAX_SHARDS.
        self.slices() * self.rows() * self.cols()
    }

    /// The latents, in cells.
    pub const fn latents(&self) -> Size {
        self.axes.latents()
    }

    /// The output, in pixels.
    pub const fn output(&self) -> Size {
        self.axes.output()
    }

    /// How the output lies on the latents.
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// The places of shard `index` along the axes.
    fn place(&self, index: u32) -> Option<Axes<u32>> {
        crate::grid::place(index.into(), self.shards())
    }

    /// The shard at these places.
    const fn index(&self, place: Axes<u32>) -> u32 {
        (place.time * self.rows() + place.height) * self.cols() + place.width
    }

    /// Shard `index` in the order of time, rows and columns.
    pub fn shard(&self, index: u32) -> Option<Shard> {
        let place = self.place(index)?;
        let Axes { time: slice, height: row, width: col } = place;
        Some(Shard { index, slice, row, col, core: self.part(index, Scale::ONE) })
    }

    /// What a shard owns of a layer, in that layer's cells; empty for a shard that does not exist.
    /// Exact for layers up to the output's scale; beyond it, coordinates stop at `u32::MAX`.
    pub fn part(&self, index: u32, scale: impl Into<Scale>) -> Region {
        let scale = scale.into();
        let Some(place) = self.place(index) else { return Region::default() };
        let along = |axis| self.axes[axis].part(place[axis], scale.along(axis));
        Region::from_spans(Axes::from_fn(along))
    }

    /// What there is of `reach` around a shard's part of a layer: 0 on the sides where the video
    /// ends, in the past no more frames than there are before the part, and no frames around a part
    /// without frames, of which nothing is computed. None for a shard that does not exist.
    pub fn margins(&self, index: u32, scale: impl Into<Scale>, reach: Margins) -> Margins {
        let Some(place) = self.place(index) else { return Margins::NONE };
        let part = self.part(index, scale);
        Margins::from_axes(Axes::from_fn(|axis| {
            let [before, behind] = reach.along(axis);
            let before = if place[axis] > 0 { before } else { 0 };
            let behind = if place[axis] + 1 < self.axes[axis].slots { behind } else { 0 };
            match axis {
                Axis::Time if part.frames == 0 => [0, 0],
                Axis::Time => [before.min(part.first), behind],
                Axis::Height | Axis::Width => [before, behind],
            }
        }))
    }

    /// Bytes that all shards receive for these layers; stops at `u64::MAX`. Constant time a layer.
    /// Cells of a layer beyond `u32` count, although no [`part`](Self::part) has them.
    pub fn halo_bytes(&self, layers: &[LayerHalo]) -> u64 {
        let bytes_of = |layer: &LayerHalo| {
            let lengths = Axes::from_fn(|axis| {
                let (cores, scale) = (self.axes[axis], layer.scale.along(axis));
                let own = scale.cells(cores.extent);
                (u128::from(own), u128::from(cores.fetched(scale, layer.reach.along(axis))))
            });
            // What all shards hold of a layer is a product of what all bands of each axis hold, the
            // fetched cells with their own, and so are corners. Without what all of them own:
            let Axes { time: (frames, more), height, width } = lengths;
            let held = (height.0 + height.1).saturating_mul(width.0 + width.1);
            let in_frames =
                height.1.saturating_mul(width.0 + width.1).saturating_add(height.0 * width.1);
            let cells = more.saturating_mul(held).saturating_add(frames.saturating_mul(in_frames));
            cells.saturating_mul(u128::from(layer.bytes_per_cell))
        };
        let bytes = layers.iter().map(bytes_of).fold(0, u128::saturating_add);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Latent cells of the largest shard.
    fn largest(&self) -> u128 {
        let longest = |axis| {
            let Cores { extent, slots, .. } = self.axes[axis];
            u128::from(extent.div_ceil(slots))
        };
        Axis::ALL.into_iter().map(longest).product()
    }

    /// The largest shard over the mean.
    pub fn imbalance(&self) -> f64 {
        self.largest() as f64 * f64::from(self.len()) / self.latents().volume() as f64
    }

    pub(crate) const fn axes(&self) -> Axes<Cores> {
        self.axes
    }
}

/// Shards along all axes together.
fn shards_of(shards: Axes<u32>) -> u128 {
    Axis::ALL.into_iter().map(|axis| u128::from(shards[axis])).product()
}

fn check_shards(shards: Axes<u32>) -> Result<(), PlanError> {
    nonzero("shard slices", shards.time)?;
    nonzero("shard rows", shards.height)?;
    nonzero("shard columns", shards.width)
}

impl Cores {
    /// Cells of a layer that all bands together fetch from the bands beside them. None of the bands
    /// is empty of latents.
    fn fetched(self, scale: crate::TimeScale, [before, behind]: [u32; 2]) -> u64 {
        let Some(others) = self.slots.checked_sub(2) else { return 0 };
        let (shorter, longer) = (self.extent / self.slots, self.extent % self.slots);
        // The first band never is among the longer ones. The last one is if there are any.
        let first = scale.cells(shorter);
        let lent = |latents: u32, reach: u32| {
            (u64::from(latents) * u64::from(scale.factor)).min(reach.into())
        };
        let total = |bands: u32, longer: u32, reach: u32| {
            u64::from(bands - longer) * lent(shorter, reach)
                + u64::from(longer) * lent(shorter + 1, reach)
        };
        // All but the last lend to the next one, and all but the first to the previous one, unless
        // that is a first one without cells.
        let forward = match scale.factor {
            // A lone first frame is all there is, and the other bands compute nothing that reads it.
            0 => 0,
            _ => first.min(before.into()) + total(others, longer.saturating_sub(1), before),
        };
        let back = total(others + 1, longer, behind);
        let (start, end) = self.range(1);
        forward + back - if first == 0 { lent(end - start, behind) } else { 0 }
    }
}
