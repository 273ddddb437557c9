//! One module a command.

pub(crate) mod decode;
pub(crate) mod devices;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod plan;

use std::path::Path;

use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::model::autoencoder_kl;
use halovae_engine::program::Program;

use crate::error::Error;

/// Opens a checkpoint and builds its decoder; weights and decoder fit each other.
fn open_vae(vae: &Path, config: Option<&Path>) -> Result<(Checkpoint, Program), Error> {
    let checkpoint = Checkpoint::open(vae, config)?;
    let program = autoencoder_kl::decoder(checkpoint.config())
        .map_err(|source| Error::Program { path: vae.into(), source })?;
    let wanted = program.weights().iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
    checkpoint.verify(wanted)?;
    Ok((checkpoint, program))
}
