//! An array in a file, before it is known how it is to be read.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::arrange::{Arrangement, Wanted, arrange};
use super::error::LatentsError;
use super::layout::Layout;
use super::packing::{Packing, TokenContent};
use super::space::LatentSpace;
use super::stored::Stored;
use super::values::Latents;
use super::{npy, tensors};
use crate::files::storage::open_regular;
use crate::files::text::{quoted, shape as shown};

/// How latents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LatentsFormat {
    /// A safetensors file, ComfyUI's `.latent` included: what makes one ComfyUI's is a tensor
    /// `latent_tensor`, whatever the file is called.
    Safetensors,
    /// One NumPy array.
    Npy,
}

impl LatentsFormat {
    /// The format of a file from its name and its first bytes. `None` if it is none of these.
    ///
    /// NumPy arrays are known by their first bytes; the rest by `.latent` or `.safetensors`, or
    /// without a known ending by the beginning of a safetensors header.
    pub fn detect(path: &Path, bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(npy::MAGIC) {
            return Some(Self::Npy);
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("latent" | "safetensors") => Some(Self::Safetensors),
            Some("npy") => Some(Self::Npy),
            _ => (bytes.get(8) == Some(&b'{')).then_some(Self::Safetensors),
        }
    }
}

impl Latents {
    /// Reads the latents in a file, as they are: [`LatentsFile::read`] and [`LatentsFile::cells`].
    ///
    /// # Errors
    /// [`LatentsError::InFile`] with the file and what is wrong with it.
    pub fn read(path: &Path, key: Option<&str>) -> Result<Self, LatentsError> {
        LatentsFile::read(path, key)?.cells()
    }

    /// Reads latents from the bytes of a file, as [`read`](Self::read).
    ///
    /// # Errors
    /// [`LatentsError`] says what is wrong with the bytes.
    pub fn from_bytes(
        bytes: &[u8],
        format: LatentsFormat,
        key: Option<&str>,
    ) -> Result<Self, LatentsError> {
        find(bytes, format, key)?.cells(bytes, None)
    }
}

/// A file of latents.
///
/// Its shape alone does not tell what it holds: a pipeline may have packed the latents for its
/// transformer. [`for_decoder`](Self::for_decoder) reads them as a certain decoder takes them.
#[derive(Debug)]
pub struct LatentsFile {
    path: PathBuf,
    bytes: Vec<u8>,
    stored: Stored,
}

/// What a decoder decodes, and what was assumed to get there.
#[derive(Clone, Debug, PartialEq)]
pub struct ForDecoder {
    /// The latents, in the VAE's space.
    pub latents: Latents,
    /// The side of the picture in pixels, if packed latents were taken for a square because nothing
    /// told their sides.
    pub square: Option<u64>,
    /// Whether a decoder of videos was given an array of four axes that is a batch of images, and no
    /// video without a batch.
    pub taken_for_images: bool,
}

/// The array in the bytes of a file; in a safetensors file ComfyUI's, the only one, or that of
/// `key`.
fn find(bytes: &[u8], format: LatentsFormat, key: Option<&str>) -> Result<Stored, LatentsError> {
    match (format, key) {
        (LatentsFormat::Safetensors, _) => tensors::find(bytes, key),
        (LatentsFormat::Npy, None) => npy::parse(bytes),
        (LatentsFormat::Npy, Some(key)) => Err(LatentsError::KeyWithoutUse { key: quoted(key) }),
    }
}

impl LatentsFile {
    /// Finds the latents in a file: `.safetensors` (ComfyUI's `latent_tensor`, else the only tensor;
    /// or that of `key`), `.npy`, or ComfyUI's `.latent`; f32, f16, bf16 or f64.
    ///
    /// # Errors
    /// [`LatentsError::InFile`] with the file and what is wrong with it.
    pub fn read(path: &Path, key: Option<&str>) -> Result<Self, LatentsError> {
        let read = || {
            let bytes = read_whole(path)?;
            let format = LatentsFormat::detect(path, &bytes)
                .ok_or(LatentsError::UnknownFormat { hint: format_hint(&bytes) })?;
            let stored = find(&bytes, format, key)?;
            Ok(Self { path: path.into(), bytes, stored })
        };
        read().map_err(|source| in_file(path, source))
    }

    /// Finds the latents in the bytes of a file, as [`read`](Self::read).
    ///
    /// # Errors
    /// As [`read`](Self::read), with `<memory>` for the file.
    pub fn from_bytes(
        bytes: Vec<u8>,
        format: LatentsFormat,
        key: Option<&str>,
    ) -> Result<Self, LatentsError> {
        let path = PathBuf::from("<memory>");
        match find(&bytes, format, key) {
            Ok(stored) => Ok(Self { path, bytes, stored }),
            Err(source) => Err(in_file(&path, source)),
        }
    }

    /// The extents of the array.
    pub fn shape(&self) -> &[usize] {
        &self.stored.shape
    }

    /// The values of an array of `[batch, channels, height, width]`, `[channels, height, width]` or
    /// `[batch, channels, 1, height, width]`.
    ///
    /// # Errors
    /// [`LatentsError::InFile`] for any other number of axes, and for values that are not finite.
    pub fn cells(&self) -> Result<Latents, LatentsError> {
        self.stored.cells(&self.bytes, None).map_err(|source| in_file(&self.path, source))
    }

    /// The latents as a decoder takes them: unpacked, and in the VAE's space. With `space` they are a
    /// pipeline's, without it they are in the VAE's space already. Those of ComfyUI are in the space that
    /// `wanted` says.
    ///
    /// # Errors
    /// [`LatentsError::InFile`] says what of the file, of `wanted` and of `space` do not go together.
    pub fn for_decoder(
        &self,
        wanted: &Wanted<'_>,
        space: Option<&LatentSpace>,
    ) -> Result<ForDecoder, LatentsError> {
        self.convert(wanted, space).map_err(|source| in_file(&self.path, source))
    }

    fn convert(
        &self,
        wanted: &Wanted<'_>,
        space: Option<&LatentSpace>,
    ) -> Result<ForDecoder, LatentsError> {
        let Self { bytes, stored, .. } = self;
        let is_comfys = stored.comfy.is_some();
        if is_comfys && space.is_some() && wanted.comfy.is_none() {
            return Err(LatentsError::InVaeSpace);
        }
        let space = if is_comfys { wanted.comfy } else { space };
        // ComfyUI knows no tokens but those that lie in the picture.
        let is_packed = |packing: &Packing| !is_comfys || packing.in_place;
        let packing = wanted.packing.filter(is_packed);
        let arrangement = arrange(&stored.shape, &Wanted { packing, ..*wanted }, space.is_some())?;
        let (mut latents, square) = match arrangement {
            Arrangement::Cells => {
                (stored.cells(bytes, wanted.video.then_some(wanted.channels))?, None)
            }
            Arrangement::InPlace { packing } => {
                let (shape, fortran_order) = (&stored.shape, stored.fortran_order);
                let layout = Layout::in_place(shape, fortran_order, packing, wanted.channels)?;
                (stored.read(bytes, &layout)?, None)
            }
            Arrangement::Tokens { packing, grid, square } => {
                let (shape, fortran_order) = (&stored.shape, stored.fortran_order);
                let layout = Layout::tokens(shape, fortran_order, packing, wanted.channels, grid)?;
                let mut latents = stored.read(bytes, &layout)?;
                // Layers are no frames of a video, which a decoder would blend into each other.
                if packing.content == TokenContent::Layers {
                    latents.batch *= std::mem::replace(&mut latents.frames, 1);
                }
                let side = latents.height as u64 * u64::from(wanted.scale);
                (latents, square.then_some(side))
            }
        };
        latents.expect_channels(wanted.channels)?;
        let untold = space.and_then(|space| space.cells_untold);
        if let (Arrangement::Cells, Some(cells)) = (arrangement, untold) {
            return Err(LatentsError::CellsUntold { shape: shown(&stored.shape), cells });
        }
        if let Some(space) = space {
            latents.to_vae_space(space)?;
        }
        let taken_for_images = wanted.video && stored.shape.len() == 4 && latents.batch > 1;
        Ok(ForDecoder { latents, square, taken_for_images })
    }
}

fn in_file(path: &Path, source: LatentsError) -> LatentsError {
    LatentsError::InFile { path: path.into(), source: source.into() }
}

fn read_whole(path: &Path) -> Result<Vec<u8>, LatentsError> {
    // Read, not mapped: they are small beside the picture, and often rewritten by what made them.
    let file = open_regular(path).map_err(LatentsError::Io)?;
    let size = file.metadata().map_err(LatentsError::Io)?.len();
    let capacity = usize::try_from(size).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity).map_err(|_| LatentsError::OutOfMemory { bytes: capacity })?;
    file.take(size).read_to_end(&mut bytes).map_err(LatentsError::Io)?;
    Ok(bytes)
}

fn format_hint(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        "; it is empty"
    } else if bytes.starts_with(b"PK\x03\x04") {
        "; it is a zip archive: of an .npz save one array with numpy.save, of a torch file one \
         tensor with safetensors' save_file"
    } else if bytes.starts_with(b"\x80") {
        "; it is a pickle: save the tensor with safetensors' save_file"
    } else {
        ""
    }
}
