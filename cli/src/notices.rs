//! What was decided for the user, in plain words.

use std::fmt;
use std::path::PathBuf;

use halovae_core::{Axes, Strategy};
use halovae_engine::checkpoint::{Checkpoint, listed_names};
use halovae_engine::format_bytes;
use halovae_engine::room::WHERE_NOTHING_FITS;
use halovae_media::FrameRate;

use crate::launcher::HalfLaunch;

/// A decision that the user may want to know of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Notice {
    /// The planner's.
    Planner(halovae_core::Notice),
    /// The grid of shards that was asked for cannot be; a coarser one was taken.
    GridCoarsened {
        /// Shards asked for along each axis.
        asked: Axes<u32>,
        /// Those that were taken.
        taken: Axes<u32>,
    },
    /// There are flags about tiles, and nothing is tiled.
    NotTiled {
        /// How the latents are decoded instead.
        strategy: Strategy,
    },
    /// Fewer pieces (over all images) than ranks.
    IdleRanks {
        /// The ranks.
        ranks: u32,
        /// The pieces.
        pieces: u64,
    },
    /// There is no config, and shapes do not tell everything.
    Guessed {
        /// Fields and the values that were taken.
        fields: Vec<(&'static str, String)>,
    },
    /// A launcher tells of several processes, and this is none of them.
    HalfLaunched(HalfLaunch),
    /// The rule picked the strategy whose picture depends on the number of ranks.
    PatchPicked {
        /// The ranks.
        ranks: u32,
    },
    /// There are tensors beside the decoder that are nothing known.
    Ignored {
        /// Their names, fit to be shown.
        names: String,
    },
    /// The only weights that there are are not the plain ones.
    OtherWeights {
        /// Their variant.
        variant: String,
    },
    /// Packed latents do not tell the sides of their pictures, and the user did not give them.
    TakenForSquare {
        /// Pictures.
        images: usize,
        /// Height and width of each in pixels.
        side: u64,
    },
    /// Latents of four axes are no video of a decoder that takes videos.
    TakenForImages {
        /// Images.
        images: usize,
    },
    /// A video is written with times, and nothing told how many frames make a second.
    FrameRate {
        /// What was taken.
        rate: FrameRate,
    },
    /// The reader of standard output went away before the end, which is no failure.
    NoReport,
    /// Behind the last frame stands one of an earlier video.
    FrameLeftOver {
        /// Its file.
        path: PathBuf,
    },
    /// Neither config nor weights tell how values beyond the range of a picture are written.
    AssumedRange {
        /// What is assumed, as a sentence.
        what: &'static str,
    },
    /// There is a GPU, but it cannot be used.
    PassedOver {
        /// Why.
        why: String,
        /// What happens now.
        instead: &'static str,
    },
    /// There is no cuDNN that could be faster.
    WithoutCudnn {
        /// Why.
        why: String,
    },
    /// A device was tried out, once.
    Tuned {
        /// How long that took.
        seconds: f64,
    },
    /// Ranks are on GPUs that are not linked.
    OverTheHost {
        /// Why.
        why: String,
    },
    /// The machine has less memory than the decode will take.
    Memory {
        /// Bytes, by estimate.
        needed: u64,
        /// Bytes that can be had.
        available: u64,
        /// Flags that do with that.
        instead: Option<String>,
    },
}

impl Notice {
    /// What is to be told of a checkpoint; `variant` is the one that the user chose.
    pub(crate) fn of_checkpoint(checkpoint: &Checkpoint, variant: Option<&str>) -> Vec<Self> {
        let ignored = checkpoint.ignored();
        let ignored = (!ignored.is_empty()).then(|| Self::Ignored { names: listed_names(ignored) });
        let other = variant.is_none().then(|| Self::other_weights(checkpoint)).flatten();
        Self::guessed(checkpoint).into_iter().chain(other).chain(ignored).collect()
    }

    /// What was guessed for a checkpoint without a config.
    fn guessed(checkpoint: &Checkpoint) -> Option<Self> {
        let config = checkpoint.config().to_json();
        let fields: Vec<_> = checkpoint
            .guessed()
            .iter()
            // Where these matter, a decode is refused.
            .filter(|field| !checkpoint.guessed_of_space().contains(field))
            .map(|&field| (field, config.get(field).map(ToString::to_string).unwrap_or_default()))
            .collect();
        (!fields.is_empty()).then_some(Self::Guessed { fields })
    }

    /// What weights were read where no variant was chosen, unless they are the plain ones, in
    /// whatever type.
    fn other_weights(checkpoint: &Checkpoint) -> Option<Self> {
        let variant = checkpoint.variant().filter(|_| !checkpoint.is_plain())?;
        Some(Self::OtherWeights { variant: variant.into() })
    }

    /// Whether it is that tiling was switched on.
    pub(crate) fn is_tiling_switched_on(&self) -> bool {
        matches!(self, Self::Planner(halovae_core::Notice::TilingSwitchedOn { .. }))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planner(notice) => write_planner(f, *notice),
            Self::GridCoarsened { asked, taken } => {
                let is_cut_in_time = asked.time > 1;
                let words = |Axes { time, height, width }: Axes<u32>| match is_cut_in_time {
                    true => format!("{time} x {height} x {width}"),
                    false => format!("{height} x {width}"),
                };
                write!(
                    f,
                    "{} shards would have bands thinner than a halo, or no cells at all; the decode is \
                     cut into {}{}",
                    words(*asked),
                    words(*taken),
                    if is_cut_in_time { " (slices x rows x columns)" } else { "" }
                )
            }
            Self::IdleRanks { ranks, pieces: 1 } => {
                write!(f, "there is only 1 piece; {} of {ranks} ranks stay idle", ranks - 1)
            }
            Self::IdleRanks { ranks, pieces } => write!(
                f,
                "there are {pieces} pieces; {} of {ranks} ranks stay idle",
                u64::from(*ranks) - pieces
            ),
            Self::Guessed { fields } => {
                f.write_str("no config.json, and the shapes of the weights do not tell ")?;
                for (index, (field, value)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{field} (taken: {value})")?;
                }
                f.write_str("; give --config if that is wrong")
            }
            Self::HalfLaunched(HalfLaunch { told: (variable, count), lacking, starter }) => {
                match lacking {
                    (name, None) => write!(f, "{variable} is {count}, but {name} is not set")?,
                    (name, Some(own)) => write!(f, "{variable} is {count}, but {name} is {own}")?,
                }
                write!(
                    f,
                    ", so this process decodes alone; {starter} starts {count} that decode together"
                )
            }
            Self::PatchPicked { ranks } => write!(
                f,
                "{ranks} ranks decode one patch each; the picture differs from the whole decode \
                 ({PATCH_ERRORS}); --strategy sharded is exact"
            ),
            Self::Ignored { names } => {
                write!(f, "tensors outside the decoder that nothing reads were ignored: {names}")
            }
            Self::OtherWeights { variant } => write!(
                f,
                "the weights are those of the variant {variant:?}, the only ones there; give \
                 --variant {variant} to say that they are meant"
            ),
            Self::TakenForSquare { images, side } => write!(
                f,
                "packed latents do not tell their sides; these were taken for {images} image(s) of \
                 {side} x {side} pixels; give --height and --width if that is wrong"
            ),
            Self::TakenForImages { images } => write!(
                f,
                "the latents have four axes and were taken for {images} images; those of a video are \
                 [batch, channels, frames, height, width]"
            ),
            Self::FrameRate { rate } => write!(
                f,
                "the model does not tell how many frames make a second; {rate} were taken; give --fps \
                 if that is wrong"
            ),
            Self::FrameLeftOver { path } => write!(
                f,
                "`{}` is a frame of an earlier video and stays: what reads the numbered frames may take \
                 it for the next of this one; remove it, or write to an empty folder",
                path.display()
            ),
            Self::NoReport => f.write_str(
                "the reader of standard output went away before the end, so there is no report",
            ),
            Self::NotTiled { strategy } => {
                let of_frames = if *strategy == Strategy::Patch { " of frames" } else { "" };
                write!(
                    f,
                    "a {strategy} decode has no tiles{of_frames}, so the flags about them change \
                     nothing; give --strategy tiled for tiles"
                )
            }
            Self::AssumedRange { what } => write!(f, "{what}; give --config if that is wrong"),
            Self::PassedOver { why, instead } => write!(f, "{why}; {instead}"),
            Self::WithoutCudnn { why } => write!(f, "decoded by our own kernels alone: {why}"),
            Self::Tuned { seconds } => write!(
                f,
                "{seconds:.1} s of this decode went into measuring which kernels are fastest on this device; \
                 later ones of this size do without"
            ),
            Self::OverTheHost { why } => {
                write!(f, "ranks exchanged data through host memory, not by NCCL: {why}")
            }
            Self::Memory { needed, available, instead } => {
                let [needed, available] = [*needed, *available].map(format_bytes);
                write!(
                    f,
                    "this decode takes about {needed}, and {available} of memory are free; "
                )?;
                match instead {
                    Some(flags) => write!(f, "there is room for {flags}"),
                    None => write!(f, "if it fails, {WHERE_NOTHING_FITS}"),
                }
            }
        }
    }
}

/// How far patches were from the whole decode on the demo's photographs, see docs/benchmarks.md.
const PATCH_ERRORS: &str = "on average by 0.2 % of its range (4 ranks) to 1 % (256), at single pixels \
                            by 2 to 23 %, as measured on photographs of 512 x 512 pixels";

/// The same of tiles, which are the same on any number of ranks.
const TILED_ERRORS: &str = "on average by 0.5 % of its range, at single pixels by about 6 %, as measured \
                            on photographs of 512 x 512 pixels";

fn write_planner(f: &mut fmt::Formatter<'_>, notice: halovae_core::Notice) -> fmt::Result {
    use halovae_core::Notice as Planner;
    match notice {
        Planner::SizeClamped { requested, group } => write!(
            f,
            "vae_patch_parallel_size {requested} is more than the {group} ranks of the group and \
             was clamped to {group}"
        ),
        Planner::TilingSwitchedOn { ranks } => {
            write!(
                f,
                "tiling was switched on, since there are {ranks} ranks; the picture differs from the \
                 whole decode ({TILED_ERRORS}); --strategy sharded is exact"
            )
        }
        Planner::ParallelUnsupported { requested } => write!(
            f,
            "this model has no parallel decode; vae_patch_parallel_size {requested} is ignored and \
             one rank decodes"
        ),
        Planner::ShardsCoarsened { requested, slices, rows, cols } => {
            write!(
                f,
                "{requested} shards would have bands thinner than a halo, or no cells at all; the \
                 decode is cut into "
            )?;
            match slices {
                1 => write!(f, "{rows} x {cols}"),
                _ => write!(f, "{slices} x {rows} x {cols}"),
            }
        }
        // The planner may learn new ones; they must not get lost.
        other => write!(f, "{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_the_numbers() {
        let told = |notice: Notice| notice.to_string();
        let clamped = halovae_core::Notice::SizeClamped { requested: 8, group: 4 };
        assert!(told(Notice::Planner(clamped)).contains("8 is more than the 4 ranks"));
        let idle = Notice::IdleRanks { ranks: 6, pieces: 4 };
        assert_eq!(told(idle), "there are 4 pieces; 2 of 6 ranks stay idle");
        let idle = Notice::IdleRanks { ranks: 6, pieces: 1 };
        assert_eq!(told(idle), "there is only 1 piece; 5 of 6 ranks stay idle");
        let [asked, taken] = [Axes::new(2, 4, 1), Axes::new(1, 3, 1)];
        let slices = told(Notice::GridCoarsened { asked, taken });
        assert!(slices.starts_with("2 x 4 x 1 shards would have"), "{slices}");
        assert!(slices.ends_with("cut into 1 x 3 x 1 (slices x rows x columns)"), "{slices}");
        let frame = told(Notice::GridCoarsened { asked: Axes { time: 1, ..asked }, taken });
        assert!(frame.starts_with("4 x 1 shards") && frame.ends_with("cut into 3 x 1"), "{frame}");
        let patch = told(Notice::PatchPicked { ranks: 4 });
        let tiled = halovae_core::Notice::TilingSwitchedOn { ranks: 4 };
        for approximate in [patch, told(Notice::Planner(tiled))] {
            assert!(approximate.contains("4 ranks"), "{approximate}");
            assert!(approximate.contains("--strategy sharded is exact"), "{approximate}");
        }
        let guessed = Notice::Guessed { fields: vec![("scaling_factor", "0.3611".into())] };
        assert!(told(guessed).contains("scaling_factor (taken: 0.3611)"));
    }
}
