//! What there is to know of a decoder of videos: how many frames come out, which of them can be
//! decoded while later ones are not there yet, and in how much memory.

use std::fmt::Write;

use halovae::{CutOptions, Memory, Planner, frames_per_latent};
use halovae_core::{Size, Strategy};
use halovae_engine::decode::CHUNK;
use halovae_engine::flow::Flow;
use halovae_engine::format_bytes;
use halovae_engine::program::{Program, Reads};

use super::line::line;
use crate::error::Error;
use crate::plan::time::flows;
use crate::words::extents;

/// Frames of latents that memory is told for; enough of the last that nothing grows any more with
/// decoders that keep a few frames.
const LATENT_FRAMES: [u32; 4] = [1, 2, 6, 21];
/// Ranks of the sharded decode.
const RANKS: u32 = 4;
/// Shown where there is no such decode.
const NONE: &str = "-";

/// Appends it for latents of that height and width.
pub(super) fn describe(
    text: &mut String,
    program: &Program,
    planner: &Planner,
    latents: Size,
) -> Result<(), Error> {
    let scale = program.out_scale();
    text.push_str("\nvideos\n");
    line(text, "frames", format_args!("{} of the latents' frames", frames_per_latent(scale.time)));
    let last = LATENT_FRAMES[LATENT_FRAMES.len() - 1];
    line(text, "streaming", flows(&Flow::new(program, last, CHUNK)));
    let reads_all = |(_, reads)| reads == Reads::All;
    let waits: Vec<_> = program.ops().iter().filter(|op| op.reads().any(reads_all)).collect();
    if let Some((first, others)) = waits.split_first() {
        let more = match others.len() {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let name = program.op_name(first);
        line(text, "waiting", format_args!("`{name}`{more} reads all frames at once"));
    }

    let weights = planner.decoder(last).map_or(0, |decoder| decoder.weight_bytes);
    let weights = format_bytes(weights);
    line(text, "weights", format_args!("{weights} for several frames, once a device"));
    let pixels = scale.layer(Size { frames: 1, ..latents }).unwrap_or(latents);
    let _ = writeln!(
        text,
        "\nvalues, workspace and finished pieces to {} pixels, of the rank that needs most\n{:>10}{:>10}{:>14}{:>14}\
         {:>14}{:>20}",
        extents(pixels),
        "frames",
        "latents",
        "whole",
        "at once",
        "tiled",
        format!("sharded over {RANKS}"),
    );
    for frames in LATENT_FRAMES {
        let latents = Size { frames, ..latents };
        let of = |strategy, ranks| match planner.plan(
            latents,
            &CutOptions::of(strategy, ranks),
            ranks,
        ) {
            Ok((_, estimates)) => {
                let bytes = estimates.memory.map_or(0, |Memory { live, stitching, .. }| {
                    let [stitches, others @ ..] = &live[..] else { return stitching };
                    let stitches = stitches.saturating_add(stitching);
                    others.iter().copied().fold(stitches, u64::max)
                });
                Ok(format_bytes(bytes))
            }
            Err(refused) if refused.is_of_plan() => Ok(NONE.to_owned()),
            Err(error) => Err(error),
        };
        let at_once = planner.bytes_at_once(latents)?.map_or_else(|| NONE.to_owned(), format_bytes);
        let _ = writeln!(
            text,
            "{:>10}{frames:>10}{:>14}{:>14}{:>14}{:>20}",
            scale.time.at(frames).map_or_else(|| NONE.to_owned(), |frames| frames.to_string()),
            of(Strategy::Whole, 1)?,
            at_once,
            of(Strategy::Tiled, 1)?,
            of(Strategy::Sharded, RANKS)?,
        );
    }
    Ok(())
}
