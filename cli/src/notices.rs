//! What was decided for the user, in plain words.

use std::fmt;
use std::path::PathBuf;

use halovae_media::FrameRate;

use crate::launcher::HalfLaunch;

/// A decision that the user may want to know of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Notice {
    /// The library's.
    Library(halovae::Notice),
    /// A launcher tells of several processes, and this is none of them.
    HalfLaunched(HalfLaunch),
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
}

impl From<halovae::Notice> for Notice {
    fn from(notice: halovae::Notice) -> Self {
        Self::Library(notice)
    }
}

/// What the library noticed.
pub(crate) fn of_library(notices: &[halovae::Notice]) -> Vec<Notice> {
    notices.iter().cloned().map(Notice::Library).collect()
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Options are flags here.
            Self::Library(notice) => write!(f, "{notice:#}"),
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
        }
    }
}
