//! What a decode is made from, checked before anything is decoded.

use halovae_core::{Plan, Size};
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::latents::{Latents, LatentsError};
use halovae_engine::program::Program;
use halovae_engine::shard::exchanged_layers;
use halovae_engine::tensor::{HostTensor, Shape};

use crate::args::{BitDepthArg, DecodeArgs, ExchangeArg, LatentSpaceArg};
use crate::error::Error;
use crate::output::{Depth, OutputFile, Written, check_all, check_place, check_scratch};
use crate::plan_options::{self, Planned, TileOptions};

/// What can be known to fail about the files that will be written, before anything is read.
pub(super) fn check_outputs(args: &DecodeArgs) -> Result<OutputFile, Error> {
    let depth = match args.bit_depth {
        BitDepthArg::Eight => Depth::Eight,
        BitDepthArg::Sixteen => Depth::Sixteen,
    };
    let output = OutputFile::check(&args.output, depth)?;
    args.report.as_deref().map(check_place).transpose()?;
    Ok(output)
}

/// The same for the folder of a scratch file, which every process has.
pub(super) fn check_scratch_dir(args: &DecodeArgs) -> Result<(), Error> {
    Ok(args.scratch_dir.as_deref().map_or(Ok(()), check_scratch)?)
}

/// What else can be known to fail about them, once it is known what they will hold and what is read.
pub(super) fn check_written(
    args: &DecodeArgs,
    output: &OutputFile,
    checkpoint: &Checkpoint,
    picture: Shape,
) -> Result<(), Error> {
    let files = output.files(picture)?.into_iter();
    let mut written: Vec<_> = files.map(|path| Written { flag: "--output", path }).collect();
    written.extend(args.report.clone().map(|path| Written { flag: "--report", path }));
    let mut read = checkpoint.sources().to_vec();
    read.push(args.latents.clone());
    Ok(check_all(&written, &read)?)
}

/// The latents in the decoder's space.
pub(super) fn read_latents(
    args: &DecodeArgs,
    checkpoint: &Checkpoint,
    program: &Program,
) -> Result<HostTensor, Error> {
    let mut latents = Latents::read(&args.latents, args.latents_key.as_deref())?;
    let about_file = |source: LatentsError| LatentsError::InFile {
        path: args.latents.clone(),
        source: Box::new(source),
    };
    latents.expect_channels(program.latent_channels() as usize).map_err(about_file)?;
    if args.latent_space == LatentSpaceArg::Pipeline {
        latents.to_vae_space(&checkpoint.config().latent_space()).map_err(about_file)?;
    }
    let Latents { batch, channels, height, width, data } = latents;
    let shape = Shape::new(batch, height, width, channels);
    Ok(HostTensor::new(shape, data).expect("latents hold as many values as their extents say"))
}

/// The plan; `group_size` is how many processes were started together.
pub(super) fn make_plan(
    args: &DecodeArgs,
    checkpoint: &Checkpoint,
    program: &Program,
    shape: Shape,
    group_size: Option<u32>,
) -> Result<Planned, Error> {
    // The reader of latents refuses extents beyond u32, that of the batch included.
    let latents = Size::new(shape.height as u32, shape.width as u32);
    let options = TileOptions::from(&args.tiles);
    let tiling = options.tiling(Some(checkpoint.config()), program.scale())?;
    let mut ranks = args.ranks;
    let requested = *ranks.vae_patch_parallel_size.get_or_insert(group_size.unwrap_or(1));
    let group = group_size.unwrap_or(requested);
    let layers = exchanged_layers(program)?;
    let images = shape.batch as u32;
    plan_options::plan(latents, images, &ranks, group, &options, &tiling, &layers)
}

/// A decode with a bound on its memory is a sharded one.
pub(super) fn check_sharded_flags(args: &DecodeArgs, planned: &Planned) -> Result<(), Error> {
    let is_sharded = matches!(planned.plan, Plan::Sharded(_));
    let wants_nccl = args.device.exchange == ExchangeArg::Nccl;
    for (is_given, flag) in
        [(args.max_memory.is_some(), "--max-memory"), (wants_nccl, "--exchange nccl")]
    {
        if is_given && !is_sharded {
            return Err(Error::Usage(format!("{flag} needs --strategy sharded")));
        }
    }
    Ok(())
}

/// The ranks that get a device: no more than there are pieces over all images. A patch, though,
/// belongs to a certain rank of the grid.
pub(super) fn busy_ranks(planned: &Planned, images: usize) -> u32 {
    if matches!(planned.plan, Plan::Patch(_) | Plan::Sharded(_)) {
        return planned.ranks;
    }
    let pieces = planned.plan.piece_count().saturating_mul(images as u64);
    planned.ranks.min(u32::try_from(pieces).unwrap_or(u32::MAX))
}
