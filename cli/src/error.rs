//! What can go wrong, and what the process returns then.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use halovae_core::PlanError;
use halovae_engine::backend::BackendError;
use halovae_engine::checkpoint::{CheckpointError, WeightsError};
use halovae_engine::decode::DecodeError;
use halovae_engine::group::{Cause, Failure, GroupError};
use halovae_engine::latents::LatentsError;
use halovae_engine::program::ProgramError;
use halovae_engine::shard::{FitError, UncutError};
use halovae_media::OutputError;

use crate::room;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Flags that do not go together or whose values cannot be.
    #[error("{0}")]
    Usage(String),
    /// Ctrl-C.
    #[error("cancelled")]
    Cancelled,
    /// The reader of stdout went away; not a failure.
    #[error("stdout was closed")]
    BrokenPipe,
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file, or `stdout`.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Finished files could not be given their names.
    #[error(transparent)]
    Commit(io::Error),
    /// The output cannot be what was asked for.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The checkpoint cannot be opened.
    #[error("{}{}", .0, variant_flag(.0))]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's weights are not those of its config.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The latents cannot be read.
    #[error(transparent)]
    Latents(#[from] LatentsError),
    /// The config describes a decoder that cannot exist.
    #[error("`{}` describes a decoder that cannot exist", path.display())]
    Program {
        /// The checkpoint.
        path: PathBuf,
        /// The module that cannot exist.
        #[source]
        source: ProgramError,
    },
    /// There is no such plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The decoder cannot be cut into shards.
    #[error(transparent)]
    Uncut(#[from] UncutError),
    /// No number of shards fits the memory.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The machine has no device of that kind, or not as asked for.
    #[error("{0}")]
    Device(String),
    /// The decode failed.
    #[error(transparent)]
    Decode(DecodeError),
    /// A device has no room for the decoder's weights.
    #[error(
        "{0}; the weights alone need more than there is, allow more memory or use another device, on \
         a GPU --dtype f16"
    )]
    NoRoomForWeights(BackendError),
    /// The backend that the user named lacks an op of the decoder.
    #[error("{0}; --backend cpu has all that this VAE needs")]
    Unsupported(BackendError),
    /// A rank's device has no room.
    #[error("{}", in_flags(.0))]
    NoRoom(Failure),
    /// An NVIDIA GPU cannot be used.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] halovae_cuda::OpenError),
    /// A GPU cannot be used.
    #[cfg(feature = "wgpu")]
    #[error(transparent)]
    Adapter(#[from] halovae_wgpu::OpenError),
    /// The processes that were started together do not come together.
    #[cfg(feature = "mpi")]
    #[error("the processes do not come together (--launcher none decodes with this one alone)")]
    Mpi(#[from] halovae_mpi::MpiError),
    /// The same, without MPI.
    #[error("the processes do not come together (--launcher none decodes with this one alone)")]
    Tcp(#[from] halovae_tcp::TcpError),
}

/// The flag that a choice of weights is made with.
fn variant_flag(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::Variant { .. } => " (--variant NAME)",
        _ => "",
    }
}

/// The failure, and the flags that would do.
fn in_flags(failure: &Failure) -> String {
    let Cause::NoRoom { error, room } = &failure.cause else { return failure.to_string() };
    let Some(flags) = room::flags(room) else { return failure.to_string() };
    let failure = Failure { cause: Cause::Backend(error.clone()), ..failure.clone() };
    format!("{failure}; it has room for {flags}")
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
            // A reader of a video, which has as much of it as it wants: here, or at rank 0.
            DecodeError::Sink(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Self::BrokenPipe
            }
            DecodeError::Failed(Failure { cause: Cause::Enough, .. }) => Self::BrokenPipe,
            error => Self::Decode(error),
        }
    }
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

    /// A failed write to a file.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: format!("`{}`", path.display()), source }
    }

    /// A failed write to stdout.
    pub(crate) fn stdout(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Write { path: "stdout".into(), source },
        }
    }

    /// What the process returns: 2 for wrong flags (as for those that the parser refuses), outputs
    /// that cannot be, and a variant that is not there or has to be chosen; 130 for
    /// Ctrl-C (128 + SIGINT, as shells have it), 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Usage(_)
            | Self::Output(_)
            | Self::Checkpoint(CheckpointError::Variant { .. }) => 2,
            Self::Cancelled => 130,
            _ => 1,
        }
    }
}

/// An error and its sources, one after the other. A source that the line has already told is left out.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = error.source();
        }
        f.write_str(&line)
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
    fn closed_stdout_is_success() {
        let broken = Error::stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!(broken.exit_code(), 0);
        assert_eq!(Error::stdout(io::ErrorKind::StorageFull.into()).exit_code(), 1);
    }
}
