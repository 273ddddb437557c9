//! What each error says.

use std::fmt;
use std::path::Path;

use halovae_engine::option_names::names;

use super::OutputError;

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = names(f);
        if let Some(path) = self.output() {
            write!(f, "output `{}`", path.display())?;
        }
        match self {
            Self::Extension { extension, .. } => {
                match extension {
                    Some(extension) => write!(f, " has the unknown extension .{extension}")?,
                    None => f.write_str(" has no extension, which names the format")?,
                }
                f.write_str(
                    "; expected .png, .jpg, .webp, .tiff, .mp4, .mkv, .webm, .mov, .gif, .y4m, .npy or \
                     .safetensors",
                )?;
                let extension = extension.as_ref().map(|extension| extension.to_ascii_lowercase());
                match extension.as_deref() {
                    Some("m4v" | "avi") if f.alternate() => f.write_str(
                        ", or --output - for an encoder that reads a .y4m, as in: --output - | ffmpeg -i - \
                         FILE",
                    ),
                    Some("m4v" | "avi") => {
                        f.write_str(", or no file, for an encoder that reads a .y4m from a pipe")
                    }
                    _ => Ok(()),
                }
            }
            Self::NotAFile { what, .. } => write!(f, " is {what}; give the name of a file"),
            Self::NoFolder { folder, .. } => {
                write!(f, ": the folder `{}` does not exist; create it first", folder.display())
            }
            Self::Folder { folder, .. } => {
                write!(f, ": cannot write into the folder `{}`", folder.display())
            }
            Self::Name { path, .. } => {
                write!(f, ": {} is too long; give a shorter one", length(path))
            }
            Self::Link { to, .. } => write!(
                f,
                " is a link to `{}`, which cannot be followed; create what it leads to, or remove the link",
                to.display()
            ),
            Self::Scratch { folder, .. } => write!(
                f,
                "no file can be created in the scratch folder `{}`; give another {}",
                folder.display(),
                option("scratch_dir")
            ),
            Self::Protected { .. } => {
                f.write_str(" exists and is protected; make it writable, or give another name")
            }
            Self::Irreplaceable { why, .. } => write!(f, " {why}"),
            Self::Read { option: given, path, read } => write!(
                f,
                "{} `{}` would overwrite `{}`, which is read; give another name",
                option(given),
                path.display(),
                read.display()
            ),
            Self::Twice { option: given, path, other_option, other } => write!(
                f,
                "{} `{}` and {} `{}` are the same file; give another name",
                option(given),
                path.display(),
                option(other_option),
                other.display()
            ),
            Self::Numbered { .. } => f.write_str(
                " has a field for the number of a frame, and its format holds all frames in one file; leave \
                 the field out, or number pictures, as in %05d.png",
            ),
            Self::Fields { .. } => f.write_str(
                " has several fields for the number of a frame; give one, such as %05d, and write a % as %%",
            ),
            Self::Terminal => f.write_str(
                "standard output is a terminal; lead it into a file or another program",
            ),
            Self::PreviewOfStdout => write!(
                f,
                "{} writes pictures beside the output, which is standard output; name a file",
                option("preview")
            ),
            Self::Rate { .. } => write!(
                f,
                " has no frames per second; leave {} out, or write .mp4, .gif or .y4m, or .png with {}",
                option("fps"),
                option("animated")
            ),
            Self::BitDepth { format, .. } => write!(
                f,
                ": {format} has 8 bits a channel; write .png or .tiff, or a video as .y4m, for {} 16",
                option("bit_depth")
            ),
            Self::RawDepth { .. } => write!(
                f,
                " holds f32, which {} does not change; leave it out, or write .png or .tiff",
                option("bit_depth")
            ),
            Self::NoChoice { option: given, formats, .. } => write!(
                f,
                " has no choice by {}; leave it out, or write {formats}",
                option(given)
            ),
            Self::AnimatedWebp { .. } => write!(
                f,
                ": no animated WebP is written, since its encoder holds a whole video; write .png with {}, \
                 .webm or .gif",
                option("animated")
            ),
            Self::Quality { codec, least, most, .. } => {
                write!(f, ": {} of {codec} is from {least} (best) to {most}", option("crf"))
            }
            Self::BuiltInDepth { .. } => write!(
                f,
                ": the built-in H.264 has 8 bits a channel; give {} libx265 for that of an installed \
                 ffmpeg, or write .y4m",
                option("codec")
            ),
            Self::NoFfmpeg { .. } => write!(
                f,
                " is written by the program ffmpeg, which is not on the PATH; install it (on Debian and \
                 Ubuntu: sudo apt-get install ffmpeg), or write .mp4 without {}, or .y4m",
                option("codec")
            ),
            Self::Ffmpeg { .. } => f.write_str(": the program ffmpeg does not run"),
            Self::Refused { codec, said, .. } => {
                write!(f, " cannot be encoded with {codec}, as a trial with one frame shows: {said}")
            }
            Self::NoEncoder { codec, .. } => write!(
                f,
                ": ffmpeg has no encoder of videos called `{}`; `ffmpeg -encoders` lists them",
                codec.escape_debug()
            ),
            Self::NoCrf { codec, .. } => {
                write!(f, ": ffmpeg's encoder {codec} has no {}; leave it out", option("crf"))
            }
            Self::CodecDepth { codec, .. } => write!(
                f,
                ": ffmpeg's encoder {codec} has 8 bits a channel; leave {} 16 out, or give another, such as \
                 {} libx265",
                option("bit_depth"),
                option("codec")
            ),
            Self::NotBuiltIn { .. } => write!(
                f,
                ": this program was built without H.264 (the feature `mp4`); give {} libx264 for that of an \
                 installed ffmpeg, or write .y4m",
                option("codec")
            ),
            Self::Unfit { problem, .. } => {
                f.write_str(": ")?;
                problem.fmt(f)
            }
        }
    }
}

impl OutputError {
    /// The output that the message begins with.
    fn output(&self) -> Option<&Path> {
        match self {
            Self::Scratch { .. }
            | Self::Read { .. }
            | Self::Twice { .. }
            | Self::Terminal
            | Self::PreviewOfStdout => None,
            Self::Extension { path, .. }
            | Self::NotAFile { path, .. }
            | Self::NoFolder { path, .. }
            | Self::Folder { path, .. }
            | Self::Name { path, .. }
            | Self::Link { path, .. }
            | Self::Protected { path, .. }
            | Self::Irreplaceable { path, .. }
            | Self::Numbered { path }
            | Self::Fields { path }
            | Self::Rate { path }
            | Self::BitDepth { path, .. }
            | Self::RawDepth { path }
            | Self::NoChoice { path, .. }
            | Self::AnimatedWebp { path }
            | Self::Quality { path, .. }
            | Self::BuiltInDepth { path }
            | Self::NoFfmpeg { path }
            | Self::Ffmpeg { path, .. }
            | Self::Refused { path, .. }
            | Self::NoEncoder { path, .. }
            | Self::NoCrf { path, .. }
            | Self::CodecDepth { path, .. }
            | Self::NotBuiltIn { path }
            | Self::Unfit { path, .. } => Some(path),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::unfit::Unfit;

    #[test]
    fn options_are_fields_or_flags() {
        let path = || PathBuf::from("a.mp4");
        for (error, plain, flagged) in [
            (OutputError::Rate { path: path() }, "leave fps out", "leave --fps out"),
            (
                OutputError::RawDepth { path: path() },
                "which bit_depth does",
                "which --bit-depth does",
            ),
            (OutputError::PreviewOfStdout, "preview writes", "--preview writes"),
            (
                OutputError::Extension { path: "a.avi".into(), extension: Some("AVI".into()) },
                "or no file, for an encoder",
                "--output - | ffmpeg",
            ),
            (
                OutputError::Twice {
                    option: "preview",
                    path: path(),
                    other_option: "output",
                    other: path(),
                },
                "preview `a.mp4` and output `a.mp4`",
                "--preview `a.mp4` and --output `a.mp4`",
            ),
            (
                OutputError::Unfit { path: path(), problem: Unfit::PreviewOfImages },
                "output `a.mp4`: preview shows",
                "output `a.mp4`: --preview shows",
            ),
        ] {
            let (as_fields, as_flags) = (error.to_string(), format!("{error:#}"));
            assert!(as_fields.contains(plain) && !as_fields.contains("--"), "{as_fields}");
            assert!(as_flags.contains(flagged), "{as_flags}");
        }
    }
}
