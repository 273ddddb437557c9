//! Where images go: a format by file extension, and a sink that writes it.
//!
//! Whatever can be known to fail is refused before anything is decoded: the extension and the
//! folder in [`OutputFile::check`], sizes, channels and all names in [`OutputFile::files`] and
//! [`check_all`]. Files get their names only when all images are complete.

mod encoded;
mod error;
mod given;
mod identity;
mod latch;
mod npy;
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

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use halovae_engine::sink::Sink;
use halovae_engine::tensor::Shape;

use encoded::EncodedFormat;
pub(crate) use error::OutputError;
use pictures::{PictureFormat, Pictures};
pub(crate) use pixel::Depth;
pub(crate) use place::{check_place, check_scratch};
use planar::Planar;
pub(crate) use temporary::Temporary;
pub(crate) use written::{Written, check_all};

/// A sink into files.
pub(crate) trait FileSink: Sink {
    /// The files, complete but for their names.
    ///
    /// # Errors
    /// That rows are missing; then no file stays.
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>>;
}

/// What a file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Images of 8 or 16 bits a channel.
    Picture(PictureFormat),
    /// Raw f32 in numpy's format.
    Npy,
    /// Raw f32 under the key `sample`.
    Safetensors,
}

const EXTENSIONS: [(&str, Format); 8] = [
    ("png", Format::Picture(PictureFormat::Png)),
    ("jpg", Format::Picture(PictureFormat::Encoded(EncodedFormat::Jpeg))),
    ("jpeg", Format::Picture(PictureFormat::Encoded(EncodedFormat::Jpeg))),
    ("webp", Format::Picture(PictureFormat::Encoded(EncodedFormat::Webp))),
    ("tiff", Format::Picture(PictureFormat::Encoded(EncodedFormat::Tiff))),
    ("tif", Format::Picture(PictureFormat::Encoded(EncodedFormat::Tiff))),
    ("npy", Format::Npy),
    ("safetensors", Format::Safetensors),
];

/// An output that can be written, as far as can be told before it is.
#[derive(Clone, Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    format: Format,
    depth: Depth,
}

impl OutputFile {
    /// Checks what is so for any image: the extension, the bits a channel, and the folder.
    ///
    /// # Errors
    /// [`OutputError`].
    pub(crate) fn check(path: &Path, depth: Depth) -> Result<Self, OutputError> {
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
        match format {
            Format::Picture(format) if !format.holds(depth) => {
                return Err(OutputError::BitDepth { path: path.into(), format: format.name() });
            }
            Format::Npy | Format::Safetensors if depth != Depth::Eight => {
                return Err(OutputError::RawDepth { path: path.into() });
            }
            _ => {}
        }
        place::check_folder(path)?;
        Ok(Self { path: path.into(), format, depth })
    }

    /// The names of all files for a result of that shape.
    ///
    /// # Errors
    /// That the format cannot hold it.
    pub(crate) fn files(&self, shape: Shape) -> Result<Vec<PathBuf>, OutputError> {
        let fits = match self.format {
            _ if shape.frames > 1 => Err(format!(
                "would hold a video of {} frames, but only images are written; decode one frame of the latents",
                shape.frames
            )),
            Format::Picture(format) => format.check(shape, self.depth).map(drop),
            Format::Npy | Format::Safetensors => planar::check(shape).map(drop),
        };
        fits.map_err(|problem| OutputError::Unfit { path: self.path.clone(), problem })?;
        Ok(match self.format {
            Format::Picture(_) => {
                (0..shape.batch).map(|image| numbered(&self.path, image, shape.batch)).collect()
            }
            Format::Npy | Format::Safetensors => vec![self.path.clone()],
        })
    }

    /// Whether it holds values beyond the range of a picture as they are.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.format, Format::Npy | Format::Safetensors)
    }

    /// The sink that writes it.
    pub(crate) fn sink(&self) -> Box<dyn FileSink> {
        let path = self.path.clone();
        match self.format {
            Format::Picture(format) => Box::new(Pictures::new(path, format, self.depth)),
            Format::Npy => Box::new(Planar::new(path, npy::header)),
            Format::Safetensors => Box::new(Planar::new(path, safetensors::header)),
        }
    }
}

/// The name of image `image` of `images`: `name.png` for one, `name-0.png`, `name-1.png`, ... for
/// several.
fn numbered(path: &Path, image: usize, images: usize) -> PathBuf {
    if images == 1 {
        return path.into();
    }
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("-{image}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// An error with the file in front.
fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_decides_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        for (extension, format) in EXTENSIONS {
            for name in [format!("a.{extension}"), format!("a.{}", extension.to_uppercase())] {
                let output = OutputFile::check(&folder.path().join(name), Depth::Eight).unwrap();
                assert_eq!(output.format, format);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn impossible_outputs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused =
            |name: &str, depth| OutputFile::check(&folder.path().join(name), depth).unwrap_err();
        let check = |name: &str| refused(name, Depth::Eight);
        assert!(matches!(check("a.bmp"), OutputError::Extension { extension: Some(_), .. }));
        assert!(matches!(check("a"), OutputError::Extension { extension: None, .. }));
        assert!(matches!(check("none/a.png"), OutputError::NoFolder { .. }));
        for end in ["/", "//", "/.", "/./", "//.", "/.."] {
            assert!(matches!(check(&format!("a.png{end}")), OutputError::NotAFile { .. }), "{end}");
        }
        std::fs::create_dir(folder.path().join("b.png")).unwrap();
        assert!(matches!(check("b.png"), OutputError::NotAFile { .. }));
        assert!(matches!(check(""), OutputError::NotAFile { .. }));
        let deep = |name: &str| refused(name, Depth::Sixteen);
        assert!(matches!(deep("a.jpg"), OutputError::BitDepth { format: "JPEG", .. }));
        assert!(matches!(deep("a.webp"), OutputError::BitDepth { format: "WebP", .. }));
        assert!(matches!(deep("a.npy"), OutputError::RawDepth { .. }));
    }

    #[test]
    fn a_batch_is_numbered() {
        let path = Path::new("folder/a.b.png");
        assert_eq!(numbered(path, 0, 1), path);
        assert_eq!(numbered(path, 0, 2), Path::new("folder/a.b-0.png"));
        assert_eq!(numbered(path, 11, 12), Path::new("folder/a.b-11.png"));
    }
}
