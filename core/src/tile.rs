//! Tile grids: overlapping windows that are decoded (or encoded) alone and blended.

use crate::axis::check_extent;
use crate::grid::iterate_by_index;
use crate::{Axes, Axis, Direction, PlanError, Region, Size, TileAxis, Tiling};

/// The tiles of one input, as diffusers cuts them: from every multiple of the stride inside the
/// input, clipped at its end. The last tile of an axis may lie inside its predecessor; it is
/// decoded and blended all the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TileGrid {
    direction: Direction,
    axes: Axes<TileAxis>,
}

/// One tile.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tile {
    /// Its place in the order of time, rows and columns.
    pub index: u64,
    /// Its place in time in the grid.
    pub slice: u32,
    /// Its row in the grid.
    pub row: u32,
    /// Its column in the grid.
    pub col: u32,
    /// The window of the input, in latent cells to decode, in pixels to encode.
    pub input: Region,
    /// The part of the computed window that is not dropped, in its own output units.
    pub keep: Region,
    /// Where that part, uncropped, lies in the output, in output units.
    pub output: Region,
}

#[expect(clippy::len_without_is_empty, reason = "a grid has at least one tile")]
impl TileGrid {
    /// The grid of `input` (latent cells to decode, pixels to encode), whether or not diffusers
    /// would tile it: see [`triggers`](Self::triggers).
    ///
    /// Where frames are tiled, diffusers looks at them and at frames' sides apart: an input with no
    /// more frames than a tile is not cut in time, and one whose frames are no larger than a tile is
    /// cut in time alone.
    ///
    /// # Errors
    /// [`PlanError`] where a size is 0, an overlap is not in `0..1`, the output leaves `u32`,
    /// diffusers would return an output of the wrong size or mix frames up, or there are more tiles
    /// than `u64` counts.
    pub fn new(direction: Direction, input: Size, tiling: &Tiling) -> Result<Self, PlanError> {
        let triggers = |axis| tiling.triggers_along(axis, direction, input);
        let in_time = triggers(Axis::Time);
        let in_space = triggers(Axis::Height) || triggers(Axis::Width);
        let axis = |axis| {
            check_extent(axis, direction, input.along(axis))?;
            let cells = tiling.cells(axis, direction)?;
            let cut = match axis {
                Axis::Time => in_time,
                Axis::Height | Axis::Width => in_space || !in_time,
            };
            let cells = cells.filter(|_| cut);
            let scale = tiling.scale.along(axis);
            let grain = tiling.grain(axis, direction)?;
            TileAxis::new(axis, direction, input.along(axis), scale, cells)
                .map(|tiles| tiles.with_grain(grain))
        };
        let (height, width) = (axis(Axis::Height)?, axis(Axis::Width)?);
        tiling.scale.check()?;
        let axes = Axes { time: axis(Axis::Time)?, height, width };
        let [slices, rows, cols] = Axis::ALL.map(|axis| axes[axis].count());
        let frame = u64::from(rows) * u64::from(cols);
        match frame.checked_mul(slices.into()) {
            Some(_) => Ok(Self { direction, axes }),
            None => Err(PlanError::TooManyTiles { slices, rows, cols }),
        }
    }

    /// Which way through the VAE.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The axes.
    pub const fn axes(&self) -> &Axes<TileAxis> {
        &self.axes
    }

    /// The axis of the frames.
    pub const fn time(&self) -> &TileAxis {
        &self.axes.time
    }

    /// The axis of the rows.
    pub const fn height(&self) -> &TileAxis {
        &self.axes.height
    }

    /// The axis of the columns.
    pub const fn width(&self) -> &TileAxis {
        &self.axes.width
    }

    /// The input that is tiled.
    pub const fn input(&self) -> Size {
        let Axes { time, height, width } = &self.axes;
        Size::video(time.extent(), height.extent(), width.extent())
    }

    /// The stitched output.
    pub const fn output(&self) -> Size {
        let Axes { time, height, width } = &self.axes;
        Size::video(time.output_extent(), height.output_extent(), width.output_extent())
    }

    /// Whether diffusers would tile this input: it exceeds the tile, strictly, on any axis.
    pub const fn triggers(&self) -> bool {
        let Axes { time, height, width } = &self.axes;
        time.triggers() || height.triggers() || width.triggers()
    }

    /// Tiles along time.
    pub const fn slices(&self) -> u32 {
        self.axes.time.count()
    }

    /// Rows of tiles.
    pub const fn rows(&self) -> u32 {
        self.axes.height.count()
    }

    /// Columns of tiles.
    pub const fn cols(&self) -> u32 {
        self.axes.width.count()
    }

    /// How many tiles there are.
    pub const fn len(&self) -> u64 {
        // Checked when the grid was made.
        self.slices() as u64 * (self.rows() as u64 * self.cols() as u64)
    }

    /// The places of tile `index` along the axes.
    pub(crate) fn place(&self, index: u64) -> Option<Axes<u32>> {
        crate::grid::place(index, self.axes.map(|axis| axis.count()))
    }

    /// Tile `index` in the order of time, rows and columns.
    pub fn tile(&self, index: u64) -> Option<Tile> {
        let place = self.place(index)?;
        let spans = Axes::from_fn(|axis| self.axes[axis].spans(place[axis]));
        Some(Tile {
            index,
            slice: place.time,
            row: place.height,
            col: place.width,
            input: Region::from_spans(spans.map(|spans| spans.input)),
            keep: Region::from_spans(spans.map(|spans| spans.keep)),
            output: Region::from_spans(spans.map(|spans| spans.output)),
        })
    }

    /// All tiles in order, lazily.
    pub const fn tiles(&self) -> Tiles {
        Tiles { owner: *self, next: 0 }
    }
}

/// The tiles of a [`TileGrid`].
#[derive(Clone, Debug)]
pub struct Tiles {
    owner: TileGrid,
    next: u64,
}

iterate_by_index!(Tiles: Tile, tile of len);
