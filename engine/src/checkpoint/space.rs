//! How the pipelines of a VAE hand over latents.

use super::config::AutoencoderKlConfig;
use crate::latents::{LatentSpace, Packing, TokenOrder};

/// By which SD 3's VAE is told from FLUX.1's, whose shapes it has.
pub(super) const SD3_SHIFT_FACTOR: f64 = 0.0609;

impl AutoencoderKlConfig {
    /// How pipelines of this VAE pack latents, where there are such: FLUX.1's and those that share
    /// its VAE. No VAE of 4 channels has one; SD 3's has 16, and its pipelines do not pack.
    pub fn packing(&self) -> Option<Packing> {
        let packing = Packing { patch_height: 2, patch_width: 2, order: TokenOrder::ChannelsFirst };
        let is_sd3 = (self.shift_factor - SD3_SHIFT_FACTOR).abs() < 1e-6;
        (self.latent_channels == 16 && !is_sd3).then_some(packing)
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
