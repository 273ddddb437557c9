//! From a file of latents to what the decoder takes.

use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::latents::{self, ForDecoder, LatentsFile, Wanted};
use halovae_engine::program::Program;
use halovae_engine::tensor::{HostTensor, Shape};

use crate::error::Error;
use crate::notice::Notice;
use crate::options::{LatentsOptions, Space};

/// Latents in the space that the decoder takes, and what was assumed to get there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Latents {
    /// The values, `[batch, frames, height, width, channels]`.
    pub tensor: HostTensor,
    /// What was assumed of them.
    pub notices: Vec<Notice>,
}

/// What the decoder takes of an opened file.
pub(crate) fn for_decoder(
    file: &LatentsFile,
    options: &LatentsOptions,
    checkpoint: &Checkpoint,
    program: &Program,
) -> Result<Latents, Error> {
    let space = match options.latent_space {
        Space::Vae => None,
        Space::Pipeline => Some(checkpoint.latent_space()?),
    };
    let comfy = checkpoint.config().comfy_space();
    let wanted = Wanted {
        channels: program.latent_channels() as usize,
        scale: program.scale(),
        video: checkpoint.config().is_video(),
        packing: checkpoint.config().packing(),
        sides: options.sides,
        comfy: comfy.as_ref(),
    };
    let ForDecoder { latents, square, taken_for_images } =
        file.for_decoder(&wanted, space.as_ref())?;
    let latents::Latents { batch, channels, frames, height, width, data } = latents;
    let shape = Shape::new(batch, height, width, channels).over(frames);
    let tensor =
        HostTensor::new(shape, data).expect("latents hold as many values as their extents say");
    let assumed = match square {
        Some(side) => Some(Notice::TakenForSquare { images: batch, side }),
        None => taken_for_images.then_some(Notice::TakenForImages { images: batch }),
    };
    Ok(Latents { tensor, notices: assumed.into_iter().collect() })
}
