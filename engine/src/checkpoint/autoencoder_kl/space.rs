//! How the pipelines of an `AutoencoderKL` hand over latents.

use crate::latents::{LatentSpace, Packing, TokenContent, TokenOrder};

/// By which SD 3's VAE is told from FLUX.1's, whose shapes it has.
pub(super) const SD3_SHIFT_FACTOR: f64 = 0.0609;

/// There is one for FLUX.1's VAE and the models that share it. No VAE of 4 channels has one; SD 3's
/// has 16, and its pipelines do not pack.
pub(super) fn packing(latent_channels: u32, shift_factor: f64) -> Option<Packing> {
    let (order, content) = (TokenOrder::ChannelsFirst, TokenContent::Picture);
    let packing = Packing { patch_height: 2, patch_width: 2, order, content, in_place: false };
    let is_sd3 = (shift_factor - SD3_SHIFT_FACTOR).abs() < 1e-6;
    (latent_channels == 16 && !is_sd3).then_some(packing)
}

/// `latents_mean` and `latents_std` count only together, and then instead of `shift_factor`, as in
/// diffusers.
pub(super) fn latent_space(
    [scaling_factor, shift_factor]: [f64; 2],
    mean_and_std: Option<(&[f64], &[f64])>,
) -> LatentSpace {
    let narrowed = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
    LatentSpace {
        scaling_factor: scaling_factor as f32,
        shift_factor: shift_factor as f32,
        mean_and_std: mean_and_std.map(|(mean, std)| (narrowed(mean), narrowed(std))),
        of_tokens: None,
        cells_untold: None,
    }
}
