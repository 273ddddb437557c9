//! Latents in memory.

use super::error::{LatentsError, Place};
use super::space::LatentSpace;

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

/// Where a value lies in its frame.
#[derive(Clone, Copy)]
struct At {
    channel: usize,
    row: usize,
    column: usize,
}

impl Latents {
    /// Checks that a decoder of that many latent channels takes these.
    ///
    /// # Errors
    /// [`LatentsError::Channels`], with the likely cause where there is one.
    pub fn expect_channels(&self, expected: usize) -> Result<(), LatentsError> {
        if self.channels == expected {
            return Ok(());
        }
        let hint = if self.frames > 1 && self.frames == expected {
            // As CogVideoX's pipelines give them.
            "; they seem to have frames before channels, swap these axes"
        } else if self.width == expected && self.channels < 4 && self.frames == 1 {
            "; they seem to be packed in tokens of one cell, as the pipeline of Qwen-Image 2.1 packs them, \
             or to have the channels last: move these before height and width"
        } else if self.width == expected && self.frames > 1 {
            "; they seem to have the channels last, move them before frames, height and width"
        } else if self.width == expected {
            "; they seem to have the channels last, move them before height and width"
        } else if self.channels < 4 && self.width == expected.saturating_mul(4) {
            // A batch of 1 to 3 in place of the channels: no VAE has so few.
            "; they seem to be packed for a transformer, as pipelines of FLUX.1 and Qwen-Image pack \
             them, whose VAEs take them so"
        } else if self.channels < 4 && self.frames == 1 {
            "; no VAE's latents have so few: they may be packed for the transformer of another model, such \
             as LTX"
        } else {
            ""
        };
        Err(LatentsError::Channels { found: self.channels, expected, hint })
    }

    /// Takes latents of a diffusers pipeline to the VAE's space, in place, in f32:
    /// `z / scaling_factor + shift_factor`, or `z * std / scaling_factor + mean`.
    ///
    /// # Errors
    /// [`LatentsError::Statistics`] if mean and deviation are for another number of channels;
    /// [`LatentsError::NotFinite`] if a result is. The latents are then partly converted.
    pub fn to_vae_space(&mut self, space: &LatentSpace) -> Result<(), LatentsError> {
        let scaling = space.scaling_factor;
        match &space.mean_and_std {
            None => self.map_channels(|value, _| value / scaling + space.shift_factor),
            Some((mean, std)) => {
                let channels = self.channels;
                let values =
                    space.of_tokens.map_or(channels, |packing| packing.token_len(channels));
                for list in [mean, std] {
                    if list.len() != values {
                        return Err(LatentsError::Statistics { found: list.len(), values });
                    }
                }
                let value_of = |at: At| match space.of_tokens {
                    Some(packing) => packing.value_of(channels, at.channel, [at.row, at.column]),
                    None => at.channel,
                };
                self.map_values(|value, at| {
                    let place = value_of(at);
                    value * std[place] / scaling + mean[place]
                })
            }
        }
    }

    /// Replaces every value by `map` of it and its channel.
    pub(super) fn map_channels(
        &mut self,
        map: impl Fn(f32, usize) -> f32,
    ) -> Result<(), LatentsError> {
        self.map_values(|value, At { channel, .. }| map(value, channel))
    }

    /// Replaces every value by `map` of it and its place.
    fn map_values(&mut self, map: impl Fn(f32, At) -> f32) -> Result<(), LatentsError> {
        for (cell, values) in self.data.chunks_exact_mut(self.channels.max(1)).enumerate() {
            let (row, column) = (cell / self.width, cell % self.width);
            let (image, row) = (row / self.height, row % self.height);
            for (channel, value) in values.iter_mut().enumerate() {
                *value = map(*value, At { channel, row, column });
                if !value.is_finite() {
                    let (batch, frame) = (image / self.frames, image % self.frames);
                    let frame = (self.frames > 1).then_some(frame);
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
