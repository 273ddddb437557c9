//! Latents as people have them on disk: safetensors, NumPy, ComfyUI.
//!
//! All are read as f32, channels last, and refused if anything in them is not finite. What a
//! decoder takes are latents in the VAE's own space; those of a diffusers pipeline
//! (`output_type="latent"`) are scaled and shifted, and some are packed into the tokens of a
//! transformer. [`LatentsFile::for_decoder`] undoes both.

mod arrange;
mod error;
mod file;
mod layout;
mod npy;
mod packing;
mod stored;
mod tensors;

use std::path::Path;

pub use arrange::Wanted;
pub use error::{LatentsError, Place};
pub use file::{ForDecoder, LatentsFile};
pub use packing::{Packing, TokenOrder};

/// Latents of a batch of images or videos, ready for a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// Images or videos.
    pub batch: usize,
    /// Channels per cell.
    pub channels: usize,
    /// Frames of each; 1 of an image.
    pub frames: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// `[batch, frames, height, width, channels]`, row major; finite.
    pub data: Vec<f32>,
}

/// How latents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        file::find(bytes, format, key)?.cells(bytes, None)
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
                    let (image, row) = (row / self.height, row % self.height);
                    let (batch, frame) = (image / self.frames, image % self.frames);
                    return Err(LatentsError::NotFinite {
                        value: *value,
                        at: Place { batch, channel, frame, row, column },
                        hint: " after scaling to the VAE's space; are they in another space?",
                    });
                }
            }
        }
        Ok(())
    }
}
