//! Images and videos into files and pipes: a format by file extension, and a
//! [`Sink`](halovae_engine::sink::Sink) that writes it.
//!
//! Whatever can be known to fail is refused before anything is decoded: the extension and the
//! folder in [`OutputFile::check`], sizes, channels and all names in [`OutputFile::files`] and
//! [`check_all`]. Files get their names only when all of them are complete: a [`FileSink`] gives
//! [`Temporary`] files, and [`Temporary::commit`] names them, all or none.

mod disk_room;
mod encoded;
mod error;
mod file_sink;
mod frame_rate;
mod given;
mod identity;
mod latch;
mod names;
mod npy;
mod picture;
mod pictures;
mod pixel;
mod place;
mod planar;
mod png;
mod safetensors;
mod stage;
mod take_over;
mod temporary;
mod tiff;
#[cfg(target_os = "linux")]
mod unnamed;
mod written;
mod y4m;
mod yuv;

use std::path::{Path, PathBuf};

use halovae_engine::tensor::Shape;

use encoded::EncodedFormat;
pub use error::OutputError;
pub use file_sink::FileSink;
pub use frame_rate::FrameRate;
use names::Names;
use pictures::{PictureFormat, Pictures};
pub use pixel::Depth;
pub use place::{check_place, check_scratch};
use planar::Planar;
pub use planar::channels_first;
pub use temporary::Temporary;
pub use written::{Written, check_all};
use y4m::Y4m;

/// What a file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Images of 8 or 16 bits a channel.
    Picture(PictureFormat),
    /// Videos of 8 bits a channel.
    Y4m,
    /// Raw f32 in numpy's format.
    Npy,
    /// Raw f32 under the key `sample`.
    Safetensors,
}

const EXTENSIONS: [(&str, Format); 9] = [
    ("png", Format::Picture(PictureFormat::Png)),
    ("jpg", Format::Picture(PictureFormat::Encoded(EncodedFormat::Jpeg))),
    ("jpeg", Format::Picture(PictureFormat::Encoded(EncodedFormat::Jpeg))),
    ("webp", Format::Picture(PictureFormat::Encoded(EncodedFormat::Webp))),
    ("tiff", Format::Picture(PictureFormat::Encoded(EncodedFormat::Tiff))),
    ("tif", Format::Picture(PictureFormat::Encoded(EncodedFormat::Tiff))),
    ("y4m", Format::Y4m),
    ("npy", Format::Npy),
    ("safetensors", Format::Safetensors),
];

/// How an output is to be written, beside its format.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bits a channel.
    pub depth: Depth,
    /// Frames in a second, if that is given.
    pub rate: Option<FrameRate>,
}

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
            let (path, format) = (PathBuf::from("-"), Format::Y4m);
            format.check(&path, options)?;
            return Ok(Self { names: None, path, format, options });
        };
        // A folder or a device is the likelier mistake than a missing extension.
        place::check_file_name(path)?;
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        let format = extension.as_ref().and_then(|extension| {
            let known = EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
            known.map(|&(_, format)| format)
        });
        let Some(format) = format else {
            let extension = extension.map(|extension| extension.escape_debug().to_string());
            return Err(OutputError::Extension { path: path.into(), extension });
        };
        format.check(path, options)?;
        let names = match format {
            Format::Picture(_) => Names::of_frames(path)?,
            _ if Names::of_frames(path)?.has_frames() => {
                return Err(OutputError::Numbered { path: path.into() });
            }
            Format::Y4m | Format::Npy | Format::Safetensors => Names::of_videos(path),
        };
        place::check_folder(path)?;
        Ok(Self { names: Some(names), path: path.into(), format, options })
    }

    /// The names of all files for a result of that shape.
    ///
    /// # Errors
    /// That the format cannot hold it.
    pub fn files(&self, shape: Shape) -> Result<Vec<PathBuf>, OutputError> {
        let fits = match self.format {
            Format::Picture(format) => match &self.names {
                Some(names) if !names.has_frames() && shape.frames > 1 => Err(format!(
                    "a {} holds one image, and the decoder gives {} frames; write .y4m, .npy or \
                     .safetensors, or number the frames, as in %05d.{}",
                    format.name(),
                    shape.frames,
                    self.path.extension().unwrap_or_default().display()
                )),
                _ => format.check(shape, self.options.depth).map(drop),
            },
            Format::Y4m if self.is_stdout() && shape.batch > 1 => Err(format!(
                "standard output takes one video, and the latents are {}; write a .y4m, which becomes \
                 one file for each",
                shape.batch
            )),
            Format::Y4m => y4m::check(shape).map(drop),
            Format::Npy | Format::Safetensors => planar::check(shape).map(drop),
        };
        fits.map_err(|problem| OutputError::Unfit { path: self.path.clone(), problem })?;
        Ok(match (&self.names, self.format) {
            (None, _) => Vec::new(),
            (Some(_), Format::Npy | Format::Safetensors) => vec![self.path.clone()],
            (Some(names), Format::Picture(_) | Format::Y4m) => names.all(shape.batch, shape.frames),
        })
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
        self.format == Format::Y4m && self.options.rate.is_none()
    }

    /// The sink that writes it; with `rate` frames in a second unless another number was given.
    pub fn sink(&self, rate: FrameRate) -> Box<dyn FileSink> {
        let path = self.path.clone();
        match (self.format, self.names.clone()) {
            (Format::Picture(format), Some(names)) => {
                Box::new(Pictures::new(names, format, self.options.depth))
            }
            (Format::Npy, _) => Box::new(Planar::new(path, npy::header)),
            (Format::Safetensors, _) => Box::new(Planar::new(path, safetensors::header)),
            (Format::Picture(_) | Format::Y4m, names) => {
                Box::new(Y4m::new(names, self.options.rate.unwrap_or(rate)))
            }
        }
    }
}

impl Format {
    /// Whether the format takes these options.
    fn check(self, path: &Path, Options { depth, rate }: Options) -> Result<(), OutputError> {
        let path = || path.to_path_buf();
        match self {
            Self::Picture(format) if !format.holds(depth) => {
                return Err(OutputError::BitDepth { path: path(), format: format.name() });
            }
            Self::Y4m if depth != Depth::Eight => {
                return Err(OutputError::BitDepth { path: path(), format: "Y4M" });
            }
            Self::Npy | Self::Safetensors if depth != Depth::Eight => {
                return Err(OutputError::RawDepth { path: path() });
            }
            _ => {}
        }
        match rate {
            Some(_) if self != Self::Y4m => Err(OutputError::Rate { path: path() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: Options = Options { depth: Depth::Eight, rate: None };

    #[test]
    fn extension_decides_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        for (extension, format) in EXTENSIONS {
            for name in [format!("a.{extension}"), format!("a.{}", extension.to_uppercase())] {
                let output = OutputFile::check(Some(&folder.path().join(name)), EIGHT).unwrap();
                assert_eq!(output.format, format);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn impossible_outputs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, options| {
            OutputFile::check(Some(&folder.path().join(name)), options).unwrap_err()
        };
        let check = |name: &str| refused(name, EIGHT);
        assert!(matches!(check("a.bmp"), OutputError::Extension { extension: Some(_), .. }));
        assert!(matches!(check("a"), OutputError::Extension { extension: None, .. }));
        assert!(check("a.MP4").to_string().contains("--output - | ffmpeg"));
        assert!(matches!(check("%05d.npy"), OutputError::Numbered { .. }));
        assert!(matches!(check("none/a.png"), OutputError::NoFolder { .. }));
        assert!(matches!(check("%d-%d.png"), OutputError::Fields { .. }));
        for end in ["/", "//", "/.", "/./", "//.", "/.."] {
            assert!(matches!(check(&format!("a.png{end}")), OutputError::NotAFile { .. }), "{end}");
        }
        std::fs::create_dir(folder.path().join("b.png")).unwrap();
        assert!(matches!(check("b.png"), OutputError::NotAFile { .. }));
        assert!(matches!(check(""), OutputError::NotAFile { .. }));
        let deep = |name: &str| refused(name, Options { depth: Depth::Sixteen, rate: None });
        assert!(matches!(deep("a.jpg"), OutputError::BitDepth { format: "JPEG", .. }));
        assert!(matches!(deep("a.webp"), OutputError::BitDepth { format: "WebP", .. }));
        assert!(matches!(deep("a.y4m"), OutputError::BitDepth { format: "Y4M", .. }));
        assert!(matches!(deep("a.npy"), OutputError::RawDepth { .. }));
        let timed = Options { rate: Some(FrameRate::DEFAULT), ..EIGHT };
        for name in ["a.png", "%05d.png", "a.npy", "a.safetensors"] {
            assert!(matches!(refused(name, timed), OutputError::Rate { .. }), "{name}");
        }
        assert!(OutputFile::check(Some(&folder.path().join("a.y4m")), timed).is_ok());
    }

    #[test]
    fn several_frames_need_a_format_that_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        let video = Shape::new(2, 8, 8, 3).over(5);
        let files = |name: &str, shape| {
            let output = OutputFile::check(Some(&folder.path().join(name)), EIGHT).unwrap();
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
