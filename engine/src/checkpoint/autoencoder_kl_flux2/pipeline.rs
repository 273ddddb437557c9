//! What pipelines of models with this VAE do with latents.

use crate::latents::{Packing, TokenContent, TokenOrder};

/// The pipeline that a VAE is part of, as far as it matters for latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flux2Pipeline {
    /// Not told. Packed latents are as FLUX.2 dev's; what unpacked ones are depends on the pipeline.
    #[default]
    Untold,
    /// FLUX.2 dev's or FIBO 2's: tokens have all cells of one channel, then those of the next.
    Flux2,
    /// FLUX.2 klein's, which undo the normalization before they give latents away.
    Klein,
    /// ERNIE-Image's, which adds another `eps` to the variance than the config says.
    ErnieImage,
    /// Ideogram 4's: tokens have all channels of one cell, then those of the next.
    Ideogram4,
}

/// What pipelines give that do not pack.
pub(super) const UNTOLD_CELLS: &str = "those of FLUX.2 klein are what the VAE takes, those of FIBO 2 are \
                                       normalized";

/// What ERNIE-Image's model was trained with and its pipeline adds.
const EPS_OF_ERNIE_IMAGE: f64 = 1e-5;

impl Flux2Pipeline {
    /// The pipeline of this class in diffusers.
    pub(super) fn of_class(class: &str) -> Self {
        match class {
            "ErnieImagePipeline" => Self::ErnieImage,
            "Ideogram4Pipeline" => Self::Ideogram4,
            class if class.starts_with("Flux2Klein") => Self::Klein,
            class if class.starts_with("Flux2") || class.starts_with("BriaFibo2") => Self::Flux2,
            _ => Self::Untold,
        }
    }

    /// What is added to the variance, where the config says `batch_norm_eps`.
    pub(super) fn eps(self, batch_norm_eps: f64) -> f64 {
        match self {
            Self::ErnieImage => EPS_OF_ERNIE_IMAGE,
            Self::Untold | Self::Flux2 | Self::Klein | Self::Ideogram4 => batch_norm_eps,
        }
    }

    /// How it packs latents.
    pub(super) fn packing(self, [patch_height, patch_width]: [u32; 2]) -> Packing {
        let order = match self {
            Self::Ideogram4 => TokenOrder::ChannelsLast,
            Self::Untold | Self::Flux2 | Self::Klein | Self::ErnieImage => {
                TokenOrder::ChannelsFirst
            }
        };
        let [patch_height, patch_width] = [patch_height as usize, patch_width as usize];
        let content = TokenContent::Picture;
        Packing { patch_height, patch_width, order, content, in_place: true }
    }
}
