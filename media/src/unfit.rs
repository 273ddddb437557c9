//! Why a format cannot hold a result.

use std::fmt;
use std::io;

use halovae_engine::option_names::names;

use crate::frame_rate::FrameRate;

/// Why a format cannot hold a result, and what to do.
///
/// Messages name options as fields; in the alternate form (`{:#}`) as flags of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// Several frames, and a format of one image.
    OneImage {
        /// The format.
        format: &'static str,
        /// The frames.
        frames: usize,
        /// Whether they are transparent, which few videos are.
        has_alpha: bool,
        /// The extension of the output.
        extension: String,
    },
    /// Several videos for standard output.
    OneVideo {
        /// The videos.
        videos: usize,
    },
    /// Alpha, and a format without it.
    Transparency {
        /// The format.
        format: &'static str,
        /// Whether it is one of videos.
        is_video: bool,
    },
    /// Channels that make no colour.
    Channels {
        /// The channels.
        channels: usize,
        /// The format, if it is one of videos, which have no alpha.
        video: Option<&'static str>,
    },
    /// More of something than can be counted.
    TooMany {
        /// What there is too much of, with its number.
        what: String,
        /// What would hold it.
        holder: &'static str,
    },
    /// An image that is larger than its format can say.
    ImageSides {
        /// The format.
        format: &'static str,
        /// Height and width in pixels.
        sides: [usize; 2],
        /// The most pixels along an axis.
        max: u64,
        /// The most bytes of pixels, if there is a bound.
        max_bytes: Option<u64>,
        /// Formats that hold it.
        instead: &'static str,
    },
    /// The same of a GIF.
    GifSides {
        /// Height and width in pixels.
        sides: [usize; 2],
        /// The most pixels along an axis.
        max: usize,
    },
    /// Frames that the built-in H.264 has not.
    H264Sides {
        /// Height and width in pixels.
        sides: [usize; 2],
        /// The fewest pixels of a side.
        least: usize,
        /// The most pixels of the shorter side and of the longer.
        most: [usize; 2],
    },
    /// Frames of odd sides, which the codec has not.
    OddSides {
        /// Height and width in pixels.
        sides: [usize; 2],
        /// The format.
        format: &'static str,
    },
    /// Frames that a GIF does not show for so long, or so shortly.
    GifRate {
        /// Frames in a second.
        rate: FrameRate,
        /// The shortest and the longest time of a frame in 1/100 s.
        hundredths: [u64; 2],
    },
    /// A fraction of larger numbers than the format has.
    Rate {
        /// Frames in a second.
        rate: FrameRate,
        /// The format.
        format: &'static str,
        /// The most of either number.
        most: u32,
    },
    /// Previews of what is no video.
    PreviewOfImages,
}

impl std::error::Error for Unfit {}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = names(f);
        match self {
            Self::OneImage { format, frames, has_alpha, extension } => {
                let videos = if *has_alpha { "" } else { ".mp4, .y4m, " };
                write!(
                    f,
                    "a {format} holds one image, and the decoder gives {frames} frames; write {videos}.npy \
                     or .safetensors, or number the frames, as in %05d.{extension}"
                )?;
                match *format {
                    "PNG" => write!(f, ", or give {}", option("animated")),
                    _ => Ok(()),
                }
            }
            Self::OneVideo { videos } => write!(
                f,
                "standard output takes one video, and the latents are {videos}; write a .y4m, which \
                 becomes one file for each"
            ),
            Self::Transparency { format, is_video } => {
                write!(
                    f,
                    "a {format} has no transparency, and the decoder gives 4 channels; write "
                )?;
                match is_video {
                    true => write!(
                        f,
                        "frames such as %05d.png, a .png with {}, or .npy or .safetensors",
                        option("animated")
                    ),
                    false => f.write_str(".png, .tiff or .webp"),
                }
            }
            Self::Channels { channels, video } => {
                write!(f, "the decoder gives {channels} channels, ")?;
                match video {
                    Some(format) => write!(f, "a {format} has 1 or 3")?,
                    None => f.write_str("an image has 1, 3 or 4")?,
                }
                f.write_str("; write .npy or .safetensors")
            }
            Self::TooMany { what, holder } => write!(f, "{what} exceed what {holder} can hold"),
            Self::ImageSides { format, sides: [height, width], max, max_bytes, instead } => {
                write!(
                    f,
                    "an image of {height} x {width} pixels (height x width) does not fit a {format} file, \
                     which holds up to {max} along an axis"
                )?;
                if let Some(bytes) = max_bytes {
                    write!(f, " and {}", halovae_engine::format_bytes(*bytes))?;
                }
                write!(f, "; write {instead}")
            }
            Self::GifSides { sides: [height, width], max } => write!(
                f,
                "a .gif has up to {max} pixels along an axis, and these have {height} x {width} (height x \
                 width); write .png with {}, or .y4m",
                option("animated")
            ),
            Self::H264Sides { sides: [height, width], least, most: [short, long] } => write!(
                f,
                "the built-in H.264 has frames of {least} x {least} to {short} x {long} pixels, and these \
                 have {height} x {width} (height x width); give {} libx264 for that of an installed \
                 ffmpeg, or write .y4m",
                option("codec")
            ),
            Self::OddSides { sides: [height, width], format } => write!(
                f,
                "its codec has frames of even sides, and these have {height} x {width} (height x width); \
                 give {}, which repeats the last row or column, or write .y4m, or frames such as %05d.png \
                 instead of a {format}",
                option("pad")
            ),
            Self::GifRate { rate, hundredths: [least, most] } => write!(
                f,
                "a .gif shows frames for {least}/100 s to {most}/100 s, and not {rate} in a second; give \
                 another {}, or write .png with {}, or .mp4",
                option("fps"),
                option("animated")
            ),
            Self::Rate { rate, format, most } => write!(
                f,
                "an {format} has frames in a second as a fraction of numbers up to {most}, and not {rate}; \
                 give another {}",
                option("fps")
            ),
            Self::PreviewOfImages => write!(
                f,
                "{} shows frames of a video, and the decoder gives images; leave it out",
                option("preview")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_fields_or_flags() {
        let sides = [17, 19];
        let (rate, format) = (FrameRate::DEFAULT, ".mp4");
        for (unfit, options) in [
            (
                Unfit::OneImage {
                    format: "PNG",
                    frames: 5,
                    has_alpha: true,
                    extension: "png".into(),
                },
                &["animated"][..],
            ),
            (
                Unfit::OneImage {
                    format: "TIFF",
                    frames: 5,
                    has_alpha: false,
                    extension: "tif".into(),
                },
                &[],
            ),
            (Unfit::Transparency { format, is_video: true }, &["animated"]),
            (Unfit::Transparency { format: "JPEG", is_video: false }, &[]),
            (Unfit::GifSides { sides, max: 5 }, &["animated"]),
            (Unfit::H264Sides { sides, least: 16, most: [2160, 3840] }, &["codec"]),
            (Unfit::OddSides { sides, format }, &["pad"]),
            (Unfit::GifRate { rate, hundredths: [2, 65535] }, &["fps", "animated"]),
            (Unfit::Rate { rate, format, most: 5 }, &["fps"]),
            (Unfit::PreviewOfImages, &["preview"]),
        ] {
            let (plain, flagged) = (unfit.to_string(), format!("{unfit:#}"));
            assert!(!plain.contains("--"), "{plain}");
            let flags = flagged.matches("--").count();
            assert_eq!(flags, options.len(), "{flagged}");
            for option in options {
                assert!(plain.contains(option), "{plain}");
                assert!(flagged.contains(&format!("--{option}")), "{flagged}");
            }
            // As the sinks fail with it.
            assert_eq!(format!("{:#}", io::Error::from(unfit)), flagged);
        }
    }
}
