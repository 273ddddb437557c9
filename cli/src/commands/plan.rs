//! `halovae plan`: which rank would decode which pieces, without decoding.

use std::ffi::OsStr;
use std::path::Path;

use halovae::Size;
use halovae::plan::{cells_of_pixels, latent_frames};
use halovae::{Comparison, OptionError, Planner};
use halovae_media::{Written, check_all, check_place};

use crate::args::{ByteSize, Destination, Pair, PlanArgs, PlanFormat, Verbosity};
use crate::console::{emit, emit_json, say_notices};
use crate::error::Error;
use crate::notices::of_library;
use crate::plan::group::group_size;
use crate::{compare, plan};

/// Prints the plan, or the comparison of plans.
///
/// # Errors
/// [`Error`].
pub(crate) fn run(args: &PlanArgs, verbosity: Verbosity) -> Result<(), Error> {
    let output = args.output.as_ref().and_then(Destination::file);
    if let Some(path) = output {
        check_place(path)?;
    }
    let requested = args.ranks.vae_patch_parallel_size.unwrap_or(1);
    let group = group_size(&args.group, requested)?;
    let tiles = args.tile_options();
    let planner = match &args.vae {
        Some(vae) => Planner::open(vae, &args.open_options(), tiles)?,
        None => Planner::of_scale(args.scale.unwrap_or(0), tiles)?,
    };
    if let Some(path) = output {
        let written = Written::new("output", path);
        check_all(&[written], planner.sources())?;
    }
    let format = args.format.map_or_else(|| format_of(output), Ok)?;
    if args.compare {
        let sizes = compared_sizes(args, &planner)?;
        let comparison = Comparison::new(&planner, &sizes, &args.compare_ranks)?;
        say_notices(&of_library(comparison.notices()), verbosity);
        return match format {
            PlanFormat::Table => emit(compare::table::table(&comparison).as_bytes(), output),
            PlanFormat::Json => emit_json(&compare::json::ComparisonJson::new(&comparison), output),
            PlanFormat::Svg => emit(compare::svg::draw(&comparison).as_bytes(), output),
        };
    }
    let latents = latents(args, &planner)?;
    let cut = args.ranks.cut();
    let (mut planned, estimates) = match args.max_memory {
        None => planner.plan(latents, &cut, group)?,
        Some(ByteSize(bytes)) => planner.plan_within(latents, &cut, group, bytes)?,
    };
    planned.notices.splice(0..0, planner.notices().iter().cloned());
    say_notices(&of_library(&planned.notices), verbosity);
    match format {
        PlanFormat::Table => emit(plan::table::table(&planned, &estimates).as_bytes(), output),
        PlanFormat::Json => emit_json(&plan::json::PlanJson::new(&planned, &estimates), output),
        PlanFormat::Svg => emit(plan::svg::draw(&planned, &estimates)?.as_bytes(), output),
    }
}

/// How a plan is shown in a file of that name.
///
/// # Errors
/// [`Error::Usage`] for the extension of something that a plan is not.
fn format_of(output: Option<&Path>) -> Result<PlanFormat, Error> {
    let extension = output.and_then(Path::extension).map(OsStr::to_ascii_lowercase);
    Ok(match extension.as_deref().map(OsStr::to_str) {
        Some(Some("svg")) => PlanFormat::Svg,
        Some(Some("json")) => PlanFormat::Json,
        None | Some(Some("txt" | "md")) => PlanFormat::Table,
        Some(other) => {
            return Err(Error::Usage(format!(
                "a plan is no .{}; write .svg, .json or .txt, or say what it is by --format",
                other.unwrap_or("file of that kind").escape_debug()
            )));
        }
    })
}

/// The sizes of latents to compare: the one that is given as for a single plan, or a list in pixels.
fn compared_sizes(args: &PlanArgs, planner: &Planner) -> Result<Vec<Size>, Error> {
    let given = [args.height.or(args.latent_height), args.width.or(args.latent_width)];
    match given {
        [Some(_), Some(_)] => return Ok(vec![latents(args, planner)?]),
        [None, None] => {}
        _ => return Err(Error::Usage("a height needs a width, and a width a height".into())),
    }
    let scale = planner.tiling().scale.space;
    let cells = |pixels| cells_of_pixels("compare_sizes", pixels, scale);
    let frames = frames(args, planner)?;
    let size = |&Pair { height, width }: &Pair<u32>| {
        Ok(Size::video(frames, cells(height)?, cells(width)?))
    };
    args.compare_sizes.iter().map(size).collect()
}

/// The latents' frames, from a flag that counts those or the video's.
fn frames(args: &PlanArgs, planner: &Planner) -> Result<u32, Error> {
    let frames = match (args.frames, args.latent_frames) {
        (Some(frames), _) => latent_frames("frames", frames, planner.tiling().scale.time)?,
        (None, frames) => frames.unwrap_or(1),
    };
    if frames > 1 && !planner.is_video() {
        let option = if args.frames.is_some() { "frames" } else { "latent_frames" };
        return Err(halovae::Error::from(OptionError::ImagesOnly { option }).into());
    }
    Ok(frames)
}

/// The latents' size, from flags in pixels or in cells.
fn latents(args: &PlanArgs, planner: &Planner) -> Result<Size, Error> {
    let scale = planner.tiling().scale.space;
    let extent = |option, pixels: Option<u32>, cells: Option<u32>| match (pixels, cells) {
        (Some(pixels), _) => cells_of_pixels(option, pixels, scale),
        (None, cells) => Ok(cells.unwrap_or(0)),
    };
    Ok(Size::video(
        frames(args, planner)?,
        extent("height", args.height, args.latent_height)?,
        extent("width", args.width, args.latent_width)?,
    ))
}
