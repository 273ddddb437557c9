//! `halovae inspect`: what a checkpoint is, what decoding with it costs, how it tiles.

mod line;
mod video;

use std::collections::BTreeMap;
use std::fmt::Write;

use halovae::{Planner, TileOptions, Vae, cells_of_pixels, for_frames, threads, tile_pixels};
use halovae_core::{AxisTiling, Direction, Size, TileAxis, TileGrid, Tiling};
use halovae_cpu::CpuModel;
use halovae_engine::checkpoint::{Checkpoint, ConfigSource, Detail, Naming};
use halovae_engine::decode::CHUNK;
use halovae_engine::format_bytes;
use halovae_engine::program::{Analysis, Program, ReceptiveField, fuse};

use crate::args::{InspectArgs, Verbosity};
use crate::console::{emit, say_notices};
use crate::error::Error;
use crate::notices::of_library;
use crate::plan::table::flops;
use line::line;

/// Height and width for the figures of a model without tiles.
const UNTILED_PIXELS: u32 = 512;

/// Prints what is known about the checkpoint.
///
/// # Errors
/// [`Error`].
pub(crate) fn run(args: &InspectArgs, verbosity: Verbosity) -> Result<(), Error> {
    let vae = Vae::open_with(&args.vae.vae, &args.vae.options())?;
    let (checkpoint, program) = (vae.checkpoint(), vae.program());
    let tiling = checkpoint.config().tiling();
    let own = tile_cells(&tiling);
    let cells = |option, pixels: Option<u32>, own| {
        pixels.map_or(Ok(own), |pixels| cells_of_pixels(option, pixels, program.scale()))
    };
    let latents =
        Size::new(cells("height", args.height, own[0])?, cells("width", args.width, own[1])?);
    // Refuses what no decode could write.
    halovae_core::Plan::whole(latents, program.scale())?;

    let mut text = String::new();
    describe_checkpoint(&mut text, checkpoint, program);
    describe_program(&mut text, program);
    let cpu = CpuModel::new(threads(None) as usize);
    describe_costs(&mut text, &for_frames(program.clone(), 1), latents, &cpu);
    if checkpoint.config().is_video() {
        let planner = Planner::new(&vae, TileOptions::default())?;
        video::describe(&mut text, program, &planner, latents)?;
    }
    describe_tiles(&mut text, &tiling);
    say_notices(&of_library(vae.notices()), verbosity);
    emit(text.as_bytes(), None)
}

fn describe_checkpoint(text: &mut String, checkpoint: &Checkpoint, program: &Program) {
    line(text, "checkpoint", checkpoint.path().display());
    let files = checkpoint.weight_files().iter().filter_map(|file| file.file_name());
    let files: Vec<_> = files.map(|name| name.to_string_lossy()).collect();
    line(text, "files", files.join(", "));
    let config = checkpoint.config();
    line(text, "model", format_args!("{}, decoder", config.class()));
    let naming = match checkpoint.naming() {
        Naming::Diffusers => "diffusers".to_owned(),
        Naming::Original(whose) => format!("original ({whose})"),
    };
    match checkpoint.prefix() {
        "" => line(text, "naming", &naming),
        prefix => line(text, "naming", format_args!("{naming}, under `{prefix}`")),
    }
    let source = match checkpoint.config_source() {
        ConfigSource::File(path) => format!("`{}`", path.display()),
        ConfigSource::Given => "given".into(),
        ConfigSource::Shapes => {
            let of = checkpoint.model().map(|model| format!(" as part of {model}"));
            let guessed = match checkpoint.guessed() {
                [] => "nothing".into(),
                fields => fields.join(", "),
            };
            format!("inferred from shapes{}; guessed: {guessed}", of.unwrap_or_default())
        }
    };
    line(text, "config", source);
    let mut types: BTreeMap<_, usize> = BTreeMap::new();
    for view in checkpoint.names().filter_map(|name| checkpoint.tensor(name)) {
        *types.entry(view.dtype).or_default() += 1;
    }
    let types: Vec<_> = types.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    line(text, "weights", types.join(", "));
    let parameters: usize = program.weights().iter().map(|spec| spec.elements()).sum();
    line(text, "parameters", grouped(parameters));
    for (name, detail) in config.details() {
        line(text, name, in_words(&detail));
    }
}

fn in_words(detail: &Detail) -> String {
    match detail {
        Detail::Count(count) => count.to_string(),
        Detail::Counts(counts) => format!("{counts:?}"),
        Detail::Number(number) => number.to_string(),
        Detail::Flag(flag) => yes_no(*flag).into(),
        Detail::Flags(flags) => {
            let words: Vec<_> = flags.iter().map(|&flag| yes_no(flag)).collect();
            words.join(", ")
        }
        Detail::Sides(sides) => by(*sides),
        Detail::Text(text) => (*text).into(),
        other => format!("{other:?}"),
    }
}

fn describe_program(text: &mut String, program: &Program) {
    let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
    for op in program.ops() {
        *kinds.entry(op.kind()).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    line(text, "ops", format_args!("{}: {}", program.ops().len(), kinds.join(", ")));
    line(text, "scale", format_args!("{} pixels per latent cell", program.scale()));
    let field = ReceptiveField::new(program);
    let pixels = u64::from(field.radius) * u64::from(program.scale());
    let note = match field.has_global_ops {
        true => "; norms and attention see everything, so no halo is exact",
        false => "; a halo of that radius is exact",
    };
    line(
        text,
        "receptive field",
        format_args!(
            "{} latent cells ({pixels} pixels) to each side{}{note}",
            field.radius,
            frames_read(field.frames)
        ),
    );
}

/// How far a frame looks into the frames of the latents.
fn frames_read([before, behind]: [u32; 2]) -> String {
    match [before, behind] {
        [0, 0] => String::new(),
        [before, 0] => format!(", {before} frames of latents back"),
        [before, behind] => format!(", {before} frames of latents back and {behind} ahead"),
    }
}

/// Of a decode of one image.
fn describe_costs(text: &mut String, program: &Program, latents: Size, cpu: &CpuModel) {
    let fused = fuse(program, |_, op| cpu.supports(op));
    let figures = Analysis::new(&fused, latents, CHUNK, cpu);
    let pixels = [latents.height, latents.width].map(|cells| cells * program.scale());
    let _ = writeln!(text, "\nwhole decode of one image to {} pixels (height x width)", by(pixels));
    let attention = 100.0 * figures.attention_flops as f64 / (figures.flops as f64).max(1.0);
    line(
        text,
        "work",
        format_args!("{}, {attention:.1}% of it attention", flops(figures.flops as f64)),
    );
    line(text, "weights", format_bytes(figures.weight_bytes));
    line(text, "values and workspace", format_bytes(figures.peak_live_bytes));
    let total = figures.peak_live_bytes.saturating_add(figures.weight_bytes);
    line(text, "memory", format_args!("{} on the cpu", format_bytes(total)));
}

fn describe_tiles(text: &mut String, tiling: &Tiling) {
    text.push_str("\ntiles by default\n");
    let [height, width] = tile_cells(tiling);
    let axes = [tiling.height, tiling.width];
    if let [Some(rows), Some(columns)] = axes.map(tile_pixels) {
        line(text, "tile_sample_min_size", by([rows, columns]));
    }
    line(text, "tile_latent_min_size", by([height, width]));
    for (axis, name) in axes.iter().zip(["height", "width"]) {
        let (kind, value) = match axis {
            AxisTiling::Whole => ("tiles", "none".into()),
            AxisTiling::Overlap { tile_overlap_factor, .. } => {
                ("tile_overlap_factor", tile_overlap_factor.to_string())
            }
            AxisTiling::Stride { tile_sample_stride, .. } => {
                ("tile_sample_stride", tile_sample_stride.to_string())
            }
        };
        if axes[0] == axes[1] {
            line(text, kind, value);
            break;
        }
        line(text, kind, format_args!("{value} ({name})"));
    }
    match TileGrid::new(Direction::Decode, Size::new(height, width), tiling) {
        Ok(grid) => {
            let axes = |f: fn(&TileAxis) -> u32| by([f(grid.height()), f(grid.width())]);
            line(text, "stride", format_args!("{} latent cells", axes(TileAxis::stride)));
            line(text, "blend_extent", format_args!("{} pixels", axes(TileAxis::blend_extent)));
            line(text, "row_limit", format_args!("{} pixels", axes(TileAxis::row_limit)));
        }
        Err(error) => line(text, "not possible", error),
    }
}

/// Height and width of a tile in latent cells.
fn tile_cells(tiling: &Tiling) -> [u32; 2] {
    let in_cells = |pixels: u32| pixels.checked_div(tiling.scale.space).unwrap_or(0).max(1);
    [tiling.height, tiling.width].map(|axis| match axis {
        AxisTiling::Whole => in_cells(UNTILED_PIXELS),
        AxisTiling::Overlap { tile_latent_min_size, .. } => tile_latent_min_size,
        AxisTiling::Stride { tile_sample_min_size, .. } => in_cells(tile_sample_min_size),
    })
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn by([height, width]: [u32; 2]) -> String {
    format!("{height} x {width}")
}

/// Digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1234), "1 234");
        assert_eq!(grouped(49_545_475), "49 545 475");
    }
}
