//! What there is to know of a decoder of videos: how many frames come out, which of them can be
//! decoded while later ones are not there yet, and in how much memory.

use std::fmt::Write;

use halovae_core::{Plan, Size, Strategy, Tiling};
use halovae_cpu::CpuModel;
use halovae_engine::decode::{CHUNK, stitching_bytes};
use halovae_engine::flow::Flow;
use halovae_engine::format_bytes;
use halovae_engine::program::{MemoryModel, Program, Reads, fuse, peak_bytes};
use halovae_engine::shard::exchanged_layers;

use super::line::line;
use crate::error::Error;
use crate::plan::estimates::{Estimates, Memory, Model};
use crate::plan::options::{CutRequest, plan};
use crate::plan::tiles::TileOptions;
use crate::plan::time::flows;
use crate::vae::for_frames;
use crate::words::{extents, frames_per_latent};

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
    tiling: &Tiling,
    latents: Size,
    cpu: &CpuModel,
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

    let fused = fuse(program, |_, op| cpu.supports(op));
    let weights = format_bytes(cpu.prepared_weight_bytes(&fused));
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
        let program = for_frames(program.clone(), frames);
        let layers = exchanged_layers(&program);
        let fused = fuse(&program, |_, op| cpu.supports(op));
        let at_once = peak_bytes(&fused, latents, frames, cpu);
        let whole = Plan::whole(latents, scale)?;
        let at_once = at_once.saturating_add(stitching_bytes(&whole, &fused, 1, frames));
        let of = |strategy, ranks| {
            let request = CutRequest::of(strategy, ranks);
            let options = TileOptions::default();
            let layers = layers.as_deref();
            let planned = plan(latents, 1, &request, ranks, &options, tiling, layers);
            let model = Model { program: &fused, memory: cpu };
            let estimates = planned.and_then(|planned| Estimates::new(&planned, Some(&model)));
            match estimates {
                Ok(estimates) => {
                    let bytes = estimates.memory.map_or(0, |Memory { live, stitching, .. }| {
                        let [stitches, others @ ..] = &live[..] else { return stitching };
                        let stitches = stitches.saturating_add(stitching);
                        others.iter().copied().fold(stitches, u64::max)
                    });
                    Ok(format_bytes(bytes))
                }
                Err(Error::Plan(_) | Error::Uncut(_) | Error::Usage(_)) => Ok(NONE.to_owned()),
                Err(error) => Err(error),
            }
        };
        let _ = writeln!(
            text,
            "{:>10}{frames:>10}{:>14}{:>14}{:>14}{:>20}",
            scale.time.at(frames).map_or_else(|| NONE.to_owned(), |frames| frames.to_string()),
            of(Strategy::Whole, 1)?,
            format_bytes(at_once),
            of(Strategy::Tiled, 1)?,
            of(Strategy::Sharded, RANKS)?,
        );
    }
    Ok(())
}
