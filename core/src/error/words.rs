//! What the errors say.

use core::fmt;

use super::PlanError;
use crate::Axis;

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
            Self::TooManyBands { axis: Axis::Time, bands, extent } => write!(
                f,
                "{bands} shards along the time of {extent} latent frames; use {extent} or fewer"
            ),
            Self::TooManyBands { axis, bands, extent } => write!(
                f,
                "{bands} shards along the {axis} of {extent} latent cells; use {extent} or fewer"
            ),
            Self::TooManyShards { slices: 1, rows, cols, max } => write!(
                f,
                "a grid of {rows} x {cols} shards exceeds {max} shards; use a coarser grid"
            ),
            Self::TooManyShards { slices, rows, cols, max } => write!(
                f,
                "a grid of {slices} x {rows} x {cols} shards exceeds {max} shards; \
                 use a coarser grid"
            ),
            Self::TooManyTiles { slices, rows, cols } => write!(
                f,
                "a grid of {slices} x {rows} x {cols} tiles exceeds {} tiles; use longer strides",
                u64::MAX
            ),
            Self::ChunkTooLarge { needed, limit } => write!(
                f,
                "chunks of one latent frame need {needed} bytes, more than the limit of {limit}; \
                 allow {needed} or more"
            ),
            Self::FirstFrameMissing { factor } => write!(
                f,
                "an output of {factor} frames for each latent frame but the first has no first \
                 frame; give the scale of an output in which that one is alone"
            ),
            Self::TimeTilesOfEvenFrames { factor } => write!(
                f,
                "frames are tiled, but {factor} lie on each latent frame, the first one included; \
                 tile rows and columns only"
            ),
            Self::FramesNotWhole { frames, factor } => {
                let below = frames.saturating_sub(1).checked_rem(factor).unwrap_or(0);
                let below = frames - below.min(frames);
                write!(
                    f,
                    "{frames} frames are not one frame and a multiple of {factor}; \
                     cut them to {below} or pad them to {}",
                    u64::from(below) + u64::from(factor)
                )
            }
            Self::NotProportional { kernel, stride, padding } => write!(
                f,
                "a kernel of {kernel} at stride {stride} with padding {padding} does not keep \
                 extents in proportion, expected padding from {} to {}",
                kernel.saturating_sub(stride),
                kernel.saturating_sub(1)
            ),
            Self::OutputTooLarge { axis: Axis::Time, extent, scale } => write!(
                f,
                "{extent} latent frames times scale {scale} exceed {} frames; \
                 decode at most {} latent frames",
                u32::MAX,
                u32::MAX.checked_div(scale).unwrap_or(u32::MAX)
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
                let subject = if axis == Axis::Time { "video" } else { "image" };
                write!(
                    f,
                    "{subject} {axis} {extent} is not a multiple of the scale {scale}; \
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
            Self::GrainNotDivisor { grain, scale } => write!(
                f,
                "blocks of {grain} x {grain} pixels do not fill a latent cell of {scale} x {scale}; \
                 expected a divisor of {scale}"
            ),
            Self::StrideTooLarge { axis, tile_sample_stride, tile_sample_min_size } => {
                let (tile, stride) = stored_names(axis);
                write!(
                    f,
                    "{stride} {tile_sample_stride} ({axis}) exceeds {tile} {tile_sample_min_size}, \
                     which leaves gaps; use a stride of at most {tile_sample_min_size}"
                )
            }
            Self::StrideTooSmall { axis, tile_sample_stride, tile_sample_min_size, max, works } => {
                let (tile, stride) = stored_names(axis);
                write!(
                    f,
                    "{stride} {tile_sample_stride} ({axis}) puts more than {max} tiles of {tile} \
                     {tile_sample_min_size} over one pixel; use a stride of at least {works}"
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

/// The names of a stored tile and stride.
const fn stored_names(axis: Axis) -> (&'static str, &'static str) {
    match axis {
        Axis::Time => ("tile_sample_min_num_frames", "tile_sample_stride_num_frames"),
        Axis::Height | Axis::Width => ("tile_sample_min_size", "tile_sample_stride"),
    }
}
