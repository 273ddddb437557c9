//! From the file of latents to what the decoder takes.

use halovae_engine::checkpoint::{Checkpoint, CheckpointError};
use halovae_engine::latents::{ForDecoder, Latents, LatentsError, LatentsFile, Wanted};
use halovae_engine::program::Program;
use halovae_engine::tensor::{HostTensor, Shape};

use crate::args::{DecodeArgs, LatentSpaceArg};
use crate::error::Error;
use crate::notices::Notice;

/// The latents in the decoder's space, and what was assumed of them.
///
/// # Errors
/// What is wrong with the file, or with the flags that say what it holds.
pub(super) fn read_latents(
    args: &DecodeArgs,
    checkpoint: &Checkpoint,
    program: &Program,
) -> Result<(HostTensor, Option<Notice>), Error> {
    let space = match args.space.latent_space {
        LatentSpaceArg::Vae => None,
        LatentSpaceArg::Pipeline => Some(checkpoint.latent_space().map_err(untold_in_flags)?),
    };
    let comfy = checkpoint.config().comfy_space();
    let wanted = Wanted {
        channels: program.latent_channels() as usize,
        scale: program.scale(),
        video: checkpoint.config().is_video(),
        packing: checkpoint.config().packing(),
        sides: args.space.height.zip(args.space.width).map(|(height, width)| [height, width]),
        comfy: comfy.as_ref(),
    };
    let ForDecoder { latents, square, taken_for_images } =
        LatentsFile::read(&args.latents, args.latents_key.as_deref())
            .and_then(|file| file.for_decoder(&wanted, space.as_ref()))
            .map_err(in_flags)?;
    let Latents { batch, channels, frames, height, width, data } = latents;
    let shape = Shape::new(batch, height, width, channels).over(frames);
    let latents =
        HostTensor::new(shape, data).expect("latents hold as many values as their extents say");
    let assumed = match square {
        Some(side) => Some(Notice::TakenForSquare { images: batch, side }),
        None => taken_for_images.then_some(Notice::TakenForImages { images: batch }),
    };
    Ok((latents, assumed))
}

/// The error, and the flag that would do.
fn untold_in_flags(error: CheckpointError) -> Error {
    match error {
        CheckpointError::UntoldSpace { .. } => Error::Usage(format!("{error}, by --config")),
        error => error.into(),
    }
}

/// The error, and the flags that would do.
fn in_flags(error: LatentsError) -> Error {
    let LatentsError::InFile { source, .. } = &error else { return error.into() };
    let flags = match **source {
        LatentsError::Packed { .. } => "give --latent-space pipeline, which unpacks them".into(),
        LatentsError::Ambiguous { sides: [height, width], .. } => format!(
            "give --height {height} --width {width} if they are one image, --latent-space pipeline \
             if they are packed"
        ),
        LatentsError::SidesNeeded { .. } | LatentsError::SidesOfLayersNeeded { .. } => {
            "give --height and --width".into()
        }
        LatentsError::Sides { .. } => {
            "give the --height and --width that they were made with".into()
        }
        LatentsError::SidesKnown { .. } => "leave --height and --width out".into(),
        LatentsError::InVaeSpace => "leave --latent-space pipeline out".into(),
        _ => return error.into(),
    };
    Error::Usage(format!("{error}; {flags}"))
}
