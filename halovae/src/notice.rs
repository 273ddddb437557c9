//! What was decided for the caller.

use std::fmt;

use halovae_core::{Axes, Strategy};
use halovae_engine::checkpoint::{Checkpoint, listed_names};
use halovae_engine::format_bytes;
use halovae_engine::room::{Room, WHERE_NOTHING_FITS};

use crate::options::names;
use crate::room::write_room;
use crate::words::counted;

/// A decision that the caller may want to know of.
///
/// Messages name options as fields; in the alternate form (`{:#}`) as flags of the command line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
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
        /// What does with that, if anything.
        instead: Option<Room>,
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
        let option = names(f);
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
                write!(f, "; give {} if that is wrong", option("config"))
            }
            Self::PatchPicked { ranks } => write!(
                f,
                "{ranks} ranks decode one patch each; the picture differs from the whole decode \
                 ({PATCH_ERRORS}); {} sharded is exact",
                option("strategy")
            ),
            Self::Ignored { names } => {
                write!(f, "tensors outside the decoder that nothing reads were ignored: {names}")
            }
            Self::OtherWeights { variant } => write!(
                f,
                "the weights are those of the variant {variant:?}, the only ones there; give {} {variant} \
                 to say that they are meant",
                option("variant")
            ),
            Self::TakenForSquare { images, side } => write!(
                f,
                "packed latents do not tell their sides; these were taken for {} of {side} x {side} pixels; \
                 give {} and {} if that is wrong",
                counted(*images as u64, "image"),
                option("height"),
                option("width")
            ),
            Self::TakenForImages { images } => write!(
                f,
                "the latents have four axes and were taken for {images} images; those of a video are \
                 [batch, channels, frames, height, width]"
            ),
            Self::NotTiled { strategy } => {
                let of_frames = if *strategy == Strategy::Patch { " of frames" } else { "" };
                write!(
                    f,
                    "a {strategy} decode has no tiles{of_frames}, so options about them change \
                     nothing; give {} tiled for tiles",
                    option("strategy")
                )
            }
            Self::AssumedRange { what } => {
                write!(f, "{what}; give {} if that is wrong", option("config"))
            }
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
                    Some(room) => {
                        f.write_str("there is room for ")?;
                        write_room(f, room)
                    }
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
    let option = names(f);
    match notice {
        Planner::SizeClamped { requested, group } => write!(
            f,
            "{} {requested} is more than the {group} ranks of the group and was clamped to {group}",
            option("vae_patch_parallel_size")
        ),
        Planner::TilingSwitchedOn { ranks } => {
            write!(
                f,
                "tiling was switched on, since there are {ranks} ranks; the picture differs from the \
                 whole decode ({TILED_ERRORS}); {} sharded is exact",
                option("strategy")
            )
        }
        Planner::ParallelUnsupported { requested } => write!(
            f,
            "this model has no parallel decode; {} {requested} is ignored and one rank decodes",
            option("vae_patch_parallel_size")
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
            assert!(approximate.contains("strategy sharded is exact"), "{approximate}");
        }
        let guessed = Notice::Guessed { fields: vec![("scaling_factor", "0.3611".into())] };
        assert!(told(guessed).contains("scaling_factor (taken: 0.3611)"));
    }
}
