//! What a file is written as: by its extension, and by what is asked for beside it.

use std::path::Path;
use std::sync::Arc;

use crate::encoded::EncodedFormat;
use crate::error::OutputError;
use crate::options::Options;
use crate::pictures::PictureFormat;
use crate::pixel::Depth;
use crate::video::VideoFormat;
use crate::video::apng::Apng;
use crate::video::ffmpeg::{ByFfmpeg, Container};
use crate::video::gif::Gif;
#[cfg(feature = "mp4")]
use crate::video::mp4::{Mp4, QUANTISERS};

/// What a file is written as.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// Images of 8 or 16 bits a channel.
    Picture(PictureFormat),
    /// Frames of a video, uncompressed.
    Y4m,
    /// A video in one file, by an encoder.
    Video(Arc<dyn VideoFormat>),
    /// Raw f32 in numpy's format.
    Npy,
    /// Raw f32 under the key `sample`.
    Safetensors,
}

/// What an extension stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture(PictureFormat),
    Y4m,
    /// By ffmpeg, or what is built in.
    Container(Container),
    Gif,
    Npy,
    Safetensors,
}

const EXTENSIONS: [(&str, Kind); 14] = [
    ("png", Kind::Picture(PictureFormat::Png)),
    ("jpg", Kind::Picture(PictureFormat::Encoded(EncodedFormat::Jpeg))),
    ("jpeg", Kind::Picture(PictureFormat::Encoded(EncodedFormat::Jpeg))),
    ("webp", Kind::Picture(PictureFormat::Encoded(EncodedFormat::Webp))),
    ("tiff", Kind::Picture(PictureFormat::Encoded(EncodedFormat::Tiff))),
    ("tif", Kind::Picture(PictureFormat::Encoded(EncodedFormat::Tiff))),
    ("y4m", Kind::Y4m),
    ("mp4", Kind::Container(Container::Mp4)),
    ("mkv", Kind::Container(Container::Matroska)),
    ("webm", Kind::Container(Container::Webm)),
    ("mov", Kind::Container(Container::Mov)),
    ("gif", Kind::Gif),
    ("npy", Kind::Npy),
    ("safetensors", Kind::Safetensors),
];

impl Format {
    /// The format of a file of that name, with these options.
    ///
    /// # Errors
    /// That there is none, or that it has no such choice.
    pub(crate) fn of(path: &Path, options: &Options) -> Result<Self, OutputError> {
        let Some(kind) = Kind::of(path) else {
            let extension = path.extension().map(|text| text.to_string_lossy());
            let extension = extension.map(|extension| extension.escape_debug().to_string());
            return Err(OutputError::Extension { path: path.into(), extension });
        };
        kind.check_choices(path, options)?;
        match kind {
            Kind::Picture(_) if options.animated => {
                Ok(Self::Video(Arc::new(Apng::new(options.bit_depth))))
            }
            Kind::Picture(format) => Ok(Self::Picture(format)),
            Kind::Gif => Ok(Self::Video(Arc::new(Gif))),
            Kind::Y4m => Ok(Self::Y4m),
            Kind::Container(Container::Mp4) if options.codec.is_none() => built_in(path, options),
            Kind::Container(container) => {
                let codec = options.codec.as_deref().unwrap_or(container.codec());
                let Options { bit_depth, crf, pad, .. } = *options;
                let format = ByFfmpeg::find(path, container, codec, bit_depth, crf, pad)?;
                Ok(Self::Video(Arc::new(format)))
            }
            Kind::Npy => Ok(Self::Npy),
            Kind::Safetensors => Ok(Self::Safetensors),
        }
    }

    /// That of standard output.
    ///
    /// # Errors
    /// That it has no such choice.
    pub(crate) fn of_stdout(path: &Path, options: &Options) -> Result<Self, OutputError> {
        Kind::Y4m.check_choices(path, options).map(|()| Self::Y4m)
    }

    /// Whether it says how many frames there are in a second.
    pub(crate) fn has_rate(&self) -> bool {
        matches!(self, Self::Y4m | Self::Video(_))
    }
}

impl Kind {
    /// What the extension of that name stands for, in any case of letters.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy();
        let known = EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
        known.map(|&(_, kind)| kind)
    }

    /// Refuses options that mean nothing to it.
    fn check_choices(self, path: &Path, options: &Options) -> Result<(), OutputError> {
        let path = || path.to_path_buf();
        if options.bit_depth != Depth::Eight {
            match self {
                Self::Picture(format) if !format.holds(options.bit_depth) => {
                    return Err(OutputError::BitDepth { path: path(), format: format.name() });
                }
                Self::Npy | Self::Safetensors => {
                    return Err(OutputError::RawDepth { path: path() });
                }
                Self::Container(Container::Mp4) if options.codec.is_none() => {
                    return Err(OutputError::BuiltInDepth { path: path() });
                }
                Self::Gif => return Err(OutputError::BitDepth { path: path(), format: "GIF" }),
                Self::Picture(_) | Self::Y4m | Self::Container(_) => {}
            }
        }
        let is_png = self == Self::Picture(PictureFormat::Png);
        if options.animated && !is_png {
            return Err(match self {
                Self::Picture(PictureFormat::Encoded(EncodedFormat::Webp)) => {
                    OutputError::AnimatedWebp { path: path() }
                }
                _ => {
                    let (option, formats) = ("animated", ".png");
                    OutputError::NoChoice { path: path(), option, formats }
                }
            });
        }
        let is_timed =
            options.animated || matches!(self, Self::Y4m | Self::Gif | Self::Container(_));
        if options.fps.is_some() && !is_timed {
            return Err(OutputError::Rate { path: path() });
        }
        let is_coded = matches!(self, Self::Container(_));
        for (is_given, option) in [
            (options.codec.is_some(), "codec"),
            (options.crf.is_some(), "crf"),
            (options.pad, "pad"),
        ] {
            if is_given && !is_coded {
                let formats = ".mp4, .mkv, .webm or .mov";
                return Err(OutputError::NoChoice { path: path(), option, formats });
            }
        }
        Ok(())
    }
}

/// An `.mp4` with what is built in.
#[cfg(feature = "mp4")]
fn built_in(path: &Path, options: &Options) -> Result<Format, OutputError> {
    match options.crf {
        Some(crf) if !QUANTISERS.contains(&crf) => Err(OutputError::Quality {
            path: path.into(),
            codec: "built-in H.264".into(),
            least: *QUANTISERS.start(),
            most: *QUANTISERS.end(),
        }),
        crf => Ok(Format::Video(Arc::new(Mp4::new(crf, options.pad)))),
    }
}

#[cfg(not(feature = "mp4"))]
fn built_in(path: &Path, _: &Options) -> Result<Format, OutputError> {
    Err(OutputError::NotBuiltIn { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_decides_in_any_case() {
        for (extension, kind) in EXTENSIONS {
            for name in [format!("a.{extension}"), format!("a.b.{}", extension.to_uppercase())] {
                assert_eq!(Kind::of(Path::new(&name)), Some(kind), "{name}");
            }
        }
        for name in ["png", "a.png.gz", "a.", ".png"] {
            assert_eq!(Kind::of(Path::new(name)), None, "{name}");
        }
    }
}
