//! What ffmpeg is told.

use std::ffi::OsString;
use std::path::Path;

use super::Container;
use crate::pixel::Depth;
use crate::video::encoder::Video;

/// How frames go to ffmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// As the encoder takes them: chroma at half the resolution, samples of so many bits.
    Planes { bits: u8 },
    /// Pixel by pixel, for encoders that take no such chroma; ffmpeg converts, to planes of luma and
    /// chroma if the encoder takes these.
    Pixels { depth: Depth, to_planes: bool },
}

/// Pixel formats that planes are made for, the deepest first.
const PLANES: [(&str, u8); 5] = [
    ("yuv420p16le", 16),
    ("yuv420p14le", 14),
    ("yuv420p12le", 12),
    ("yuv420p10le", 10),
    ("yuv420p", 8),
];

impl Input {
    /// That of an encoder that takes these pixel formats; for 16 bits the deepest that it has, and
    /// `None` if none has more than 8.
    pub(super) fn of(pixel_formats: &[String], depth: Depth) -> Option<Self> {
        let takes = |name: &str| pixel_formats.iter().any(|format| format == name);
        let is_deep = |format: &String| {
            let digits = format.trim_end_matches("le").trim_end_matches("be");
            ["9", "10", "12", "14", "16", "48", "64"].iter().any(|bits| digits.ends_with(bits))
                && !format.starts_with("nv")
        };
        let is_wanted = |bits: u8| match depth {
            Depth::Eight => bits == 8,
            Depth::Sixteen => bits > 8,
        };
        let planes = PLANES.iter().find(|(name, bits)| is_wanted(*bits) && takes(name));
        match (planes, depth) {
            (Some(&(_, bits)), _) => Some(Self::Planes { bits }),
            (None, Depth::Sixteen) if !pixel_formats.iter().any(is_deep) => None,
            // One that does not say what it takes gets what most take.
            (None, Depth::Eight) if pixel_formats.is_empty() => Some(Self::Planes { bits: 8 }),
            (None, depth) => {
                let to_planes = pixel_formats.iter().any(|format| format.starts_with("yuv"));
                Some(Self::Pixels { depth, to_planes })
            }
        }
    }

    /// ffmpeg's name for frames of so many channels.
    fn pixel_format(self, channels: usize) -> &'static str {
        match self {
            Self::Planes { bits } => {
                PLANES.iter().find(|(_, known)| *known == bits).map_or("yuv420p", |(name, _)| name)
            }
            Self::Pixels { depth: Depth::Eight, .. } if channels == 1 => "gray",
            Self::Pixels { depth: Depth::Eight, .. } => "rgb24",
            Self::Pixels { .. } if channels == 1 => "gray16be",
            Self::Pixels { .. } => "rgb48be",
        }
    }
}

/// Frames as they come, in the colours that they have.
const TAGGED: &str = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709";
/// The same of pixels, which ffmpeg converts for the encoder.
const CONVERTED: &str = "scale=out_color_matrix=bt709:out_range=tv:sws_flags=accurate_rnd+full_chroma_int,\
                         setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709";

/// What an encode is told by.
pub(super) struct Arguments<'a> {
    pub(super) container: Container,
    pub(super) codec: &'a str,
    pub(super) crf: Option<u8>,
    pub(super) input: Input,
    pub(super) video: Video,
}

impl Arguments<'_> {
    /// The arguments that read raw frames from standard input and write the file.
    pub(super) fn list(&self, to: &Path) -> Vec<OsString> {
        let Self { container, codec, crf, input, video } = self;
        let shape = video.shape;
        let pixel_format = input.pixel_format(shape.channels);
        let size = format!("{}x{}", shape.width, shape.height);
        let rate = format!("{}/{}", video.rate.frames(), video.rate.seconds());
        let mut list: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| list.extend(words.iter().map(|&word| word.to_owned()));
        add(&["-hide_banner", "-nostdin", "-loglevel", "error", "-xerror", "-y"]);
        add(&["-f", "rawvideo", "-pixel_format", pixel_format, "-video_size", &size]);
        add(&["-framerate", &rate, "-i", "pipe:0", "-map", "0:v", "-c:v", codec]);
        if let Some(crf) = crf {
            add(&["-crf", &crf.to_string()]);
            if codec.starts_with("libvpx") || codec.starts_with("libaom") {
                // Else the quality is only a bound beside a bit rate.
                add(&["-b:v", "0"]);
            }
        }
        let bt709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"];
        match input {
            Input::Planes { .. } => {
                add(&["-pix_fmt", pixel_format, "-vf", TAGGED]);
                add(&bt709);
                add(&["-color_range", "tv", "-chroma_sample_location", "left"]);
            }
            Input::Pixels { to_planes: true, .. } => {
                add(&["-vf", CONVERTED]);
                add(&bt709);
                add(&["-color_range", "tv"]);
            }
            Input::Pixels { .. } => {}
        }
        let is_hevc = codec.contains("265") || codec.contains("hevc");
        match container {
            Container::Mp4 | Container::Mov => {
                if is_hevc {
                    // The tag that Apple's players want.
                    add(&["-tag:v", "hvc1"]);
                }
                add(&["-movflags", "+faststart+write_colr", "-f"]);
                add(&[if *container == Container::Mp4 { "mp4" } else { "mov" }]);
            }
            Container::Matroska => add(&["-f", "matroska"]),
            Container::Webm => add(&["-f", "webm"]),
        }
        let mut list: Vec<OsString> = list.into_iter().map(OsString::from).collect();
        // Whatever the name is, it is no flag and no protocol.
        let mut file = OsString::from("file:");
        file.push(to);
        list.push(file);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_as_the_encoder_takes_them() {
        let of = |formats: &str, depth| {
            let formats: Vec<String> = formats.split_whitespace().map(str::to_owned).collect();
            Input::of(&formats, depth)
        };
        let (eight, sixteen) = (Depth::Eight, Depth::Sixteen);
        let x265 = "yuv420p yuvj420p gbrp yuv420p10le yuv444p10le yuv420p12le gray10le";
        assert_eq!(of(x265, eight), Some(Input::Planes { bits: 8 }));
        assert_eq!(of(x265, sixteen), Some(Input::Planes { bits: 12 }));
        assert_eq!(of("yuv420p yuva420p nv12 nv16", sixteen), None);
        assert_eq!(of("", eight), Some(Input::Planes { bits: 8 }));
        assert_eq!(of("", sixteen), None);
        let prores = "yuv422p10le yuv444p10le yuva444p10le";
        assert_eq!(of(prores, sixteen), Some(Input::Pixels { depth: sixteen, to_planes: true }));
        assert_eq!(of(prores, eight), Some(Input::Pixels { depth: eight, to_planes: true }));
        let png = "rgb24 rgba rgb48be gray";
        assert_eq!(of(png, sixteen), Some(Input::Pixels { depth: sixteen, to_planes: false }));
    }
}
