//! In which space latents are.

use super::packing::Packing;

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
    /// Where mean and deviation are those of the values of a token, and not of the channels of a
    /// cell: how cells lie in tokens.
    pub of_tokens: Option<Packing>,
    /// Where latents that are not packed may be in this space or in the VAE's, by the pipeline that made
    /// them, which is not known: which of them gives what, as a clause.
    pub cells_untold: Option<&'static str>,
}

impl LatentSpace {
    /// That of latents which are what the decoder takes.
    pub const VAE: Self = Self {
        scaling_factor: 1.0,
        shift_factor: 0.0,
        mean_and_std: None,
        of_tokens: None,
        cells_untold: None,
    };
}
