//! In which space latents are.

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
