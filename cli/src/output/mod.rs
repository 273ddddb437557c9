//! Where images go: a format by file extension, and a sink that writes it.
//!
//! Whatever can be known to fail is refused before anything is decoded: the extension and the
//! folder in [`OutputFile::check`], sizes and channels in the sink's `begin`. Files grow under
//! temporary names and get theirs only when all images are complete.

mod encoded;
mod npy;
mod pictures;
mod pixel;
mod planar;
mod png;
mod safetensors;
mod temporary;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use halovae_engine::sink::Sink;

use encoded::EncodedFormat;
use pictures::{PictureFormat, Pictures};
use planar::Planar;
pub(crate) use temporary::Temporary;

/// A sink into files.
pub(crate) trait FileSink: Sink {
    /// Gives the files their names and returns these.
    ///
    /// # Errors
    /// That rows are missing, or what the file system says; then no file stays.
    fn commit(self: Box<Self>) -> io::Result<Vec<PathBuf>>;
}

/// What a file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Images of 8 bits a channel.
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

/// Why an output cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// No format has that extension.
    #[error(
        "output `{}` {}; expected .png, .jpg, .webp, .tiff, .npy or .safetensors",
        path.display(),
        match extension {
            Some(extension) => format!("has the unknown extension .{extension}"),
            None => "has no extension, which names the format".into(),
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
}

/// An output that can be written, as far as can be told before it is.
#[derive(Clone, Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    format: Format,
}

impl OutputFile {
    /// Checks the extension and the place.
    ///
    /// # Errors
    /// [`OutputError`].
    pub(crate) fn check(path: &Path) -> Result<Self, OutputError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        let format = extension.as_ref().and_then(|extension| {
            let known = EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
            known.map(|&(_, format)| format)
        });
        let Some(format) = format else {
            // An existing folder is the likelier mistake than a missing extension.
            check_place(path)?;
            let extension = extension.map(|extension| extension.escape_debug().to_string());
            return Err(OutputError::Extension { path: path.into(), extension });
        };
        check_place(path)?;
        Ok(Self { path: path.into(), format })
    }

    /// The sink that writes it.
    pub(crate) fn sink(&self) -> Box<dyn FileSink> {
        match self.format {
            Format::Picture(format) => Box::new(Pictures::new(self.path.clone(), format)),
            Format::Npy => Box::new(Planar::new(self.path.clone(), npy::header)),
            Format::Safetensors => Box::new(Planar::new(self.path.clone(), safetensors::header)),
        }
    }
}

/// Checks that a file of that name can be created, by creating one of another name beside it.
///
/// # Errors
/// [`OutputError`].
pub(crate) fn check_place(path: &Path) -> Result<(), OutputError> {
    let path = path.to_path_buf();
    if let Ok(metadata) = path.metadata() {
        if metadata.is_dir() {
            return Err(OutputError::NotAFile { path, what: "a folder" });
        }
        if !metadata.is_file() {
            return Err(OutputError::NotAFile { path, what: "a device or a pipe" });
        }
    }
    let ends_in_separator = path.as_os_str().as_encoded_bytes().last() == Some(&b'/');
    if path.file_name().is_none() || ends_in_separator {
        return Err(OutputError::NotAFile { path, what: "the name of a folder" });
    }
    let folder = temporary::folder_of(&path);
    if !folder.is_dir() {
        return Err(OutputError::NoFolder { path, folder });
    }
    match Temporary::create(&path) {
        Ok(_) => Ok(()),
        Err(source) => Err(OutputError::Folder { path, folder, source }),
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
                let output = OutputFile::check(&folder.path().join(name)).unwrap();
                assert_eq!(output.format, format);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn impossible_outputs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str| OutputFile::check(&folder.path().join(name)).unwrap_err();
        assert!(matches!(check("a.bmp"), OutputError::Extension { extension: Some(_), .. }));
        assert!(matches!(check("a"), OutputError::Extension { extension: None, .. }));
        assert!(matches!(check("none/a.png"), OutputError::NoFolder { .. }));
        assert!(matches!(check("a.png/"), OutputError::NotAFile { .. }));
        std::fs::create_dir(folder.path().join("b.png")).unwrap();
        assert!(matches!(check("b.png"), OutputError::NotAFile { .. }));
        assert!(matches!(check(""), OutputError::NotAFile { .. }));
    }

    #[test]
    fn a_batch_is_numbered() {
        let path = Path::new("folder/a.b.png");
        assert_eq!(numbered(path, 0, 1), path);
        assert_eq!(numbered(path, 0, 2), Path::new("folder/a.b-0.png"));
        assert_eq!(numbered(path, 11, 12), Path::new("folder/a.b-11.png"));
    }
}
