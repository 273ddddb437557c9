//! How the pipelines of a VAE hand over latents.

use super::config::AutoencoderKlConfig;
use crate::latents::{LatentSpace, Packing, TokenOrder};

impl AutoencoderKlConfig {
    /// How pipelines of this VAE pack latents, where there are such: FLUX.1's and those that share
    /// its VAE. No VAE of 4 channels has one; SD 3's have 16, and its pipeline does not pack.
    pub fn packing(&self) -> Option<Packing> {
        let packing = Packing { patch_height: 2, patch_width: 2, order: TokenOrder::ChannelsFirst };
        (self.latent_channels == 16).then_some(packing)
    }

    /// How latents of a diffusers pipeline become what the decoder takes. `latents_mean` and
    /// `latents_std` count only together, and then instead of `shift_factor`, as in diffusers.
    pub fn latent_space(&self) -> LatentSpace {
        let narrowed = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        LatentSpace {
            scaling_factor: self.scaling_factor as f32,
            shift_factor: self.shift_factor as f32,
            mean_and_std: self
                .latents_mean
                .as_deref()
                .zip(self.latents_std.as_deref())
                .map(|(mean, std)| (narrowed(mean), narrowed(std))),
        }
    }
}
