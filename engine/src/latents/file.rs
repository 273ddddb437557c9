//! An array in a file, before it is known how it is to be read.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::arrange::{Arrangement, Wanted, arrange};
use super::error::LatentsError;
use super::layout::Layout;
use super::stored::Stored;
use super::{LatentSpace, Latents, LatentsFormat, npy, tensors};
use crate::checkpoint::storage::open_regular;
use crate::checkpoint::text::quoted;

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
pub(super) fn find(
    bytes: &[u8],
    format: LatentsFormat,
    key: Option<&str>,
) -> Result<Stored, LatentsError> {
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
    /// pipeline's, without it they are in the VAE's space already, as those of ComfyUI always are.
    ///
    /// # Errors
    /// [`LatentsError::InFile`] says what of the file, of `wanted` and of `space` do not go together.
    pub fn for_decoder(
        &self,
        wanted: &Wanted,
        space: Option<&LatentSpace>,
    ) -> Result<ForDecoder, LatentsError> {
        self.convert(wanted, space).map_err(|source| in_file(&self.path, source))
    }

    fn convert(
        &self,
        wanted: &Wanted,
        space: Option<&LatentSpace>,
    ) -> Result<ForDecoder, LatentsError> {
        let Self { bytes, stored, .. } = self;
        let is_comfys = stored.comfy.is_some();
        if is_comfys && space.is_some() {
            return Err(LatentsError::InVaeSpace);
        }
        let packing = wanted.packing.filter(|_| !is_comfys);
        let arrangement = arrange(&stored.shape, &Wanted { packing, ..*wanted }, space.is_some())?;
        let (mut latents, square) = match arrangement {
            Arrangement::Cells => {
                (stored.cells(bytes, wanted.video.then_some(wanted.channels))?, None)
            }
            Arrangement::Tokens { packing, grid, square } => {
                let (shape, fortran_order) = (&stored.shape, stored.fortran_order);
                let layout = Layout::tokens(shape, fortran_order, packing, wanted.channels, grid)?;
                let latents = stored.read(bytes, &layout)?;
                let side = latents.height as u64 * u64::from(wanted.scale);
                (latents, square.then_some(side))
            }
        };
        latents.expect_channels(wanted.channels)?;
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
