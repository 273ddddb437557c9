//! Why there is no plan.

use core::fmt;

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
        /// Output pixels per latent cell.
        scale: u32,
    },
    /// An image to encode is not a whole number of latent cells.
    ExtentNotMultiple {
        /// The axis.
        axis: Axis,
        /// Pixels along it.
        extent: u32,
        /// Pixels per latent cell.
        scale: u32,
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
        /// `tile_sample_min_size` or `tile_sample_stride`.
        name: &'static str,
        /// Its value in pixels.
        value: u32,
        /// Pixels per latent cell.
        scale: u32,
        /// A multiple near it.
        works: u32,
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

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Zero { name } => {
                write!(f, "{name} is 0, expected at least 1; set it to 1 or more")
            }
            Self::GroupSizeOverflow { name, value, product } => write!(
                f,
                "{name} = {value} takes the group beyond {} ranks ({product} before it); \
                 lower it or another parallel size",
                u32::MAX
            ),
            Self::TooManyRanks { ranks, max } => write!(
                f,
                "vae_patch_parallel_size = {ranks} exceeds {max} patches; use {max} ranks or fewer"
            ),
            Self::TooManyBands { axis, bands, extent } => write!(
                f,
                "{bands} shards along the {axis} of {extent} latent cells; use {extent} or fewer"
            ),
            Self::TooManyShards { rows, cols, max } => write!(
                f,
                "a grid of {rows} x {cols} shards exceeds {max} shards; use a coarser grid"
            ),
            Self::NotProportional { kernel, stride, padding } => write!(
                f,
                "a kernel of {kernel} at stride {stride} with padding {padding} does not keep \
                 extents in proportion, expected padding from {} to {}",
                kernel.saturating_sub(stride),
                kernel.saturating_sub(1)
            ),
            Self::OutputTooLarge { axis, extent, scale } => write!(
                f,
                "latent {axis} {extent} times scale {scale} exceeds {} pixels; \
                 decode at most {} latent cells along the {axis}",
                u32::MAX,
                u32::MAX.checked_div(scale).unwrap_or(u32::MAX)
            ),
            Self::ExtentNotMultiple { axis, extent, scale } => {
                let below = extent.checked_rem(scale).map_or(0, |rest| extent - rest);
                write!(
                    f,
                    "image {axis} {extent} is not a multiple of the scale {scale}; \
                     crop it to {below} or pad it to {}",
                    u64::from(below) + u64::from(scale)
                )
            }
            Self::OverlapFactorOutOfRange { axis, tile_overlap_factor } => write!(
                f,
                "tile_overlap_factor {tile_overlap_factor} ({axis}) is not in 0..1; \
                 use a factor of at least 0 and below 1, such as 0.25"
            ),
            Self::TileSizesDisagree { axis, tile_sample_min_size, tile_latent_min_size, scale } => {
                write!(
                    f,
                    "tile_sample_min_size {tile_sample_min_size} ({axis}) is not \
                     tile_latent_min_size {tile_latent_min_size} times scale {scale}; \
                     set tile_sample_min_size to {}",
                    u64::from(tile_latent_min_size) * u64::from(scale)
                )
            }
            Self::OverlapNotWhole { axis, tile_latent_min_size, tile_overlap_factor, works } => {
                write!(
                    f,
                    "tile_overlap_factor {tile_overlap_factor} of tile_latent_min_size \
                     {tile_latent_min_size} ({axis}) is not a whole number of latent cells; \
                     use a factor of {works} or another tile size"
                )
            }
            Self::OverlapTooDeep {
                axis,
                tile_latent_min_size: 1,
                tile_overlap_factor,
                max,
                ..
            } => {
                write!(
                    f,
                    "tile_overlap_factor {tile_overlap_factor} ({axis}) puts more than {max} tiles \
                     of one latent cell over one pixel; use a factor of 0 or a larger tile"
                )
            }
            Self::OverlapTooDeep {
                axis,
                tile_latent_min_size,
                tile_overlap_factor,
                max,
                works,
            } => write!(
                f,
                "tile_overlap_factor {tile_overlap_factor} of tile_latent_min_size \
                 {tile_latent_min_size} ({axis}) puts more than {max} tiles over one pixel; \
                 use a factor of {works} or another below it"
            ),
            Self::NotMultipleOfScale { axis, name, value, scale, works } => write!(
                f,
                "{name} {value} ({axis}) is not a multiple of the scale {scale}; set it to {works}"
            ),
            Self::StrideTooLarge { axis, tile_sample_stride, tile_sample_min_size } => write!(
                f,
                "tile_sample_stride {tile_sample_stride} ({axis}) exceeds tile_sample_min_size \
                 {tile_sample_min_size}, which leaves gaps; \
                 use a stride of at most {tile_sample_min_size}"
            ),
            Self::StrideTooSmall { axis, tile_sample_stride, tile_sample_min_size, max, works } => {
                write!(
                    f,
                    "tile_sample_stride {tile_sample_stride} ({axis}) puts more than {max} tiles of \
                 tile_sample_min_size {tile_sample_min_size} over one pixel; \
                 use a stride of at least {works}"
                )
            }
            Self::LengthMismatch { name, len, expected } => {
                write!(f, "{name} holds {len} elements, expected {expected}; pass {expected}")
            }
            Self::TooMany { name, len } => write!(
                f,
                "{name} holds {len} elements, expected at most {}; split the work",
                u32::MAX
            ),
            Self::OwnerOutOfRange { piece, owner, ranks } => write!(
                f,
                "piece {piece} is assigned to rank {owner}, expected a rank below {ranks}; \
                 assign the pieces again"
            ),
        }
    }
}

impl core::error::Error for PlanError {}
