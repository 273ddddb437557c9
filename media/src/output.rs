//! A file or a pipe that results are written to.

use std::path::{Path, PathBuf};

use halovae_engine::tensor::Shape;

use crate::error::OutputError;
use crate::file_sink::FileSink;
use crate::format::Format;
use crate::frame_rate::FrameRate;
use crate::names::Names;
use crate::options::Options;
use crate::pictures::{self, Pictures};
use crate::planar::{self, Planar};
use crate::preview::{self, Preview};
use crate::unfit::Unfit;
use crate::video::y4m::{self, Y4m};
use crate::video::{self, Videos};
use crate::{npy, place, safetensors};

/// An output that can be written, as far as can be told before it is.
#[derive(Clone, Debug)]
pub struct OutputFile {
    /// What its files are called; without names it is standard output.
    names: Option<Names>,
    path: PathBuf,
    format: Format,
    options: Options,
}

impl OutputFile {
    /// Checks what is so for any result: the extension, the options, and the folder. Without a path it
    /// is standard output, which takes what `.y4m` does.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn check(path: Option<&Path>, options: Options) -> Result<Self, OutputError> {
        let Some(path) = path else {
            let path = PathBuf::from("-");
            let format = Format::of_stdout(&path, &options)?;
            if options.preview.is_some() {
                return Err(OutputError::PreviewOfStdout);
            }
            return Ok(Self { names: None, path, format, options });
        };
        // A folder or a device is the likelier mistake than a missing extension.
        place::check_file_name(path)?;
        let format = Format::of(path, &options)?;
        let names = match format {
            Format::Picture(_) => Names::of_frames(path)?,
            _ if Names::of_frames(path)?.has_frames() => {
                return Err(OutputError::Numbered { path: path.into() });
            }
            _ => Names::of_videos(path),
        };
        place::check_folder(path)?;
        Ok(Self { names: Some(names), path: path.into(), format, options })
    }

    /// The names of all files for a result of that shape.
    ///
    /// # Errors
    /// That the format cannot hold it.
    pub fn files(&self, shape: Shape) -> Result<Vec<PathBuf>, OutputError> {
        let fits = match &self.format {
            Format::Picture(format) => match &self.names {
                Some(names) if !names.has_frames() && shape.frames > 1 => Err(Unfit::OneImage {
                    format: format.name(),
                    frames: shape.frames,
                    has_alpha: shape.channels == 4,
                    extension: self.path.extension().unwrap_or_default().to_string_lossy().into(),
                }),
                _ => format.check(shape, self.options.bit_depth).map(drop),
            },
            Format::Y4m if self.is_stdout() && shape.batch > 1 => {
                Err(Unfit::OneVideo { videos: shape.batch })
            }
            Format::Y4m => y4m::check(shape, self.options.bit_depth).map(drop),
            Format::Video(format) => {
                let rate = self.options.fps.map_or(Ok(()), |rate| format.check_rate(rate));
                rate.and_then(|()| format.fit(shape).map(drop))
            }
            Format::Npy | Format::Safetensors => planar::check(shape).map(drop),
        };
        fits.map_err(|problem| OutputError::Unfit { path: self.path.clone(), problem })?;
        Ok(match (&self.names, &self.format) {
            (None, _) => Vec::new(),
            (Some(_), Format::Npy | Format::Safetensors) => vec![self.path.clone()],
            (Some(names), _) => names.all(shape.batch, shape.frames),
        })
    }

    /// Tries what cannot be known otherwise: where an installed ffmpeg encodes, it encodes one black frame
    /// of a result of that shape, into a temporary file beside the output. That takes a moment, of slow
    /// encoders some seconds, and is over after 20 seconds. What [`files`](Self::files) refuses is not
    /// tried. There are `rate` frames in a second unless another number was given.
    ///
    /// # Errors
    /// What ffmpeg says.
    pub fn probe(&self, shape: Shape, rate: FrameRate) -> Result<(), OutputError> {
        let Format::Video(format) = &self.format else { return Ok(()) };
        let Some(names) = &self.names else { return Ok(()) };
        let first = names.get(0, shape.batch, 0);
        format.probe(&first, Shape { batch: 1, ..shape }, self.rate(rate))
    }

    /// Frames in a second: as asked for, else `rate`.
    fn rate(&self, rate: FrameRate) -> FrameRate {
        self.options.fps.unwrap_or(rate)
    }

    /// The most bytes of this process that the [sink](Self::sink) holds for a result of that shape: of the
    /// formats of pictures that are encoded as a whole the pixels and what their encoders make of them, of
    /// videos the frames that are made of rows, wait, and are encoded, of all some rows and buffers. It is an
    /// upper bound, but for the memory of OpenH264, which was measured. An ffmpeg that encodes is
    /// a process of its own, and takes more.
    pub fn bytes(&self, shape: Shape) -> u64 {
        let depth = self.options.bit_depth;
        let sink = match &self.format {
            &Format::Picture(format) => pictures::bytes(shape, format, depth),
            Format::Y4m => y4m::bytes(shape, depth),
            Format::Video(format) => video::bytes(shape, format.as_ref()),
            Format::Npy | Format::Safetensors => planar::bytes(shape),
        };
        let previews = self.options.preview.map_or(0, |_| preview::bytes(shape));
        sink.saturating_add(previews)
    }

    /// The names of the pictures that show frames of a result of that shape while others are decoded,
    /// if that was asked for.
    ///
    /// # Errors
    /// That it has no such frames.
    pub fn previews(&self, shape: Shape) -> Result<Vec<PathBuf>, OutputError> {
        let Some((every, names)) = self.options.preview.zip(self.names.as_ref()) else {
            return Ok(Vec::new());
        };
        preview::names(names, every, shape)
            .map_err(|problem| OutputError::Unfit { path: self.path.clone(), problem })
    }

    /// A frame of an earlier, longer video that a reader of the numbered frames would take for this
    /// one's next.
    pub fn frame_left_over(&self, shape: Shape) -> Option<PathBuf> {
        self.names.as_ref()?.frame_left_over(shape.batch, shape.frames)
    }

    /// Whether it holds values beyond the range of a picture as they are.
    pub fn is_raw(&self) -> bool {
        matches!(self.format, Format::Npy | Format::Safetensors)
    }

    /// Whether it is standard output.
    pub fn is_stdout(&self) -> bool {
        self.names.is_none()
    }

    /// Whether it says how many frames there are in a second, and nothing has told that.
    pub fn lacks_rate(&self) -> bool {
        self.format.has_rate() && self.options.fps.is_none()
    }

    /// The sink that writes it; with `rate` frames in a second unless another number was given.
    pub fn sink(&self, rate: FrameRate) -> Box<dyn FileSink> {
        let sink = self.plain_sink(rate);
        match self.options.preview.zip(self.names.clone()) {
            Some((every, names)) => Box::new(Preview::new(sink, names, every)),
            None => sink,
        }
    }

    /// The one that writes the files themselves.
    fn plain_sink(&self, rate: FrameRate) -> Box<dyn FileSink> {
        let path = self.path.clone();
        let rate = self.rate(rate);
        match (&self.format, self.names.clone()) {
            (&Format::Picture(format), Some(names)) => {
                Box::new(Pictures::new(names, format, self.options.bit_depth))
            }
            (Format::Video(format), Some(names)) => {
                Box::new(Videos::new(names, format.clone(), rate))
            }
            (Format::Npy, _) => Box::new(Planar::new(path, npy::header)),
            (Format::Safetensors, _) => Box::new(Planar::new(path, safetensors::header)),
            (Format::Picture(_) | Format::Video(_) | Format::Y4m, names) => {
                Box::new(Y4m::new(names, rate, self.options.bit_depth))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::Depth;

    fn eight() -> Options {
        Options::default()
    }

    #[test]
    fn impossible_outputs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, options| {
            OutputFile::check(Some(&folder.path().join(name)), options).unwrap_err()
        };
        let check = |name: &str| refused(name, eight());
        assert!(matches!(check("a.bmp"), OutputError::Extension { extension: Some(_), .. }));
        assert!(matches!(check("a"), OutputError::Extension { extension: None, .. }));
        assert!(format!("{:#}", check("a.AVI")).contains("--output - | ffmpeg"));
        assert!(matches!(check("%05d.npy"), OutputError::Numbered { .. }));
        assert!(matches!(check("none/a.png"), OutputError::NoFolder { .. }));
        assert!(matches!(check("%d-%d.png"), OutputError::Fields { .. }));
        for end in ["/", "//", "/.", "/./", "//.", "/.."] {
            assert!(matches!(check(&format!("a.png{end}")), OutputError::NotAFile { .. }), "{end}");
        }
        std::fs::create_dir(folder.path().join("b.png")).unwrap();
        assert!(matches!(check("b.png"), OutputError::NotAFile { .. }));
        assert!(matches!(check(""), OutputError::NotAFile { .. }));
        let deep = |name: &str| refused(name, Options { bit_depth: Depth::Sixteen, ..eight() });
        assert!(matches!(deep("a.jpg"), OutputError::BitDepth { format: "JPEG", .. }));
        assert!(matches!(deep("a.webp"), OutputError::BitDepth { format: "WebP", .. }));
        assert!(matches!(deep("a.mp4"), OutputError::BuiltInDepth { .. }));
        assert!(matches!(deep("a.npy"), OutputError::RawDepth { .. }));
        let timed = Options { fps: Some(FrameRate::DEFAULT), ..eight() };
        for name in ["a.png", "%05d.png", "a.npy", "a.safetensors"] {
            assert!(matches!(refused(name, timed.clone()), OutputError::Rate { .. }), "{name}");
        }
        for name in ["a.y4m", "a.mp4"] {
            assert!(OutputFile::check(Some(&folder.path().join(name)), timed.clone()).is_ok());
        }
        let quality = |crf| Options { crf: Some(crf), ..eight() };
        assert!(matches!(refused("a.png", quality(20)), OutputError::NoChoice { .. }));
        for crf in [0, 11, 52] {
            assert!(matches!(refused("a.mp4", quality(crf)), OutputError::Quality { .. }));
        }
        let padded = Options { pad: true, ..eight() };
        assert!(matches!(refused("a.y4m", padded), OutputError::NoChoice { .. }));
    }

    #[test]
    fn several_frames_need_a_format_that_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        let video = Shape::new(2, 8, 8, 3).over(5);
        let files = |name: &str, shape| {
            let output = OutputFile::check(Some(&folder.path().join(name)), eight()).unwrap();
            output.files(shape).map(|files| files.len()).map_err(|error| error.to_string())
        };
        for (name, count) in [("a.y4m", 2), ("%05d.png", 10), ("a.npy", 1), ("a.safetensors", 1)] {
            assert_eq!(files(name, video), Ok(count), "{name}");
        }
        for name in ["a.png", "a.jpg", "a.webp", "a.tiff"] {
            let refused = files(name, video).unwrap_err();
            for word in ["5 frames", ".y4m", ".npy", &format!("%05d.{}", &name[2..])] {
                assert!(refused.contains(word), "{refused}");
            }
            assert_eq!(files(name, video.over(1)), Ok(2), "{name}");
        }
    }
}
