//! Decoders of the model families, as programs.

mod autoencoder_kl;
mod autoencoder_kl_hunyuan_image;
mod autoencoder_kl_ltx;
mod autoencoder_kl_wan;
mod kl_blocks;
mod wan_blocks;

pub use crate::program::Model;
