//! Options that cannot be, or do not go together.

use std::fmt;

use super::devices::Dtype;
use super::names;
use crate::words::counted;

/// Options that cannot be, or do not go together.
///
/// Messages name options as fields; in the alternate form (`{:#}`) as flags of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// An option needs another one with a certain value.
    Needs {
        /// The option, with its value if only that one does.
        option: &'static str,
        /// Its value, if only that one does.
        value: Option<&'static str>,
        /// The other option and the value that it has to have.
        needed: [&'static str; 2],
        /// More about that, to the end of the sentence.
        reason: &'static str,
    },
    /// Options of GPUs with the CPU.
    NeedsGpu {
        /// The type that was asked for.
        dtype: Dtype,
    },
    /// cuDNN without CUDA, or with f32.
    CudnnNeedsHalf,
    /// More ranks than one process is sensibly cut into.
    RanksInOneProcess {
        /// Those that were asked for.
        ranks: u32,
        /// The most that are possible.
        max: u32,
    },
    /// More shards than can take turns.
    ShardsOnRanks {
        /// The shards.
        shards: u32,
        /// The ranks.
        ranks: u32,
        /// The most for each rank.
        max: u32,
    },
    /// More pieces than a decode can use.
    Pieces {
        /// The extents of the latents.
        latents: String,
        /// The pieces.
        pieces: u64,
        /// The most that are planned.
        max: u64,
    },
    /// Tiles of frames, of a VAE of images.
    FramesOfImages {
        /// The option.
        option: &'static str,
    },
    /// A tile or a stride of less than one latent cell.
    LessThanCell {
        /// The option.
        option: &'static str,
        /// Its height and width in pixels.
        sides: [u32; 2],
        /// Pixels of a cell.
        scale: u32,
    },
    /// Tiles or strides of less than one frame of the latents.
    LessThanFrame {
        /// The option.
        option: &'static str,
        /// Its frames.
        frames: u32,
        /// Frames of the video for one of the latents.
        factor: u32,
    },
    /// An option about tiles without the one that says how large they are.
    TileSizeMissing {
        /// The one that is given, if any is.
        option: Option<&'static str>,
        /// The one that is missing.
        missing: &'static str,
    },
    /// A number of pixels or frames that latents do not decode to.
    NotDecoded {
        /// What counts them: an option, or an argument.
        option: &'static str,
        /// The number.
        value: u32,
        /// Why, as the middle of the sentence.
        reason: String,
        /// The nearest that are possible.
        nearest: Vec<u64>,
    },
    /// Nothing of something.
    Zero {
        /// What counts it.
        option: &'static str,
        /// What to give instead.
        expected: String,
    },
    /// More frames than are planned one after the other.
    Frames {
        /// What counts them: frames of a video, or of its latents.
        option: &'static str,
        /// The frames.
        frames: u32,
        /// The most.
        max: u32,
    },
    /// Frames, of a VAE of images.
    ImagesOnly {
        /// What counts them.
        option: &'static str,
    },
    /// Latents of several frames, for a VAE of images.
    FramesForImages {
        /// The frames.
        frames: usize,
    },
    /// More entries of a list than are compared.
    Entries {
        /// The list.
        option: &'static str,
        /// Its entries.
        count: usize,
        /// The most.
        max: usize,
    },
}

impl OptionError {
    /// That an option, of any value, needs another one.
    pub(crate) fn needs(option: &'static str, needed: [&'static str; 2]) -> Self {
        Self::Needs { option, value: None, needed, reason: "" }
    }

    /// That an option of a certain value needs another one.
    pub(crate) fn value_needs(
        [option, value]: [&'static str; 2],
        needed: [&'static str; 2],
        reason: &'static str,
    ) -> Self {
        Self::Needs { option, value: Some(value), needed, reason }
    }
}

impl std::error::Error for OptionError {}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = names(f);
        match self {
            Self::Needs { option: given, value, needed: [needed, wanted], reason } => {
                let value = value.map(|value| format!(" {value}")).unwrap_or_default();
                write!(f, "{}{value} needs {} {wanted}{reason}", option(given), option(needed))
            }
            Self::NeedsGpu { dtype } => {
                let backend = option("backend");
                match dtype {
                    Dtype::F32 => write!(f, "{} needs", option("device"))?,
                    _ => write!(f, "{} {} needs", option("dtype"), dtype.name())?,
                }
                write!(f, " a GPU; leave {backend} cpu out")
            }
            Self::CudnnNeedsHalf => {
                let [cudnn, backend, dtype] = ["cudnn", "backend", "dtype"].map(option);
                write!(f, "{cudnn} on needs {backend} cuda and {dtype} f16 or bf16")
            }
            Self::RanksInOneProcess { ranks, max } => write!(
                f,
                "{ranks} ranks in one process, at most {max} are possible; lower {}",
                option("vae_patch_parallel_size")
            ),
            Self::ShardsOnRanks { shards, ranks, max } => write!(
                f,
                "{shards} shards on {}, at most {max} a rank take turns; use a coarser {} or more ranks",
                counted(u64::from(*ranks), "rank"),
                option("shard_grid")
            ),
            Self::Pieces { latents, pieces, max } => write!(
                f,
                "the latents of {latents} cells make {pieces} pieces, at most {max} are planned; use larger \
                 tiles"
            ),
            Self::FramesOfImages { option: given } => write!(
                f,
                "{} tiles the frames of a video, and this VAE decodes images",
                option(given)
            ),
            Self::LessThanCell { option: given, sides: [height, width], scale } => write!(
                f,
                "{} {height}x{width} is less than one latent cell, which is {scale} pixels; give a multiple \
                 of {scale}",
                option(given)
            ),
            Self::LessThanFrame { option: given, frames, factor } => write!(
                f,
                "{} {frames} is less than one frame of the latents, which is {factor} of the video; give a \
                 multiple of {factor}",
                option(given)
            ),
            Self::TileSizeMissing { option: Some(given), missing } => {
                write!(f, "{} needs {}", option(given), option(missing))
            }
            Self::TileSizeMissing { option: None, missing } => {
                write!(f, "the tile size is missing; give {}", option(missing))
            }
            Self::NotDecoded { option: given, value, reason, nearest } => {
                let nearest: Vec<_> = nearest.iter().map(u64::to_string).collect();
                write!(
                    f,
                    "{} {value}{reason}; the nearest is {}",
                    option(given),
                    nearest.join(" or ")
                )
            }
            Self::Zero { option: given, expected } => {
                write!(f, "{} is 0; give {expected}", option(given))
            }
            Self::Frames { option: counting, frames, max } => write!(
                f,
                "{frames} frames are more than are planned one after the other; plan at most {} {max}",
                option(counting)
            ),
            Self::ImagesOnly { option: given } => {
                write!(f, "this VAE decodes images; leave {} out", option(given))
            }
            Self::FramesForImages { frames } => write!(
                f,
                "the latents have {frames} frames, and this VAE decodes images; give these as a batch"
            ),
            Self::Entries { option: given, count, max } => {
                write!(f, "{} has {count} entries, at most {max}", option(given))
            }
        }
    }
}
