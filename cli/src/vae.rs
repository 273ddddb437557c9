//! Opens VAEs, and what can be planned for.

use std::path::{Path, PathBuf};

use halovae_core::Tiling;
use halovae_engine::checkpoint::{Checkpoint, CheckpointError, VaeConfig, read_config};
use halovae_engine::program::{Program, fold_single_frame};

use crate::error::Error;
use crate::notices::Notice;

/// Opens a checkpoint and builds its decoder; weights and decoder fit each other.
///
/// # Errors
/// [`Error`].
pub(crate) fn open_vae(
    vae: &Path,
    config: Option<&Path>,
    variant: Option<&str>,
) -> Result<(Checkpoint, Program), Error> {
    let checkpoint = Checkpoint::open_variant(vae, config, variant)?;
    let program = decoder(vae, checkpoint.config())?;
    let wanted = program.weights().iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
    checkpoint.verify(wanted)?;
    Ok((checkpoint, program))
}

/// The decoder for latents of that many frames: of a single one there is less to compute.
pub(crate) fn for_frames(program: Program, frames: u32) -> Program {
    match frames {
        1 => fold_single_frame(&program),
        _ => program,
    }
}

/// What can be planned for.
pub(crate) struct Plannable {
    /// The tiles of its own.
    pub(crate) tiling: Tiling,
    /// Whether it decodes videos.
    pub(crate) is_video: bool,
    pub(crate) program: Program,
    /// What is to be told of it.
    pub(crate) notices: Vec<Notice>,
    /// The files that were read.
    pub(crate) sources: Vec<PathBuf>,
}

/// Opens what can be planned for. Weights must fit the decoder if there are any; a folder with nothing
/// but a config will do.
pub(crate) fn open_config(
    vae: &Path,
    config: Option<&Path>,
    variant: Option<&str>,
) -> Result<Plannable, Error> {
    match open_vae(vae, config, variant) {
        Ok((checkpoint, program)) => Ok(Plannable {
            tiling: checkpoint.config().tiling(),
            is_video: checkpoint.config().is_video(),
            program,
            notices: Notice::of_checkpoint(&checkpoint, variant),
            sources: checkpoint.sources().to_vec(),
        }),
        Err(Error::Checkpoint(CheckpointError::NoWeights {
            config: Some(own),
            mut sources,
            ..
        })) => {
            sources.extend(config.map(PathBuf::from));
            let config = read_config(config.unwrap_or(&own))?;
            let program = decoder(vae, &*config)?;
            Ok(Plannable {
                tiling: config.tiling(),
                is_video: config.is_video(),
                program,
                notices: Vec::new(),
                sources,
            })
        }
        Err(error) => Err(error),
    }
}

fn decoder(vae: &Path, config: &dyn VaeConfig) -> Result<Program, Error> {
    config.decoder().map_err(|source| Error::Program { path: vae.into(), source })
}
