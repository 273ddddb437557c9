//! A plan: the pieces of one decode, whatever the strategy.

use crate::blend::{Bands, Layout};
use crate::grid::iterate_by_index;
use crate::span::SpanAxis;
use crate::{Axes, Direction, PatchGrid, PlanError, Region, Scale, ShardGrid, Size, TileGrid};

/// How a decode is cut.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Strategy {
    /// One rank, one piece.
    Whole,
    /// Overlapping tiles, each decoded alone, blended.
    Tiled,
    /// One patch a rank with a halo, cropped.
    Patch,
    /// One decode cut over ranks, which exchange halos at every conv.
    Sharded,
}

impl core::fmt::Display for Strategy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Whole => "whole",
            Self::Tiled => "tiled",
            Self::Patch => "patch",
            Self::Sharded => "sharded",
        })
    }
}

/// All latents in one piece.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Whole {
    latents: Size,
    output: Size,
}

impl Whole {
    /// The decode of `latents` in one piece, with an output of this scale.
    ///
    /// # Errors
    /// [`PlanError::Zero`], [`PlanError::FirstFrameMissing`], and [`PlanError::OutputTooLarge`]
    /// where the output leaves `u32`.
    pub fn new(latents: Size, scale: impl Into<Scale>) -> Result<Self, PlanError> {
        Ok(Self { latents, output: scale.into().output(latents)? })
    }

    /// The latents, in cells.
    pub const fn latents(&self) -> Size {
        self.latents
    }

    /// The output, in pixels.
    pub const fn output(&self) -> Size {
        self.output
    }
}

/// What is decoded in which pieces, and how the pieces become the output.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Plan {
    /// One piece.
    Whole(Whole),
    /// Overlapping tiles.
    Tiled(TileGrid),
    /// One patch a rank.
    Patch(PatchGrid),
    /// One decode in shards.
    Sharded(ShardGrid),
}

/// One piece of a [`Plan`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Piece {
    /// Its place in the plan.
    pub index: u64,
    /// The window to decode, in latent cells; for a grid that encodes, in pixels.
    pub input: Region,
    /// The part of the decoded window that is wanted, in the window's own output units.
    pub keep: Region,
    /// Where that part lies in the output; as large as `keep`.
    pub output: Region,
}

impl Plan {
    /// The decode of `latents` in one piece, with an output of this scale.
    ///
    /// # Errors
    /// Those of [`Whole::new`].
    pub fn whole(latents: Size, scale: impl Into<Scale>) -> Result<Self, PlanError> {
        Whole::new(latents, scale).map(Self::Whole)
    }

    /// A tiled decode, or encode.
    pub const fn tiled(grid: TileGrid) -> Self {
        Self::Tiled(grid)
    }

    /// A decode of one patch a rank.
    pub const fn patch(grid: PatchGrid) -> Self {
        Self::Patch(grid)
    }

    /// A decode in shards: each piece is a shard's own part, and what it reads of its neighbours
    /// is not in its window.
    pub const fn sharded(grid: ShardGrid) -> Self {
        Self::Sharded(grid)
    }

    /// How it is cut.
    pub const fn strategy(&self) -> Strategy {
        match self {
            Self::Whole(_) => Strategy::Whole,
            Self::Tiled(_) => Strategy::Tiled,
            Self::Patch(_) => Strategy::Patch,
            Self::Sharded(_) => Strategy::Sharded,
        }
    }

    /// Which way through the VAE.
    pub const fn direction(&self) -> Direction {
        match self {
            Self::Tiled(grid) => grid.direction(),
            Self::Whole(_) | Self::Patch(_) | Self::Sharded(_) => Direction::Decode,
        }
    }

    /// The input: latent cells to decode, pixels to encode.
    pub const fn input(&self) -> Size {
        match self {
            Self::Whole(whole) => whole.latents(),
            Self::Tiled(grid) => grid.input(),
            Self::Patch(grid) => grid.latents(),
            Self::Sharded(grid) => grid.latents(),
        }
    }

    /// The output: pixels to decode, latent cells to encode.
    pub const fn output(&self) -> Size {
        match self {
            Self::Whole(whole) => whole.output(),
            Self::Tiled(grid) => grid.output(),
            Self::Patch(grid) => grid.output(),
            Self::Sharded(grid) => grid.output(),
        }
    }

    /// How many pieces there are, at least 1.
    pub fn piece_count(&self) -> u64 {
        match self {
            Self::Whole(_) => 1,
            Self::Tiled(grid) => grid.len(),
            Self::Patch(grid) => grid.len(),
            Self::Sharded(grid) => grid.len().into(),
        }
    }

    /// Piece `index`.
    pub fn piece(&self, index: u64) -> Option<Piece> {
        match self {
            Self::Whole(whole) => (index == 0).then(|| {
                let output = whole.output().at_origin();
                Piece { index, input: whole.latents().at_origin(), keep: output, output }
            }),
            Self::Tiled(grid) => grid.tile(index).map(|tile| Piece {
                index,
                input: tile.input,
                keep: tile.keep,
                output: tile.output,
            }),
            Self::Patch(grid) => grid.patch(index).map(|patch| Piece {
                index,
                input: patch.window,
                keep: patch.crop,
                output: patch.output,
            }),
            Self::Sharded(grid) => {
                let shard = grid.shard(u32::try_from(index).ok()?)?;
                let output = grid.part(shard.index, grid.scale());
                Some(Piece { index, input: shard.core, keep: output.size().at_origin(), output })
            }
        }
    }

    /// All pieces in order, lazily.
    pub const fn pieces(&self) -> Pieces {
        Pieces { owner: *self, next: 0 }
    }

    /// The bands of the output, whatever the strategy: by time and then from top to bottom, so that
    /// frames are finished in order.
    pub fn bands(&self) -> Bands {
        let axes = match self {
            Self::Whole(whole) => Axes::from_fn(|axis| {
                let extent = whole.output().along(axis);
                SpanAxis::Whole { extent }
            }),
            Self::Tiled(grid) => return grid.bands(),
            Self::Patch(grid) => grid.axes().map(SpanAxis::Cores),
            Self::Sharded(grid) => grid.axes().map(SpanAxis::Cores),
        };
        Layout(axes).bands()
    }
}

/// The pieces of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Pieces {
    owner: Plan,
    next: u64,
}

iterate_by_index!(Pieces: Piece, piece of piece_count);
