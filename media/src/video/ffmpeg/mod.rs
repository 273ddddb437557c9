//! Videos by the program ffmpeg, if it is installed: any of its encoders, in the containers that it writes.

mod arguments;
mod child;
mod encoder_help;
mod probe;
mod said;

use std::io;
use std::path::Path;

use halovae_engine::tensor::Shape;

use super::encoder::{Encoder, Video};
use super::frames::Layout;
use super::planes::{Samples, Siting};
use super::{VideoFormat, check_colours, fit_even};
use crate::error::OutputError;
use crate::frame_rate::FrameRate;
use crate::pixel::Depth;
use crate::temporary::{Stages, Temporary};
use crate::unfit::Unfit;
use arguments::{Arguments, Input};
use child::{Ffmpeg, Target};
use encoder_help::EncoderHelp;

/// What holds the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Mp4,
    Mov,
    Matroska,
    Webm,
}

impl Container {
    /// The encoder that is taken if none is named.
    pub(crate) fn codec(self) -> &'static str {
        match self {
            Self::Mp4 | Self::Mov | Self::Matroska => "libx264",
            Self::Webm => "libvpx-vp9",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => ".mp4",
            Self::Mov => ".mov",
            Self::Matroska => ".mkv",
            Self::Webm => ".webm",
        }
    }
}

/// An encoder of ffmpeg that is there, as far as ffmpeg tells.
#[derive(Clone, Debug)]
pub(crate) struct ByFfmpeg {
    container: Container,
    codec: String,
    crf: Option<u8>,
    input: Input,
    pads: bool,
}

/// Visually lossless for photographs, where ffmpeg's own default is not. Other encoders have theirs.
fn default_crf(codec: &str) -> Option<u8> {
    match codec {
        "libx264" | "libx265" => Some(18),
        "libvpx-vp9" => Some(20),
        _ => None,
    }
}

impl ByFfmpeg {
    /// Asks ffmpeg for the encoder `codec`.
    ///
    /// # Errors
    /// That there is no ffmpeg, or no such encoder, or that it has not that depth or quality.
    pub(crate) fn find(
        path: &Path,
        container: Container,
        codec: &str,
        depth: Depth,
        crf: Option<u8>,
        pads: bool,
    ) -> Result<Self, OutputError> {
        let path = || path.to_path_buf();
        let help = EncoderHelp::ask(codec).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OutputError::NoFfmpeg { path: path() },
            _ => OutputError::Ffmpeg { path: path(), source: error },
        })?;
        let Some(help) = help else {
            return Err(OutputError::NoEncoder { path: path(), codec: codec.into() });
        };
        if crf.is_some() && !help.has_crf {
            return Err(OutputError::NoCrf { path: path(), codec: codec.into() });
        }
        let input = Input::of(&help.pixel_formats, depth);
        let input =
            input.ok_or_else(|| OutputError::CodecDepth { path: path(), codec: codec.into() })?;
        let crf = crf.or_else(|| default_crf(codec).filter(|_| help.has_crf));
        Ok(Self { container, codec: codec.into(), crf, input, pads })
    }
}

impl ByFfmpeg {
    /// Has ffmpeg write that file.
    fn start(&self, file: &mut Temporary, video: Video) -> io::Result<Ffmpeg> {
        let staged = file.staged_name().ok_or_else(|| io::Error::other("a file without a name"))?;
        let Self { container, codec, crf, input, .. } = self;
        let arguments = Arguments { container: *container, codec, crf: *crf, input: *input, video };
        let to = Target { staged: staged.to_path_buf(), shown: file.target().to_path_buf() };
        let ffmpeg = Ffmpeg::start(&arguments.list(&to.staged), to)?;
        file.close();
        Ok(ffmpeg)
    }
}

impl VideoFormat for ByFfmpeg {
    fn fit(&self, shape: Shape) -> Result<Shape, Unfit> {
        check_colours(shape, self.container.extension())?;
        match self.input {
            Input::Planes { .. } => fit_even(shape, self.pads, self.container.extension()),
            Input::Pixels { .. } => Ok(shape),
        }
    }

    fn layout(&self) -> Layout {
        match self.input {
            Input::Planes { bits } => {
                Layout::Planes(Samples { bits, siting: Siting::Left, fills_gray: true })
            }
            Input::Pixels { depth, .. } => Layout::Pixels(depth),
        }
    }

    fn needs_name(&self) -> bool {
        true
    }

    /// Frames go to ffmpeg as they are, and its memory is not this process's.
    fn encoder_bytes(&self, _: Shape) -> u64 {
        0
    }

    /// One hands it frames, and one reads what it says.
    fn threads(&self) -> u64 {
        2
    }

    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>> {
        Ok(Box::new(self.start(file, video)?))
    }

    fn probe(&self, path: &Path, shape: Shape, rate: FrameRate) -> Result<(), OutputError> {
        let path = path.to_path_buf();
        let even = match self.fit(shape) {
            Ok(even) => even,
            Err(problem) => return Err(OutputError::Unfit { path, problem }),
        };
        let try_it = || {
            // Dropped behind the file.
            let mut stages = Stages::default();
            let mut file = Temporary::create_in(&mut stages, &path)?;
            let ffmpeg = self.start(&mut file, Video { shape: even, rate })?;
            probe::encode_black(ffmpeg, [shape, even], self.layout())
        };
        match try_it() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(said)) => Err(OutputError::Refused { path, codec: self.codec.clone(), said }),
            Err(source) => Err(OutputError::Ffmpeg { path, source }),
        }
    }
}
