//! How a file of latents is read.

/// In which space latents are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Space {
    /// That of the VAE: what its decoder takes.
    #[default]
    Vae,
    /// That of a diffusers pipeline, as with `output_type="latent"`: normalised, and packed where the
    /// model's pipelines do that.
    Pipeline,
}

/// How a file of latents is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LatentsOptions {
    /// The name of the tensor, where the file has several.
    pub latents_key: Option<String>,
    /// In which space they are.
    pub latent_space: Space,
    /// Height and width in pixels of what they decode to, where packed latents do not tell.
    pub sides: Option<[u32; 2]>,
}

impl LatentsOptions {
    /// Of a diffusers pipeline.
    pub fn pipeline() -> Self {
        Self { latent_space: Space::Pipeline, ..Self::default() }
    }
}
