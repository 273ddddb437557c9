//! Why there is no plan.

mod words;

use crate::Axis;

/// Why a plan or an assignment is impossible: what was wrong, what was expected, what to do.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// A size or a count is 0.
    Zero {
        /// Which one.
        name: &'static str,
    },
    /// The product of the parallel sizes leaves `u32`.
    GroupSizeOverflow {
        /// The factor with which it does.
        name: &'static str,
        /// That factor.
        value: u32,
        /// The product of the factors before it.
        product: u32,
    },
    /// More patches than a plan may have.
    TooManyRanks {
        /// The ranks asked for.
        ranks: u32,
        /// The most there may be.
        max: u32,
    },
    /// A grid of shards has more bands along an axis than there are latent cells.
    TooManyBands {
        /// The axis.
        axis: Axis,
        /// The bands asked for.
        bands: u32,
        /// Latent cells along it.
        extent: u32,
    },
    /// A grid has more shards than one may have.
    TooManyShards {
        /// Bands of frames.
        slices: u32,
        /// Bands of rows.
        rows: u32,
        /// Bands of columns.
        cols: u32,
        /// The most shards there may be.
        max: u32,
    },
    /// A conv's outputs are not in proportion to its inputs, so that it cannot be cut.
    NotProportional {
        /// Its taps.
        kernel: u32,
        /// Its stride.
        stride: u32,
        /// Its padding, before and behind together.
        padding: u64,
    },
    /// The output of an axis leaves `u32`.
    OutputTooLarge {
        /// The axis.
        axis: Axis,
        /// Latent cells along it.
        extent: u32,
        /// Output pixels per latent cell; of frames, for each latent frame but a lone first one.
        scale: u32,
    },
    /// An output whose first frame is missing: [`TimeLaw::AfterFirst`](crate::TimeLaw::AfterFirst)
    /// is a law of inner layers alone.
    FirstFrameMissing {
        /// Its frames per latent frame.
        factor: u32,
    },
    /// An image or a video to encode is not a whole number of latent cells.
    ExtentNotMultiple {
        /// The axis.
        axis: Axis,
        /// Pixels along it.
        extent: u32,
        /// Pixels per latent cell.
        scale: u32,
    },
    /// A video to encode is not one frame and a whole number of latent frames.
    FramesNotWhole {
        /// Its frames.
        frames: u32,
        /// Frames per latent frame, but for the first.
        factor: u32,
    },
    /// Frames are tiled, but the first one is not alone: diffusers would return a video with the
    /// wrong number of frames.
    TimeTilesOfEvenFrames {
        /// Frames per latent frame, the first one included.
        factor: u32,
    },
    /// A grid has more tiles than `u64` counts.
    TooManyTiles {
        /// Tiles along time.
        slices: u32,
        /// Rows of tiles.
        rows: u32,
        /// Columns of tiles.
        cols: u32,
    },
    /// Not even chunks of one frame need so little memory.
    ChunkTooLarge {
        /// Bytes for chunks of one frame, the least there are.
        needed: u64,
        /// Bytes that may be used.
        limit: u64,
    },
    /// An overlap factor is not in `0..1`.
    OverlapFactorOutOfRange {
        /// The axis.
        axis: Axis,
        /// The factor.
        tile_overlap_factor: f64,
    },
    /// The tile in pixels is not the tile in latent cells times the scale: diffusers would crop
    /// and blend at the wrong rows.
    TileSizesDisagree {
        /// The axis.
        axis: Axis,
        /// The tile in pixels.
        tile_sample_min_size: u32,
        /// The tile in latent cells.
        tile_latent_min_size: u32,
        /// Pixels per latent cell.
        scale: u32,
    },
    /// The overlap is not a whole number of latent cells: diffusers would return an image of the
    /// wrong size, or shift tiles against each other.
    OverlapNotWhole {
        /// The axis.
        axis: Axis,
        /// The tile in latent cells.
        tile_latent_min_size: u32,
        /// The factor.
        tile_overlap_factor: f64,
        /// A factor that works with this tile.
        works: f64,
    },
    /// The overlap factor leaves no step between tiles, or one so short that too many tiles lie
    /// over one pixel.
    OverlapTooDeep {
        /// The axis.
        axis: Axis,
        /// The tile in latent cells.
        tile_latent_min_size: u32,
        /// The factor.
        tile_overlap_factor: f64,
        /// Most tiles that may lie over one pixel along an axis.
        max: u32,
        /// A factor that works with this tile.
        works: f64,
    },
    /// A stored tile or stride is not a multiple of the scale: diffusers' grid and its crop would
    /// disagree.
    NotMultipleOfScale {
        /// The axis.
        axis: Axis,
        /// Its attribute's name.
        name: &'static str,
        /// Its value in pixels.
        value: u32,
        /// Pixels per latent cell.
        scale: u32,
        /// A multiple near it.
        works: u32,
    },
    /// Blocks of pixels that are blended with one weight do not fill latent cells.
    GrainNotDivisor {
        /// Rows and columns of a block.
        grain: u32,
        /// Pixels per latent cell.
        scale: u32,
    },
    /// The stride exceeds the tile, which would leave gaps.
    StrideTooLarge {
        /// The axis.
        axis: Axis,
        /// The stride in pixels.
        tile_sample_stride: u32,
        /// The tile in pixels.
        tile_sample_min_size: u32,
    },
    /// The stride is so short that too many tiles lie over one pixel.
    StrideTooSmall {
        /// The axis.
        axis: Axis,
        /// The stride in pixels.
        tile_sample_stride: u32,
        /// The tile in pixels.
        tile_sample_min_size: u32,
        /// Most tiles that may lie over one pixel along an axis.
        max: u32,
        /// The shortest stride that works with this tile.
        works: u32,
    },
    /// A caller's slice has the wrong length.
    LengthMismatch {
        /// The slice.
        name: &'static str,
        /// Its length.
        len: u64,
        /// The length it must have.
        expected: u64,
    },
    /// More pieces or ranks than `u32` counts in one assignment.
    TooMany {
        /// The slice.
        name: &'static str,
        /// Its length.
        len: u64,
    },
    /// An assignment names a rank that does not exist.
    OwnerOutOfRange {
        /// The piece.
        piece: u64,
        /// Its owner.
        owner: u32,
        /// The ranks there are.
        ranks: u64,
    },
}

impl core::error::Error for PlanError {}

/// Refuses a size or a count of 0.
pub(crate) fn nonzero(name: &'static str, value: u32) -> Result<(), PlanError> {
    if value == 0 { Err(PlanError::Zero { name }) } else { Ok(()) }
}
