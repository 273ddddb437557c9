//! What can go wrong.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use halovae_core::PlanError;
use halovae_engine::backend::BackendError;
use halovae_engine::checkpoint::{CheckpointError, WeightsError};
use halovae_engine::decode::DecodeError;
use halovae_engine::group::{Cause, Failure, GroupError};
use halovae_engine::latents::LatentsError;
use halovae_engine::program::ProgramError;
use halovae_engine::shard::{FitError, UncutError};

use crate::options::{OptionError, names};
use crate::room::{beside, has_any, write_room};

/// Why something failed.
///
/// Messages name options as fields; in the alternate form (`{:#}`) as flags of the command line. What a
/// message does not tell is in the [sources](StdError::source).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Options that cannot be, or do not go together.
    Option(OptionError),
    /// The caller cancelled.
    Cancelled,
    /// The checkpoint cannot be opened, or does not tell what is asked of it.
    Checkpoint(CheckpointError),
    /// The checkpoint's weights are not those of its config.
    Weights(Box<WeightsError>),
    /// The latents cannot be read.
    Latents(LatentsError),
    /// The config describes a decoder that cannot exist.
    Program {
        /// The checkpoint.
        path: PathBuf,
        /// The module that cannot exist.
        source: Box<ProgramError>,
    },
    /// There is no such plan.
    Plan(PlanError),
    /// The decoder cannot be cut into shards.
    Uncut(UncutError),
    /// No number of shards fits the memory.
    Fit(FitError),
    /// A device failed.
    Backend(BackendError),
    /// The machine has no device of that kind, or not as asked for.
    Device(String),
    /// The system starts no thread.
    Thread(std::io::Error),
    /// The thread of a stream of frames panicked, with that message: a fault of this program, or of an
    /// observer.
    Panicked(String),
    /// The decode failed.
    Decode(DecodeError),
    /// A device has no room for the decoder's weights.
    NoRoomForWeights(BackendError),
    /// The backend that was asked for lacks an op of the decoder.
    Unsupported(BackendError),
    /// A rank's device has no room for the decode.
    NoRoom(Failure),
    /// An NVIDIA GPU cannot be used.
    #[cfg(feature = "cuda")]
    Cuda(halovae_cuda::OpenError),
    /// A GPU cannot be used.
    #[cfg(feature = "wgpu")]
    Adapter(halovae_wgpu::OpenError),
}

impl Error {
    /// What a device said when it was handed the weights.
    pub(crate) fn prepare(error: BackendError) -> Self {
        match error {
            BackendError::OutOfMemory { .. } => Self::NoRoomForWeights(error),
            BackendError::Unsupported { .. } => Self::Unsupported(error),
            error => Self::Backend(error),
        }
    }

    /// The same where a sink holds so many bytes, which a limit of memory has to allow as well.
    pub(crate) fn beside(self, sink: u64) -> Self {
        match self {
            Self::NoRoom(Failure { cause: Cause::NoRoom { error, room }, rank, piece, op }) => {
                let room = Box::new(beside(*room, sink));
                Self::NoRoom(Failure { cause: Cause::NoRoom { error, room }, rank, piece, op })
            }
            error => error,
        }
    }

    /// Whether other options would do: the caller asked for what cannot be, or did not say enough. What
    /// the machine lacks is not among it, nor what is wrong with a file.
    pub fn is_of_options(&self) -> bool {
        match self {
            Self::Option(_)
            | Self::Plan(_)
            | Self::Uncut(_)
            | Self::Fit(_)
            | Self::Unsupported(_)
            | Self::Checkpoint(
                CheckpointError::Variant { .. } | CheckpointError::UntoldSpace { .. },
            ) => true,
            Self::Latents(error) => advice(error).is_some() || is_of_key(error),
            _ => false,
        }
    }

    /// Whether there is no such plan, and others there may be.
    pub fn is_of_plan(&self) -> bool {
        matches!(self, Self::Plan(_) | Self::Uncut(_) | Self::Option(_))
    }

    /// The error of which this one has the text.
    fn transparent(&self) -> Option<&(dyn StdError + 'static)> {
        Some(match self {
            Self::Option(error) => error,
            Self::Checkpoint(error) => error,
            Self::Weights(error) => &**error,
            Self::Latents(error) => error,
            Self::Plan(error) => error,
            Self::Uncut(error) => error,
            Self::Fit(error) => error,
            Self::Backend(error) | Self::NoRoomForWeights(error) | Self::Unsupported(error) => {
                error
            }
            Self::Decode(error) => error,
            Self::NoRoom(failure) => failure,
            #[cfg(feature = "cuda")]
            Self::Cuda(error) => error,
            #[cfg(feature = "wgpu")]
            Self::Adapter(error) => error,
            Self::Cancelled
            | Self::Program { .. }
            | Self::Device(_)
            | Self::Thread(_)
            | Self::Panicked(_) => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = names(f);
        match self {
            Self::Option(error) => error.fmt(f),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Checkpoint(error @ CheckpointError::Variant { .. }) => {
                write!(f, "{error} ({} NAME)", option("variant"))
            }
            Self::Checkpoint(error @ CheckpointError::UntoldSpace { .. }) => {
                write!(f, "{error}, by {}", option("config"))
            }
            Self::Latents(error) => {
                error.fmt(f)?;
                advice(error).map_or(Ok(()), |advice| {
                    f.write_str("; ")?;
                    advice(f)
                })
            }
            Self::Program { path, .. } => {
                write!(f, "`{}` describes a decoder that cannot exist", path.display())
            }
            Self::Plan(error) => write_plan(f, error),
            Self::Device(what) => f.write_str(what),
            Self::Thread(error) => write!(f, "the system starts no thread: {error}"),
            Self::Panicked(message) => {
                write!(
                    f,
                    "the decode panicked: {message}; a fault of the program or of its observer"
                )
            }
            Self::NoRoomForWeights(error) => write!(
                f,
                "{error}; the weights alone need more than there is, allow more memory or use another \
                 device, on a GPU {} f16",
                option("dtype")
            ),
            Self::Unsupported(error) => {
                write!(f, "{error}; {} cpu has all that this VAE needs", option("backend"))
            }
            Self::NoRoom(failure) => write_no_room(f, failure),
            error => match error.transparent() {
                Some(error) => fmt::Display::fmt(error, f),
                None => Ok(()),
            },
        }
    }
}

/// Attributes of diffusers that the planner names, and the options that set them.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("tile_sample_min_num_frames", "tile_sample_min_frames"),
    ("tile_sample_stride_num_frames", "tile_sample_stride_frames"),
    ("tile_sample_min_size", "tile_sample_min_size"),
    ("tile_sample_stride", "tile_sample_stride"),
    ("tile_overlap_factor", "tile_overlap_factor"),
    ("vae_patch_parallel_size", "vae_patch_parallel_size"),
];

/// What the planner says, with options in the place of attributes.
fn write_plan(f: &mut fmt::Formatter<'_>, error: &PlanError) -> fmt::Result {
    let option = names(f);
    let mut text = error.to_string();
    // Where one attribute's name is another one's beginning, the longer comes first.
    for (attribute, name) in ATTRIBUTES {
        text = text.replace(attribute, &option(name).to_string());
    }
    f.write_str(&text)
}

/// The failure, and what would do.
fn write_no_room(f: &mut fmt::Formatter<'_>, failure: &Failure) -> fmt::Result {
    let Cause::NoRoom { error, room } = &failure.cause else {
        return fmt::Display::fmt(failure, f);
    };
    if !has_any(room) {
        return fmt::Display::fmt(failure, f);
    }
    let failure = Failure { cause: Cause::Backend(error.clone()), ..failure.clone() };
    write!(f, "{failure}; it has room for ")?;
    write_room(f, room)
}

/// Whether another key would do, or none.
fn is_of_key(error: &LatentsError) -> bool {
    let LatentsError::InFile { source, .. } = error else { return false };
    matches!(**source, LatentsError::NoSuchKey { .. } | LatentsError::KeyWithoutUse { .. })
}

/// Writes what would do, to the end of the sentence.
type Advice = Box<dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result>;

/// The options that would do for these latents, if any.
fn advice(error: &LatentsError) -> Option<Advice> {
    let LatentsError::InFile { source, .. } = error else { return None };
    Some(match **source {
        LatentsError::Packed { .. } => Box::new(|f| {
            write!(f, "give {} pipeline, which unpacks them", names(f)("latent_space"))
        }),
        LatentsError::Ambiguous { sides: [height, width], .. } => Box::new(move |f| {
            let [h, w, space] = ["height", "width", "latent_space"].map(names(f));
            write!(
                f,
                "give {h} {height} {w} {width} if they are one image, {space} pipeline if they are packed"
            )
        }),
        LatentsError::SidesNeeded { .. }
        | LatentsError::SidesOfLayersNeeded { .. }
        | LatentsError::SidesOfFramesNeeded { .. } => Box::new(|f| {
            let [height, width] = ["height", "width"].map(names(f));
            write!(f, "give {height} and {width}")
        }),
        LatentsError::Sides { .. } => Box::new(|f| {
            let [height, width] = ["height", "width"].map(names(f));
            write!(f, "give the {height} and {width} that they were made with")
        }),
        LatentsError::KeyNeeded { .. } => {
            Box::new(|f| write!(f, "give {} NAME", names(f)("latents_key")))
        }
        LatentsError::SidesKnown { .. } => Box::new(|f| {
            let [height, width] = ["height", "width"].map(names(f));
            write!(f, "leave {height} and {width} out")
        }),
        LatentsError::CellsUntold { .. } => Box::new(|f| {
            write!(
                f,
                "open the whole folder of the pipeline, whose model_index.json tells, or leave {} pipeline \
                 out if they are what the VAE takes",
                names(f)("latent_space")
            )
        }),
        LatentsError::InVaeSpace => {
            Box::new(|f| write!(f, "leave {} pipeline out", names(f)("latent_space")))
        }
        _ => return None,
    })
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Program { source, .. } => Some(&**source),
            error => error.transparent().and_then(StdError::source),
        }
    }
}

macro_rules! from {
    ($($variant:ident: $error:ty),+ $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from! {
    Option: OptionError,
    Checkpoint: CheckpointError,
    Latents: LatentsError,
    Plan: PlanError,
    Uncut: UncutError,
    Fit: FitError,
    Backend: BackendError,
}

#[cfg(feature = "cuda")]
from!(Cuda: halovae_cuda::OpenError);
#[cfg(feature = "wgpu")]
from!(Adapter: halovae_wgpu::OpenError);

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Self {
        Self::Weights(error.into())
    }
}

impl From<GroupError> for Error {
    fn from(error: GroupError) -> Self {
        DecodeError::from(error).into()
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Cancelled => Self::Cancelled,
            DecodeError::Failed(failure @ Failure { cause: Cause::NoRoom { .. }, .. }) => {
                Self::NoRoom(failure)
            }
            error => Self::Decode(error),
        }
    }
}

/// An error and its sources in one line, one after the other, options named as by the error's
/// alternate form if this is asked for in it. A source that the line has already told is left out.
pub struct Chain<'a>(pub &'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let as_flags = f.alternate();
        let told = |error: &dyn StdError| match as_flags {
            true => format!("{error:#}"),
            false => error.to_string(),
        };
        let mut line = told(self.0);
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = told(error);
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = error.source();
        }
        f.write_str(&line)
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let source = (texts.len() > 1).then(|| Box::new(chain(&texts[1..])));
        Link { text: texts[0], source }
    }

    #[test]
    fn chain_joins_what_is_new() {
        let told = |texts: &[&'static str]| Chain(&chain(texts)).to_string();
        assert_eq!(told(&["a"]), "a");
        assert_eq!(told(&["cannot read", "disk gone"]), "cannot read: disk gone");
        assert_eq!(told(&["cannot read: disk gone", "disk gone"]), "cannot read: disk gone");
    }

    #[test]
    fn attributes_of_the_planner_are_options() {
        let zero = Error::from(PlanError::Zero { name: "vae_patch_parallel_size" });
        assert!(format!("{zero:#}").starts_with("--vae-patch-parallel-size is 0"), "{zero:#}");
        assert!(zero.to_string().starts_with("vae_patch_parallel_size is 0"), "{zero}");
        let factor = PlanError::OverlapFactorOutOfRange {
            axis: halovae_core::Axis::Height,
            tile_overlap_factor: 1.0,
        };
        let factor = Error::from(factor);
        assert!(
            format!("{factor:#}").starts_with("--tile-overlap-factor 1 (height)"),
            "{factor:#}"
        );
    }

    #[test]
    fn options_are_named_for_both_doors() {
        let error = Error::from(OptionError::needs("max_memory", ["strategy", "sharded"]));
        assert_eq!(Chain(&error).to_string(), "max_memory needs strategy sharded");
        assert_eq!(format!("{:#}", Chain(&error)), "--max-memory needs --strategy sharded");
    }
}
