//! Latents as people have them on disk: safetensors, NumPy, ComfyUI.
//!
//! All are read as f32, channels last, and refused if anything in them is not finite. What a
//! decoder takes are latents in the VAE's own space; those of a diffusers pipeline
//! (`output_type="latent"`) are scaled and shifted, and [`Latents::to_vae_space`] undoes that.

mod error;
mod layout;
mod npy;
mod tensors;

use std::io::Read;
use std::path::Path;

pub use error::LatentsError;

use crate::checkpoint::storage::open_regular;
use crate::checkpoint::text::quoted;
use layout::{Extents, channels_last};

/// Latents of a batch of images, ready for a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// Images.
    pub batch: usize,
    /// Channels per cell.
    pub channels: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// `[batch, height, width, channels]`, row major; finite.
    pub data: Vec<f32>,
}

/// How latents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatentsFormat {
    /// A safetensors file.
    Safetensors,
    /// One NumPy array.
    Npy,
    /// ComfyUI's `.latent`: a safetensors file with `latent_tensor` in it.
    ComfyLatent,
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
            Some("latent") => Some(Self::ComfyLatent),
            Some("safetensors") => Some(Self::Safetensors),
            Some("npy") => Some(Self::Npy),
            _ => (bytes.get(8) == Some(&b'{')).then_some(Self::Safetensors),
        }
    }
}

/// How the latents of a diffusers pipeline become what its VAE decodes.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentSpace {
    /// Latents are divided by it.
    pub scaling_factor: f32,
    /// Added after the division.
    pub shift_factor: f32,
    /// Mean and standard deviation per channel. Where a model has both, latents are multiplied by
    /// the deviation before the division, and the mean is added instead of the shift.
    pub mean_and_std: Option<(Vec<f32>, Vec<f32>)>,
}

impl Latents {
    /// Reads the latents in a file: `.safetensors` (the only tensor, or that of `key`), `.npy`, or
    /// ComfyUI's `.latent`; f32, f16, bf16 or f64; `[batch, channels, height, width]` or
    /// `[channels, height, width]`.
    ///
    /// # Errors
    /// [`LatentsError::InFile`] with the file and what is wrong with it.
    pub fn read(path: &Path, key: Option<&str>) -> Result<Self, LatentsError> {
        read_file(path, key)
            .map_err(|source| LatentsError::InFile { path: path.into(), source: source.into() })
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
        match (format, key) {
            (LatentsFormat::Safetensors, _) => tensors::read_safetensors(bytes, key),
            (LatentsFormat::ComfyLatent, _) => tensors::read_comfy(bytes, key),
            (LatentsFormat::Npy, Some(key)) => {
                Err(LatentsError::KeyWithoutUse { key: quoted(key) })
            }
            (LatentsFormat::Npy, None) => {
                let array = npy::parse(bytes)?;
                let extents = Extents::new(&array.shape)?;
                let data = channels_last(array.data, array.element, array.fortran_order, extents)?;
                Ok(Self::from_extents(extents, data))
            }
        }
    }

    fn from_extents(Extents([batch, channels, height, width]): Extents, data: Vec<f32>) -> Self {
        Self { batch, channels, height, width, data }
    }

    /// Checks that a decoder of that many latent channels takes these.
    ///
    /// # Errors
    /// [`LatentsError::Channels`], with the likely cause where there is one.
    pub fn expect_channels(&self, expected: usize) -> Result<(), LatentsError> {
        if self.channels == expected {
            return Ok(());
        }
        let hint = if self.width == expected {
            "; they seem to have the channels last, move them before height and width"
        } else if self.channels < 4 && self.width == expected.saturating_mul(4) {
            // A batch of 1 to 3 in place of the channels: no VAE has so few.
            "; they seem to be packed for a transformer, unpack them first (_unpack_latents in \
             diffusers)"
        } else {
            ""
        };
        Err(LatentsError::Channels { found: self.channels, expected, hint })
    }

    /// Takes latents of a diffusers pipeline to the VAE's space, in place, in f32:
    /// `z / scaling_factor + shift_factor`, or `z * std / scaling_factor + mean`.
    ///
    /// # Errors
    /// [`LatentsError::Channels`] if mean and deviation are for another number of channels;
    /// [`LatentsError::NotFinite`] if a result is. The latents are then partly converted.
    pub fn to_vae_space(&mut self, space: &LatentSpace) -> Result<(), LatentsError> {
        let scaling = space.scaling_factor;
        match &space.mean_and_std {
            None => self.map_channels(|value, _| value / scaling + space.shift_factor),
            Some((mean, std)) => {
                for list in [mean, std] {
                    self.expect_channels(list.len())?;
                }
                self.map_channels(|value, channel| value * std[channel] / scaling + mean[channel])
            }
        }
    }

    /// Replaces every value by `map` of it and its channel.
    fn map_channels(&mut self, map: impl Fn(f32, usize) -> f32) -> Result<(), LatentsError> {
        for (cell, values) in self.data.chunks_exact_mut(self.channels.max(1)).enumerate() {
            for (channel, value) in values.iter_mut().enumerate() {
                *value = map(*value, channel);
                if !value.is_finite() {
                    let (row, column) = (cell / self.width, cell % self.width);
                    return Err(LatentsError::NotFinite {
                        value: *value,
                        batch: row / self.height,
                        channel,
                        row: row % self.height,
                        column,
                        hint: " after scaling to the VAE's space; are they in another space?",
                    });
                }
            }
        }
        Ok(())
    }
}

fn read_file(path: &Path, key: Option<&str>) -> Result<Latents, LatentsError> {
    // Read, not mapped: they are small beside the picture, and often rewritten by what made them.
    let file = open_regular(path).map_err(LatentsError::Io)?;
    let size = file.metadata().map_err(LatentsError::Io)?.len();
    let capacity = usize::try_from(size).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity).map_err(|_| LatentsError::OutOfMemory { bytes: capacity })?;
    file.take(size).read_to_end(&mut bytes).map_err(LatentsError::Io)?;

    let format = LatentsFormat::detect(path, &bytes)
        .ok_or(LatentsError::UnknownFormat { hint: format_hint(&bytes) })?;
    Latents::from_bytes(&bytes, format, key)
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
