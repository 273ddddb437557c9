//! What a decode is made from, checked before anything is decoded.

use std::path::Path;

use halovae_core::{Plan, Size};
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::program::Program;
use halovae_engine::shard::exchanged_layers;
use halovae_engine::tensor::Shape;

use crate::args::{DecodeArgs, ExchangeArg};
use crate::error::Error;
use crate::output::{OutputFile, check_place};
use crate::plan_options::{self, Planned, TileOptions};

/// What can be known to fail about the files that will be written, before anything is read.
pub(super) fn check_outputs(args: &DecodeArgs) -> Result<OutputFile, Error> {
    let output = OutputFile::check(&args.output)?;
    if let Some(report) = &args.report {
        check_place(report)?;
    }
    let inputs = [("--latents", Some(&args.latents)), ("--vae", Some(&args.vae.vae))];
    let written = [("--output", Some(&args.output)), ("--report", args.report.as_ref())];
    let config = ("--config", args.vae.config.as_ref());
    for (flag, path) in written.into_iter().filter_map(|(flag, path)| Some((flag, path?))) {
        for (input, other) in inputs.into_iter().chain([config]) {
            if other.is_some_and(|other| same_file(path, other)) {
                return Err(Error::Usage(format!(
                    "{flag} `{}` would overwrite {input}; give another name",
                    path.display()
                )));
            }
        }
    }
    match &args.report {
        Some(report) if report == &args.output || same_file(report, &args.output) => {
            Err(Error::Usage("--report and --output name the same file".into()))
        }
        _ => Ok(output),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
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
