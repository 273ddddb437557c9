//! What there is to know of a decoder of videos, in words.

use std::fmt::Write;

use halovae::describe::{VideoFacts, WaitsForAll};
use halovae::words::format_bytes;

use super::{by, line::line};
use crate::plan::time::flows;
use crate::words::frames_per_latent;

/// Shown where there is no such decode.
const NONE: &str = "-";

/// Appends it.
pub(super) fn describe(text: &mut String, facts: &VideoFacts) {
    text.push_str("\nvideos\n");
    let frames = frames_per_latent(facts.time);
    line(text, "frames", format_args!("{frames} of the latents' frames"));
    line(text, "streaming", flows(&facts.streaming));
    if let Some(WaitsForAll { first, others, .. }) = &facts.waits_for_all {
        let more = match others {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        line(text, "waiting", format_args!("`{first}`{more} reads all frames at once"));
    }
    let weights = format_bytes(facts.weight_bytes);
    line(text, "weights", format_args!("{weights} for several frames, once a device"));
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "\nvalues, workspace and finished pieces to {} pixels, of the rank that needs most\n{:>10}{:>10}{:>14}{:>14}\
         {:>14}{:>20}",
        by(facts.pixels),
        "frames",
        "latents",
        "whole",
        "at once",
        "tiled",
        format!("sharded over {}", facts.sharded_ranks),
    );
    let or_none = |bytes: Option<u64>| bytes.map_or_else(|| NONE.to_owned(), format_bytes);
    for row in &facts.memory {
        let _ = writeln!(
            text,
            "{:>10}{:>10}{:>14}{:>14}{:>14}{:>20}",
            row.frames.map_or_else(|| NONE.to_owned(), |frames| frames.to_string()),
            row.latent_frames,
            or_none(row.whole),
            or_none(row.at_once),
            or_none(row.tiled),
            or_none(row.sharded),
        );
    }
}
