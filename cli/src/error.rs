//! What can go wrong, and what the process returns then.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use halovae::core::PlanError;
use halovae::engine::decode::DecodeError;
use halovae::engine::group::{Cause, Failure, GroupError};
use halovae_media::OutputError;

use crate::signals;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Flags that do not go together or whose values cannot be.
    #[error("{0}")]
    Usage(String),
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
    /// What the library says.
    #[error(transparent)]
    Library(Box<halovae::Error>),
    /// Ctrl-C, or another signal that asks for an end.
    #[error("cancelled")]
    Cancelled,
    /// The system lacks something of this process.
    #[error("{0}")]
    System(String),
    /// The processes that were started together do not come together.
    #[cfg(feature = "mpi")]
    #[error("the processes do not come together (--launcher none decodes with this one alone)")]
    Mpi(#[from] halovae_mpi::MpiError),
    /// The same, without MPI.
    #[error("the processes do not come together (--launcher none decodes with this one alone)")]
    Tcp(#[from] halovae_tcp::TcpError),
}

impl From<halovae::Error> for Error {
    fn from(error: halovae::Error) -> Self {
        match error {
            // A reader of a video, which has as much of it as it wants: here, or at rank 0.
            halovae::Error::Decode(DecodeError::Sink(error))
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                Self::BrokenPipe
            }
            halovae::Error::Decode(DecodeError::Failed(Failure {
                cause: Cause::Enough, ..
            })) => Self::BrokenPipe,
            halovae::Error::Cancelled => Self::Cancelled,
            error => Self::Library(error.into()),
        }
    }
}

impl From<GroupError> for Error {
    fn from(error: GroupError) -> Self {
        halovae::Error::from(error).into()
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        halovae::Error::from(error).into()
    }
}

impl Error {
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

    /// What the process returns: 2 where what was asked for cannot be and other flags may do, as for
    /// flags that the parser refuses; 128 and the number of the signal that ended it; 1 for everything
    /// else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Usage(_) | Self::Output(_) => 2,
            Self::Library(error) if error.is_of_options() => 2,
            Self::Cancelled => signals::exit_code(),
            _ => 1,
        }
    }
}

/// An error and its sources in one line, with options as flags.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", halovae::Chain(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_stdout_is_success() {
        let broken = Error::stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!(broken.exit_code(), 0);
        assert_eq!(Error::stdout(io::ErrorKind::StorageFull.into()).exit_code(), 1);
    }
}
