//! Tile grids: overlapping windows that are decoded (or encoded) alone and blended.

use core::iter::FusedIterator;

use crate::{Axis, Direction, PlanError, Region, Size, TileAxis, Tiling};

/// The tiles of one input, as diffusers cuts them: from every multiple of the stride inside the
/// input, clipped at its end. The last tile of an axis may lie inside its predecessor; it is
/// decoded and blended all the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TileGrid {
    direction: Direction,
    height: TileAxis,
    width: TileAxis,
}

/// One tile.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Tile {
    /// Its place in row-major order.
    pub index: u64,
    /// Its row in the grid.
    pub row: u32,
    /// Its column in the grid.
    pub col: u32,
    /// The window of the input, in latent cells to decode, in pixels to encode.
    pub input: Region,
    /// Where the whole tile, uncropped, lies in the output, in output units.
    pub output: Region,
}

#[expect(clippy::len_without_is_empty, reason = "a grid has at least one tile")]
impl TileGrid {
    /// The grid of `input` (latent cells to decode, pixels to encode), whether or not diffusers
    /// would tile it: see [`triggers`](Self::triggers).
    ///
    /// # Errors
    /// [`PlanError`] where a size is 0, an overlap is not in `0..1`, the output leaves `u32`, or
    /// diffusers would return an image of the wrong size.
    pub fn new(direction: Direction, input: Size, tiling: &Tiling) -> Result<Self, PlanError> {
        let axis = |axis, extent, axis_tiling| {
            TileAxis::new(axis, direction, extent, axis_tiling, tiling.scale)
        };
        Ok(Self {
            direction,
            height: axis(Axis::Height, input.height, &tiling.height)?,
            width: axis(Axis::Width, input.width, &tiling.width)?,
        })
    }

    /// Which way through the VAE.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The axis of the rows.
    pub const fn height(&self) -> &TileAxis {
        &self.height
    }

    /// The axis of the columns.
    pub const fn width(&self) -> &TileAxis {
        &self.width
    }

    /// The input that is tiled.
    pub const fn input(&self) -> Size {
        Size::new(self.height.extent(), self.width.extent())
    }

    /// The stitched output.
    pub const fn output(&self) -> Size {
        Size::new(self.height.output_extent(), self.width.output_extent())
    }

    /// Whether diffusers would tile this input: it exceeds the tile, strictly, on either axis.
    pub const fn triggers(&self) -> bool {
        self.height.extent() > self.height.tile() || self.width.extent() > self.width.tile()
    }

    /// Rows of tiles.
    pub const fn rows(&self) -> u32 {
        self.height.count()
    }

    /// Columns of tiles.
    pub const fn cols(&self) -> u32 {
        self.width.count()
    }

    /// How many tiles there are.
    pub const fn len(&self) -> u64 {
        self.rows() as u64 * self.cols() as u64
    }

    /// Tile `index` in row-major order.
    pub fn tile(&self, index: u64) -> Option<Tile> {
        if index >= self.len() {
            return None;
        }
        // Row and column are below `rows` and `cols`, which are u32.
        let cols = u64::from(self.cols());
        let (row, col) = ((index / cols) as u32, (index % cols) as u32);
        let (height, width) = (&self.height, &self.width);
        Some(Tile {
            index,
            row,
            col,
            input: Region::new(
                height.start(row),
                width.start(col),
                height.len(row),
                width.len(col),
            ),
            output: Region::new(
                height.output_start(row),
                width.output_start(col),
                height.output_len(row),
                width.output_len(col),
            ),
        })
    }

    /// All tiles in row-major order, lazily.
    pub const fn tiles(&self) -> Tiles {
        Tiles { grid: *self, next: 0 }
    }
}

/// The tiles of a [`TileGrid`].
#[derive(Clone, Debug)]
pub struct Tiles {
    grid: TileGrid,
    next: u64,
}

impl Iterator for Tiles {
    type Item = Tile;

    fn next(&mut self) -> Option<Tile> {
        let tile = self.grid.tile(self.next)?;
        self.next += 1;
        Some(tile)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        crate::plan::size_hint(self.grid.len() - self.next)
    }
}

impl FusedIterator for Tiles {}
