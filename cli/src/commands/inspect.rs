//! `halovae inspect`: what a checkpoint is, what decoding with it costs, how it tiles.

mod line;
mod video;

use std::fmt::Write;

use halovae::describe::{
    AxisFacts, CheckpointFacts, ConfigOrigin, ImageCosts, OpFacts, ReceptiveFieldFacts, TileFacts,
    TileStep,
};
use halovae::engine::checkpoint::Detail;
use halovae::words::format_bytes;
use halovae::{DescribeOptions, Description, Vae};
use serde::Serialize;

use crate::args::{InspectArgs, Verbosity};
use crate::console::{emit, emit_json, say_notices};
use crate::error::Error;
use crate::notices::of_library;
use crate::plan::table::flops;
use line::line;

/// Prints what is known about the checkpoint.
///
/// # Errors
/// [`Error`].
pub(crate) fn run(args: &InspectArgs, verbosity: Verbosity) -> Result<(), Error> {
    let vae = Vae::open_with(&args.vae.vae, &args.vae.options())?;
    let mut options = DescribeOptions::default();
    options.height = args.height;
    options.width = args.width;
    options.frames = args.frames;
    let description = vae.describe(&options)?;
    say_notices(&of_library(vae.notices()), verbosity);
    if args.json {
        return emit_json(&DescriptionJson::new(&description), None);
    }
    emit(in_words(&description).as_bytes(), None)
}

/// A description as JSON.
#[derive(Serialize)]
struct DescriptionJson<'a> {
    version: &'static str,
    #[serde(flatten)]
    description: &'a Description,
}

impl<'a> DescriptionJson<'a> {
    fn new(description: &'a Description) -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), description }
    }
}

fn in_words(description: &Description) -> String {
    let mut text = String::new();
    describe_checkpoint(&mut text, &description.checkpoint);
    describe_decoder(&mut text, &description.decoder);
    describe_costs(&mut text, &description.image);
    if let Some(facts) = &description.video {
        video::describe(&mut text, facts);
    }
    describe_tiles(&mut text, &description.tiles);
    text
}

fn describe_checkpoint(text: &mut String, facts: &CheckpointFacts) {
    line(text, "checkpoint", facts.path.display());
    line(text, "files", facts.files.join(", "));
    line(text, "model", format_args!("{}, decoder", facts.class));
    let naming = facts.original.map_or_else(|| "diffusers".into(), |of| format!("original ({of})"));
    match &*facts.prefix {
        "" => line(text, "naming", naming),
        prefix => line(text, "naming", format_args!("{naming}, under `{prefix}`")),
    }
    line(text, "config", origin(&facts.config));
    let types: Vec<_> =
        facts.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    line(text, "weights", types.join(", "));
    line(text, "parameters", grouped(facts.parameters));
    for (name, detail) in &facts.details {
        line(text, name, detail_in_words(detail));
    }
}

fn origin(config: &ConfigOrigin) -> String {
    match config {
        ConfigOrigin::File(path) => format!("`{}`", path.display()),
        ConfigOrigin::Shapes { model, guessed } => {
            let of = model.map(|model| format!(" as part of {model}"));
            let guessed = if guessed.is_empty() { "nothing".into() } else { guessed.join(", ") };
            format!("inferred from shapes{}; guessed: {guessed}", of.unwrap_or_default())
        }
        _ => "given".into(),
    }
}

fn detail_in_words(detail: &Detail) -> String {
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

fn describe_decoder(text: &mut String, facts: &OpFacts) {
    let kinds: Vec<_> = facts.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    line(text, "ops", format_args!("{}: {}", facts.ops, kinds.join(", ")));
    line(text, "scale", format_args!("{} pixels per latent cell", facts.pixels_per_cell));
    let ReceptiveFieldFacts { cells, pixels, is_exact, .. } = facts.receptive_field;
    let note = match is_exact {
        false => "; norms and attention see everything, so no halo is exact",
        true => "; a halo of that radius is exact",
    };
    let frames = frames_read(&facts.receptive_field);
    line(
        text,
        "receptive field",
        format_args!("{cells} latent cells ({pixels} pixels) to each side{frames}{note}"),
    );
}

/// How far a frame looks into the frames of the latents.
fn frames_read(field: &ReceptiveFieldFacts) -> String {
    match [field.frames_before, field.frames_behind] {
        [0, 0] => String::new(),
        [before, 0] => format!(", {before} frames of latents back"),
        [before, behind] => format!(", {before} frames of latents back and {behind} ahead"),
    }
}

/// Of a decode of one image.
fn describe_costs(text: &mut String, costs: &ImageCosts) {
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "\nwhole decode of one image to {} pixels (height x width)",
        by(costs.pixels)
    );
    let attention = 100.0 * costs.attention_flops as f64 / (costs.flops as f64).max(1.0);
    line(
        text,
        "work",
        format_args!("{}, {attention:.1}% of it attention", flops(costs.flops as f64)),
    );
    line(text, "weights", format_bytes(costs.weight_bytes));
    line(text, "values and workspace", format_bytes(costs.value_bytes));
    line(text, "memory", format_args!("{} on the cpu", format_bytes(costs.bytes())));
}

fn describe_tiles(text: &mut String, tiles: &TileFacts) {
    text.push_str("\ntiles by default\n");
    if let Some(pixels) = tiles.sample_min_size {
        line(text, "tile_sample_min_size", by(pixels));
    }
    line(text, "tile_latent_min_size", by(tiles.latent_min_size));
    for (step, name) in tiles.steps.iter().zip(["height", "width"]) {
        let (kind, value) = match step {
            TileStep::OverlapFactor(factor) => ("tile_overlap_factor", factor.to_string()),
            TileStep::Stride(stride) => ("tile_sample_stride", stride.to_string()),
            _ => ("tiles", "none".into()),
        };
        if tiles.steps[0] == tiles.steps[1] {
            line(text, kind, value);
            break;
        }
        line(text, kind, format_args!("{value} ({name})"));
    }
    match (&tiles.axes, &tiles.refused) {
        (Some(axes), _) => {
            let axes = |f: fn(&AxisFacts) -> u32| by([f(&axes[0]), f(&axes[1])]);
            line(text, "stride", format_args!("{} latent cells", axes(|axis| axis.stride)));
            line(text, "blend_extent", format_args!("{} pixels", axes(|axis| axis.blend_extent)));
            line(text, "row_limit", format_args!("{} pixels", axes(|axis| axis.row_limit)));
        }
        (None, Some(refused)) => line(text, "not possible", refused),
        (None, None) => {}
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
