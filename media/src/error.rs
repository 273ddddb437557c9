//! Why an output cannot be.

mod told;

use std::io;
use std::path::{Path, PathBuf};

use crate::unfit::Unfit;

/// Why an output cannot be.
///
/// Messages name options as fields; in the alternate form (`{:#}`) as flags of the command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No format has that extension.
    Extension {
        /// The output.
        path: PathBuf,
        /// Its extension, if it has one.
        extension: Option<String>,
    },
    /// A folder, a device.
    NotAFile {
        /// The output.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The folder is not there.
    NoFolder {
        /// The output.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// Nothing can be created in the folder.
    Folder {
        /// The output.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The name is too long for its folder, or the path for the system.
    Name {
        /// The output.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A link that cannot be followed.
    Link {
        /// The output.
        path: PathBuf,
        /// What is written in the link.
        to: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No scratch file can be created in the folder.
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It exists and may not be written to.
    Protected {
        /// The output.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It exists and no other file can take its place.
    Irreplaceable {
        /// The output.
        path: PathBuf,
        /// Why, and what to do.
        why: &'static str,
    },
    /// The command reads that file.
    Read {
        /// What it is written for: an option, as a field.
        option: &'static str,
        /// The output.
        path: PathBuf,
        /// The input.
        read: PathBuf,
    },
    /// Two outputs are one file.
    Twice {
        /// What the second one is written for: an option, as a field.
        option: &'static str,
        /// The second one.
        path: PathBuf,
        /// What the first one is written for.
        other_option: &'static str,
        /// The first one.
        other: PathBuf,
    },
    /// A number of a frame in the name of a file that holds all frames.
    Numbered {
        /// The output.
        path: PathBuf,
    },
    /// Several numbers in a name.
    Fields {
        /// The output.
        path: PathBuf,
    },
    /// Bytes for a program where a person would see them.
    Terminal,
    /// Nothing lies beside standard output.
    PreviewOfStdout,
    /// No format with times.
    Rate {
        /// The output.
        path: PathBuf,
    },
    /// The format has fewer bits a channel.
    BitDepth {
        /// The output.
        path: PathBuf,
        /// The format.
        format: &'static str,
    },
    /// The format has no whole numbers.
    RawDepth {
        /// The output.
        path: PathBuf,
    },
    /// The format has no such choice.
    NoChoice {
        /// The output.
        path: PathBuf,
        /// What was asked for: an option, as a field.
        option: &'static str,
        /// Where there is that choice.
        formats: &'static str,
    },
    /// No animated WebP is written.
    AnimatedWebp {
        /// The output.
        path: PathBuf,
    },
    /// A quality that the encoder does not have.
    Quality {
        /// The output.
        path: PathBuf,
        /// The encoder.
        codec: String,
        /// The best quality.
        least: u8,
        /// The worst.
        most: u8,
    },
    /// The built-in encoder has 8 bits.
    BuiltInDepth {
        /// The output.
        path: PathBuf,
    },
    /// The program ffmpeg is needed and not there.
    NoFfmpeg {
        /// The output.
        path: PathBuf,
    },
    /// It is there and does not run.
    Ffmpeg {
        /// The output.
        path: PathBuf,
        /// What the system, or it, says.
        #[source]
        source: io::Error,
    },
    /// It does not encode such a video.
    Refused {
        /// The output.
        path: PathBuf,
        /// The encoder.
        codec: String,
        /// What it says.
        said: String,
    },
    /// It has no such encoder.
    NoEncoder {
        /// The output.
        path: PathBuf,
        /// Its name.
        codec: String,
    },
    /// The encoder has no such quality.
    NoCrf {
        /// The output.
        path: PathBuf,
        /// The encoder.
        codec: String,
    },
    /// The encoder has 8 bits.
    CodecDepth {
        /// The output.
        path: PathBuf,
        /// The encoder.
        codec: String,
    },
    /// The program was built without that encoder.
    NotBuiltIn {
        /// The output.
        path: PathBuf,
    },
    /// The format cannot hold the result.
    Unfit {
        /// The output.
        path: PathBuf,
        /// Why, and what to do.
        problem: Unfit,
    },
}

/// An error of the system, with the file that it is about.
pub(crate) fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
}
