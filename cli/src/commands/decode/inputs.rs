//! What a decode is made from, checked before anything is decoded.

use std::path::Path;

use halovae_core::Plan;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::program::Program;
use halovae_engine::shard::exchanged_layers;
use halovae_engine::tensor::Shape;
use halovae_media::{
    Depth, Options, OutputError, OutputFile, Written, check_all, check_place, check_scratch,
};

use crate::args::{BitDepthArg, DecodeArgs, Destination, ExchangeArg};
use crate::error::Error;
use crate::plan::options::{CutRequest, Planned, plan};
use crate::plan::tiles::TileOptions;
use crate::terminal;

/// What can be known to fail about the files that will be written, before anything is read.
pub(super) fn check_outputs(args: &DecodeArgs) -> Result<OutputFile, Error> {
    let mut options = Options::default();
    options.depth = match args.bit_depth {
        BitDepthArg::Eight => Depth::Eight,
        BitDepthArg::Sixteen => Depth::Sixteen,
    };
    options.rate = args.fps;
    options.codec = args.codec.clone();
    options.crf = args.crf;
    options.pad = args.pad;
    options.animated = args.animated;
    options.preview = args.preview;
    if args.output.file().is_none() && terminal::is_terminal() {
        return Err(OutputError::Terminal.into());
    }
    let output = OutputFile::check(args.output.file(), options)?;
    if output.is_stdout() && args.report == Some(Destination::Stdout) {
        return Err(Error::Usage(
            "--output - and --report - both write to standard output; name a file for the report"
                .into(),
        ));
    }
    report_file(args).map(check_place).transpose()?;
    Ok(output)
}

fn report_file(args: &DecodeArgs) -> Option<&Path> {
    args.report.as_ref().and_then(Destination::file)
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
    result: Shape,
) -> Result<(), Error> {
    let files = output.files(result)?.into_iter();
    let mut written: Vec<_> = files.map(|path| Written { flag: "--output", path }).collect();
    let previews = output.previews(result)?.into_iter();
    written.extend(previews.map(|path| Written { flag: "--preview", path }));
    let report = report_file(args).map(Into::into);
    written.extend(report.map(|path| Written { flag: "--report", path }));
    let mut read = checkpoint.sources().to_vec();
    read.push(args.latents.clone());
    Ok(check_all(&written, &read)?)
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
    let latents = shape.size();
    let options = TileOptions::from(&args.tiles);
    if !checkpoint.config().is_video() {
        options.check_image()?;
    }
    let tiling = options.tiling(Some(&checkpoint.config().tiling()), program.scale())?;
    let request = CutRequest::new(&args.ranks, group_size.unwrap_or(1));
    let group = group_size.unwrap_or(request.ranks);
    let layers = exchanged_layers(program);
    let layers = layers.as_deref();
    let images = shape.batch as u32;
    plan(latents, images, &request, group, &options, &tiling, layers)
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
