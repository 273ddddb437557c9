//! Decoders of the model families, as programs.

mod autoencoder_kl;
mod autoencoder_kl_wan;

use crate::program::{Program, ProgramError};

/// What a VAE is made of, as a config tells it.
pub trait Model {
    /// The decoder as a program of plain ops.
    ///
    /// # Errors
    /// [`ProgramError`] names the first module that cannot exist.
    fn decoder(&self) -> Result<Program, ProgramError>;
}

/// A small decoder with every kind of op, wide enough that kernels for many channels run, and those
/// for few.
#[cfg(feature = "conformance")]
pub(crate) fn small_decoder() -> Program {
    let config = crate::checkpoint::AutoencoderKlConfig {
        block_out_channels: vec![128, 160],
        layers_per_block: 1,
        latent_channels: 4,
        norm_num_groups: 32,
        ..Default::default()
    };
    config.decoder().expect("a possible config")
}
