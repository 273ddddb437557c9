//! `halovae inspect`: what a checkpoint is, what decoding with it costs, how it tiles.

use std::collections::BTreeMap;
use std::fmt::Write;

use halovae_core::{Direction, Size, TileAxis, TileGrid};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::{Checkpoint, ConfigSource, Naming};
use halovae_engine::decode::CHUNK;
use halovae_engine::format_bytes;
use halovae_engine::program::{Analysis, Program, ReceptiveField, fuse};

use crate::args::{InspectArgs, VaeArgs, Verbosity};
use crate::backend;
use crate::console::{emit, say_notices};
use crate::error::Error;
use crate::notices::Notice;
use crate::plan_options::{TileOptions, cells_of_pixels};
use crate::plan_table::flops;

/// Prints what is known about the checkpoint.
///
/// # Errors
/// [`Error`].
pub(crate) fn run(args: &InspectArgs, verbosity: Verbosity) -> Result<(), Error> {
    let VaeArgs { vae, config, variant } = &args.vae;
    let (checkpoint, program) = super::open_vae(vae, config.as_deref(), variant.as_deref())?;
    let notices = Notice::of_checkpoint(&checkpoint, variant.as_deref());
    let own = checkpoint.config().tile_latent_min_size();
    let cells = |flag, pixels: Option<u32>, own| {
        pixels.map_or(Ok(own), |pixels| cells_of_pixels(flag, pixels, program.scale()))
    };
    let latents =
        Size::new(cells("--height", args.height, own[0])?, cells("--width", args.width, own[1])?);
    // Refuses what no decode could write.
    halovae_core::Plan::whole(latents, program.scale())?;

    let mut text = String::new();
    describe_checkpoint(&mut text, &checkpoint, &program);
    describe_program(&mut text, &program);
    describe_costs(&mut text, &program, latents)?;
    describe_tiles(&mut text, &checkpoint, &program);
    say_notices(&notices, verbosity);
    emit(text.as_bytes(), None)
}

/// A line of a name and a value.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{name:<22}{value}");
}

fn describe_checkpoint(text: &mut String, checkpoint: &Checkpoint, program: &Program) {
    let config = checkpoint.config();
    line(text, "checkpoint", checkpoint.path().display());
    let files = checkpoint.weight_files().iter().filter_map(|file| file.file_name());
    let files: Vec<_> = files.map(|name| name.to_string_lossy()).collect();
    line(text, "files", files.join(", "));
    line(text, "model", "AutoencoderKL, decoder");
    let naming = match checkpoint.naming() {
        Naming::Diffusers => "diffusers",
        Naming::Ldm => "original (LDM, BFL)",
    };
    match checkpoint.prefix() {
        "" => line(text, "naming", naming),
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
    line(text, "latent_channels", config.latent_channels);
    line(text, "out_channels", config.out_channels);
    line(text, "block_out_channels", format_args!("{:?}", config.block_out_channels));
    line(text, "layers_per_block", config.layers_per_block);
    line(text, "norm_num_groups", config.norm_num_groups);
    line(text, "post_quant_conv", yes_no(config.use_post_quant_conv));
    line(text, "mid_block_attention", yes_no(config.mid_block_add_attention));
    line(text, "scaling_factor", config.scaling_factor);
    line(text, "shift_factor", config.shift_factor);
    if config.latents_mean.is_some() && config.latents_std.is_some() {
        line(text, "latents_mean, _std", "per channel, instead of shift_factor");
    }
    line(text, "sample_size", by(config.sample_size));
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
        format_args!("{} latent cells ({pixels} pixels) to each side{note}", field.radius),
    );
}

fn describe_costs(text: &mut String, program: &Program, latents: Size) -> Result<(), Error> {
    let cpu = backend::cpu(backend::threads(None))?;
    let fused = fuse(program, |program, op| cpu.supports(program, op));
    let figures = Analysis::new(&fused, latents, CHUNK, &cpu);
    let pixels = [latents.height, latents.width].map(|cells| cells * program.scale());
    let _ = writeln!(text, "\nwhole decode to {} pixels (height x width)", by(pixels));
    let attention = 100.0 * figures.attention_flops as f64 / (figures.flops as f64).max(1.0);
    line(
        text,
        "work",
        format_args!("{}, {attention:.1}% of it attention", flops(figures.flops as f64)),
    );
    line(text, "weights", format_bytes(figures.weight_bytes));
    line(text, "values and workspace", format_bytes(figures.peak_live_bytes));
    let total = figures.peak_live_bytes.saturating_add(figures.weight_bytes);
    line(text, "memory", format_args!("{} on the {}", format_bytes(total), cpu.name()));
    Ok(())
}

fn describe_tiles(text: &mut String, checkpoint: &Checkpoint, program: &Program) {
    text.push_str("\ntiles by default\n");
    let config = checkpoint.config();
    line(text, "tile_sample_min_size", by(config.tile_sample_min_size()));
    line(text, "tile_latent_min_size", by(config.tile_latent_min_size()));
    line(text, "tile_overlap_factor", config.tile_overlap_factor());
    let [height, width] = config.tile_latent_min_size();
    let grid = TileOptions::default().tiling(Some(config), program.scale()).and_then(|tiling| {
        Ok(TileGrid::new(Direction::Decode, Size::new(height, width), &tiling)?)
    });
    match grid {
        Ok(grid) => {
            let axes = |f: fn(&TileAxis) -> u32| by([f(grid.height()), f(grid.width())]);
            line(text, "stride", format_args!("{} latent cells", axes(TileAxis::stride)));
            line(text, "blend_extent", format_args!("{} pixels", axes(TileAxis::blend_extent)));
            line(text, "row_limit", format_args!("{} pixels", axes(TileAxis::row_limit)));
        }
        Err(error) => line(text, "not possible", error),
    }
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
