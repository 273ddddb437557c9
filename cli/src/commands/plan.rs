//! `halovae plan`: who would decode what, without decoding.

use halovae_core::{Size, Strategy};
use halovae_engine::program::fuse;
use halovae_engine::shard::exchanged_layers;

use crate::args::{PlanArgs, PlanFormat, Verbosity};
use crate::backend;
use crate::console::{emit, emit_json, say_notices};
use crate::error::Error;
use crate::estimates::{Estimates, Model};
use crate::notices::Notice;
use crate::output::check_place;
use crate::plan_options::{self, Planned, TileOptions, cells_of_pixels, group_size};
use crate::{plan_json, plan_svg, plan_table};

/// Prints the plan.
///
/// # Errors
/// [`Error`].
pub(crate) fn run(args: &PlanArgs, verbosity: Verbosity) -> Result<(), Error> {
    if let Some(path) = &args.output {
        check_place(path)?;
    }
    let (planned, estimates) = make(args)?;
    say_notices(&planned.notices, verbosity);
    let output = args.output.as_deref();
    match args.format {
        PlanFormat::Table => emit(plan_table::table(&planned, &estimates).as_bytes(), output),
        PlanFormat::Json => emit_json(&plan_json::PlanJson::new(&planned, &estimates), output),
        PlanFormat::Svg => emit(plan_svg::draw(&planned, &estimates)?.as_bytes(), output),
    }
}

fn make(args: &PlanArgs) -> Result<(Planned, Estimates), Error> {
    let options = TileOptions::from(args);
    let requested = args.ranks.vae_patch_parallel_size.unwrap_or(1);
    let group = group_size(&args.group, requested)?;
    let Some(vae) = &args.vae else {
        let scale = args.scale.unwrap_or(0);
        let tiling = options.tiling(None, scale)?;
        let latents = latents(args, scale)?;
        let planned = plan_options::plan(latents, 1, &args.ranks, group, &options, &tiling, &[])?;
        let estimates = Estimates::new(&planned, None)?;
        return Ok((planned, estimates));
    };
    let (checkpoint, program) = super::open_vae(vae, args.config.as_deref())?;
    let scale = program.scale();
    let tiling = options.tiling(Some(checkpoint.config()), scale)?;
    let latents = latents(args, scale)?;
    let layers = exchanged_layers(&program)?;
    let mut planned =
        plan_options::plan(latents, 1, &args.ranks, group, &options, &tiling, &layers)?;
    planned.notices.splice(0..0, Notice::guessed(&checkpoint));
    // As a decode on this machine would share its threads: they need workspace.
    let threads = backend::share(backend::threads(None), planned.ranks, 0);
    let cpu = backend::cpu(threads)?;
    let fused =
        fuse(&program, |program, op| halovae_engine::backend::Backend::supports(&cpu, program, op));
    let estimates = Estimates::new(&planned, Some(&Model { program: &fused, memory: &cpu }))?;
    Ok((planned, estimates))
}

/// The latents' size, from flags in pixels or in cells.
fn latents(args: &PlanArgs, scale: u32) -> Result<Size, Error> {
    let extent = |flag, pixels: Option<u32>, cells: Option<u32>| match (pixels, cells) {
        (Some(pixels), _) => cells_of_pixels(flag, pixels, scale),
        (None, cells) => Ok(cells.unwrap_or(0)),
    };
    Ok(Size {
        height: extent("--height", args.height, args.latent_height)?,
        width: extent("--width", args.width, args.latent_width)?,
    })
}

/// What the pieces of a strategy are called.
pub(crate) fn piece_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Whole => "piece",
        Strategy::Tiled => "tile",
        Strategy::Patch => "patch",
        Strategy::Sharded => "shard",
    }
}
