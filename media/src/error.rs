//! Why an output cannot be.

use std::io;
use std::path::{Path, PathBuf};

/// Why an output cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No format has that extension.
    #[error(
        "output `{}` {}; expected .png, .jpg, .webp, .tiff, .mp4, .mkv, .webm, .mov, .gif, .y4m, .npy or .safetensors{}",
        path.display(),
        match extension {
            Some(extension) => format!("has the unknown extension .{extension}"),
            None => "has no extension, which names the format".into(),
        },
        match extension.as_ref().map(|extension| extension.to_ascii_lowercase()).as_deref() {
            Some("m4v" | "avi") => {
                ", or --output - for an encoder that reads a .y4m, as in: --output - | ffmpeg -i - FILE"
            }
            _ => "",
        }
    )]
    Extension {
        /// The output.
        path: PathBuf,
        /// Its extension, if it has one.
        extension: Option<String>,
    },
    /// A folder, a device.
    #[error("output `{}` is {what}; give the name of a file", path.display())]
    NotAFile {
        /// The output.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The folder is not there.
    #[error("output `{}`: the folder `{}` does not exist; create it first", path.display(), folder.display())]
    NoFolder {
        /// The output.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// Nothing can be created in the folder.
    #[error("output `{}`: cannot write into the folder `{}`", path.display(), folder.display())]
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
    #[error("output `{}`: {} is too long; give a shorter one", path.display(), length(path))]
    Name {
        /// The output.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A link that cannot be followed.
    #[error(
        "output `{}` is a link to `{}`, which cannot be followed; create what it leads to, or remove \
         the link",
        path.display(),
        to.display()
    )]
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
    #[error("no file can be created in the scratch folder `{}`; give another --scratch-dir", folder.display())]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It exists and may not be written to.
    #[error("output `{}` exists and is protected; make it writable, or give another name", path.display())]
    Protected {
        /// The output.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It exists and no other file can take its place.
    #[error("output `{}` {why}", path.display())]
    Irreplaceable {
        /// The output.
        path: PathBuf,
        /// Why, and what to do.
        why: &'static str,
    },
    /// The command reads that file.
    #[error(
        "{flag} `{}` would overwrite `{}`, which is read; give another name",
        path.display(),
        read.display()
    )]
    Read {
        /// What it is written for.
        flag: &'static str,
        /// The output.
        path: PathBuf,
        /// The input.
        read: PathBuf,
    },
    /// Two outputs are one file.
    #[error(
        "{flag} `{}` and {other_flag} `{}` are the same file; give another name",
        path.display(),
        other.display()
    )]
    Twice {
        /// What the second one is written for.
        flag: &'static str,
        /// The second one.
        path: PathBuf,
        /// What the first one is written for.
        other_flag: &'static str,
        /// The first one.
        other: PathBuf,
    },
    /// A number of a frame in the name of a file that holds all frames.
    #[error(
        "output `{}` has a field for the number of a frame, and its format holds all frames in one file; \
         leave the field out, or number pictures, as in %05d.png",
        path.display()
    )]
    Numbered {
        /// The output.
        path: PathBuf,
    },
    /// Several numbers in a name.
    #[error(
        "output `{}` has several fields for the number of a frame; give one, such as %05d, and write a \
         % as %%",
        path.display()
    )]
    Fields {
        /// The output.
        path: PathBuf,
    },
    /// Bytes for a program where a person would see them.
    #[error("standard output is a terminal; lead it into a file or another program")]
    Terminal,
    /// Nothing lies beside standard output.
    #[error("--preview writes pictures beside the output, which is standard output; name a file")]
    PreviewOfStdout,
    /// No format with times.
    #[error(
        "output `{}` has no frames per second; leave --fps out, or write .mp4, .gif or .y4m, or .png with --animated",
        path.display()
    )]
    Rate {
        /// The output.
        path: PathBuf,
    },
    /// The format has fewer bits a channel.
    #[error(
        "output `{}`: {format} has 8 bits a channel; write .png or .tiff, or a video as .y4m, for --bit-depth 16",
        path.display()
    )]
    BitDepth {
        /// The output.
        path: PathBuf,
        /// The format.
        format: &'static str,
    },
    /// The format has no whole numbers.
    #[error(
        "output `{}` holds f32, which --bit-depth does not change; leave it out, or write .png or .tiff",
        path.display()
    )]
    RawDepth {
        /// The output.
        path: PathBuf,
    },
    /// The format has no such choice.
    #[error(
        "output `{}` has no choice by {flag}; leave it out, or write {formats}",
        path.display()
    )]
    NoChoice {
        /// The output.
        path: PathBuf,
        /// What was asked for.
        flag: &'static str,
        /// Where there is that choice.
        formats: &'static str,
    },
    /// No animated WebP is written.
    #[error(
        "output `{}`: no animated WebP is written, since its encoder holds a whole video; write .png with \
         --animated, .webm or .gif",
        path.display()
    )]
    AnimatedWebp {
        /// The output.
        path: PathBuf,
    },
    /// A quality that the encoder does not have.
    #[error("output `{}`: --crf of {codec} is from {least} (best) to {most}", path.display())]
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
    #[error(
        "output `{}`: the built-in H.264 has 8 bits a channel; give --codec libx265 for that of an \
         installed ffmpeg, or write .y4m",
        path.display()
    )]
    BuiltInDepth {
        /// The output.
        path: PathBuf,
    },
    /// The program ffmpeg is needed and not there.
    #[error(
        "output `{}` is written by the program ffmpeg, which is not on the PATH; install it (on Debian \
         and Ubuntu: sudo apt-get install ffmpeg), or write .mp4 without --codec, or .y4m",
        path.display()
    )]
    NoFfmpeg {
        /// The output.
        path: PathBuf,
    },
    /// It is there and does not run.
    #[error("output `{}`: the program ffmpeg does not run", path.display())]
    Ffmpeg {
        /// The output.
        path: PathBuf,
        /// What the system, or it, says.
        #[source]
        source: io::Error,
    },
    /// It has no such encoder.
    #[error(
        "output `{}`: ffmpeg has no encoder of videos called `{}`; `ffmpeg -encoders` lists them",
        path.display(),
        codec.escape_debug()
    )]
    NoEncoder {
        /// The output.
        path: PathBuf,
        /// Its name.
        codec: String,
    },
    /// The encoder has no such quality.
    #[error("output `{}`: ffmpeg's encoder {codec} has no --crf; leave it out", path.display())]
    NoCrf {
        /// The output.
        path: PathBuf,
        /// The encoder.
        codec: String,
    },
    /// The encoder has 8 bits.
    #[error(
        "output `{}`: ffmpeg's encoder {codec} has 8 bits a channel; leave --bit-depth 16 out, or give \
         another, such as --codec libx265",
        path.display()
    )]
    CodecDepth {
        /// The output.
        path: PathBuf,
        /// The encoder.
        codec: String,
    },
    /// The program was built without that encoder.
    #[error(
        "output `{}`: this program was built without H.264 (the feature `mp4`); give --codec libx264 for \
         that of an installed ffmpeg, or write .y4m",
        path.display()
    )]
    NotBuiltIn {
        /// The output.
        path: PathBuf,
    },
    /// The format cannot hold the result.
    #[error("output `{}`: {problem}", path.display())]
    Unfit {
        /// The output.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
}

/// What of it is too long, and how long it is.
fn length(path: &Path) -> String {
    /// No system that we know takes longer ones.
    const PATH_MAX: usize = 4096;
    let [path, name] = [path.as_os_str(), path.file_name().unwrap_or_default()]
        .map(|name| name.as_encoded_bytes().len());
    match path >= PATH_MAX {
        true => format!("its path of {path} bytes"),
        false => format!("its name of {name} bytes"),
    }
}

/// An error of the system, with the file that it is about.
pub(crate) fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
}
