//! In which space latents are, and how they lie there.

use clap::{Args, ValueEnum, value_parser};

/// What the latents are.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SpaceArgs {
    /// What the latents are: as `vae.decode` takes them, or as a diffusers pipeline gives them with
    /// output_type="latent"; ComfyUI's files tell that by themselves
    #[arg(long, value_enum, default_value_t = LatentSpaceArg::Vae)]
    pub(crate) latent_space: LatentSpaceArg,
    /// Height of the picture in pixels, where a pipeline's packed latents do not tell it
    /// [default: that of a square]
    #[arg(long, value_name = "PX", requires = "width",
          value_parser = value_parser!(u32).range(1..))]
    pub(crate) height: Option<u32>,
    /// Width of the picture in pixels, likewise
    #[arg(long, value_name = "PX", requires = "height",
          value_parser = value_parser!(u32).range(1..))]
    pub(crate) width: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LatentSpaceArg {
    /// As `vae.decode` takes them
    Vae,
    /// As a pipeline gives them: packed ones are unpacked, and the VAE's scaling and shift, its mean and
    /// deviation of each channel, or its batch norm, are undone
    Pipeline,
}
