//! How the pipelines of an `AutoencoderKL` hand over latents.

use super::config::AutoencoderKlConfig;
use crate::latents::{LatentSpace, Packing, TokenOrder};

/// By which SD 3's VAE is told from FLUX.1's, whose shapes it has.
pub(super) const SD3_SHIFT_FACTOR: f64 = 0.0609;

/// There is one for FLUX.1's VAE and the models that share it. No VAE of 4 channels has one; SD 3's
/// has 16, and its pipelines do not pack.
pub(super) fn packing(config: &AutoencoderKlConfig) -> Option<Packing> {
    let packing = Packing { patch_height: 2, patch_width: 2, order: TokenOrder::ChannelsFirst };
    let is_sd3 = (config.shift_factor - SD3_SHIFT_FACTOR).abs() < 1e-6;
    (config.latent_channels == 16 && !is_sd3).then_some(packing)
}

/// `latents_mean` and `latents_std` count only together, and then instead of `shift_factor`, as in
/// diffusers.
pub(super) fn latent_space(config: &AutoencoderKlConfig) -> LatentSpace {
    let narrowed = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
    LatentSpace {
        scaling_factor: config.scaling_factor as f32,
        shift_factor: config.shift_factor as f32,
        mean_and_std: config
            .latents_mean
            .as_deref()
            .zip(config.latents_std.as_deref())
            .map(|(mean, std)| (narrowed(mean), narrowed(std))),
    }
}
