//! A plan as text.

use std::fmt::{Display, Write};

use halovae::Estimates;
use halovae::Planned;
use halovae::core::{Axis, PatchGrid, Plan, Region, ShardGrid, Size, TileAxis, TileGrid};
use halovae::plan::slices;
use halovae::plan::{Traffic, Within, WorkUnit};
use halovae::words::format_bytes;
use halovae::words::frames_per_latent;

use crate::plan::time::{first_to_last, streams};
use crate::words::{axes, extents as by};
use crate::words::{counted, piece_name};

/// Longer lists are cut: the JSON has everything.
const MAX_RANK_LINES: usize = 32;
const MAX_PIECE_LINES: usize = 64;

/// The whole plan.
pub(crate) fn table(planned: &Planned, estimates: &Estimates) -> String {
    let mut text = String::new();
    describe(&mut text, planned, estimates);
    describe_cost(&mut text, planned, estimates);
    list_ranks(&mut text, planned, estimates);
    list_slices(&mut text, planned);
    list_pieces(&mut text, planned, estimates);
    text
}

/// A line of a name and a value.
fn line(text: &mut String, name: &str, value: impl Display) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{name:<16}{value}");
}

fn describe(text: &mut String, planned: &Planned, estimates: &Estimates) {
    let Planned { plan, requested, group, ranks, .. } = planned;
    let scale = planned.scale.space;
    let (input, output) = (by(plan.input()), by(plan.output()));
    line(text, "strategy", plan.strategy());
    line(text, "output", format_args!("{output} pixels ({})", axes(plan.output())));
    line(text, "latents", format_args!("{input} cells of {scale} x {scale} pixels"));
    if plan.output().frames > 1 {
        let (frames, latents) = (plan.output().frames, plan.input().frames);
        let laid = frames_per_latent(planned.scale.time);
        line(text, "frames", format_args!("{frames} of {latents} frames of latents: {laid}"));
    }
    let streaming = estimates.streaming.as_ref().filter(|_| plan.input().frames > 1);
    if let Some(streaming) = streaming {
        line(text, "streams", streams(plan, streaming));
        let chunk = estimates.chunk.min(plan.input().frames);
        line(text, "at a time", format_args!("{} of the latents", counted(chunk.into(), "frame")));
    }
    line(text, "ranks", format_args!("{ranks} (asked for {requested}, group of {group})"));
    match plan {
        Plan::Whole(_) => {}
        Plan::Tiled(grid) => describe_tiles(text, grid),
        Plan::Patch(grid) => describe_patches(text, grid),
        Plan::Sharded(grid) => describe_shards(text, grid),
    }
}

fn describe_shards(text: &mut String, grid: &ShardGrid) {
    let count = counted(grid.len().into(), "shard");
    let shards = Size::video(grid.slices(), grid.rows(), grid.cols());
    line(text, "grid", format_args!("{}: {count}{}", by(shards), grid_axes(grid.slices())));
    if let Some(shard) = grid.shard(0) {
        let size = if grid.latents().frames > 1 { with_frames } else { by };
        line(text, "first shard", format_args!("{} cells", size(shard.core.size())));
    }
}

/// What the numbers of a grid count, where it is cut along time too.
fn grid_axes(slices: u32) -> &'static str {
    if slices > 1 { " (slices x rows x columns)" } else { "" }
}

/// What ranks exchange, with one rank for each shard.
fn describe_traffic(text: &mut String, traffic: &Traffic) {
    let Traffic { halo_bytes, attention_bytes, statistics_bytes, .. } = *traffic;
    let Traffic { halo_exchanges, reductions, ring_steps, .. } = *traffic;
    let bytes = format_bytes;
    line(
        text,
        "exchanged",
        format_args!(
            "{} in all: halos {}, keys and values {}, statistics {}",
            bytes(traffic.bytes()),
            bytes(halo_bytes),
            bytes(attention_bytes),
            bytes(statistics_bytes)
        ),
    );
    line(
        text,
        "collectives",
        format_args!(
            "{}: {halo_exchanges} halo exchanges, {reductions} merges of statistics, {ring_steps} \
             steps of the ring of keys and values",
            traffic.collectives()
        ),
    );
}

fn describe_tiles(text: &mut String, grid: &TileGrid) {
    let axes = |f: fn(&TileAxis) -> u32| by(Size::new(f(grid.height()), f(grid.width())));
    let count = counted(grid.len(), "tile");
    let tiles = Size::video(grid.slices(), grid.rows(), grid.cols());
    line(text, "grid", format_args!("{}: {count}{}", by(tiles), grid_axes(grid.slices())));
    if grid.slices() > 1 {
        let time = grid.time();
        let (tile, stride, blended) = (time.tile(), time.row_limit(), time.blend_extent());
        line(
            text,
            "slice",
            format_args!("{tile} frames of latents; {stride} frames apart, blended over {blended}"),
        );
    }
    let (cells, pixels) = (axes(TileAxis::tile), axes(TileAxis::output_tile));
    line(text, "tile", format_args!("{cells} cells, {pixels} pixels"));
    line(text, "stride", format_args!("{} cells", axes(TileAxis::stride)));
    line(text, "blend_extent", format_args!("{} pixels", axes(TileAxis::blend_extent)));
    line(text, "row_limit", format_args!("{} pixels", axes(TileAxis::row_limit)));
}

fn describe_patches(text: &mut String, grid: &PatchGrid) {
    let count = counted(grid.len(), "patch");
    line(text, "grid", format_args!("{} x {}: {count}", grid.rows(), grid.cols()));
    let largest = grid.patches().max_by_key(|patch| patch.window.area());
    if let Some(patch) = largest {
        let core = patch.core.size();
        let halo = Size::new(grid.halo(Axis::Height, core), grid.halo(Axis::Width, core));
        line(text, "core", format_args!("{} cells", by(core)));
        line(text, "halo", format_args!("{} cells on each side, cut at the edges", by(halo)));
        line(text, "largest window", format_args!("{} cells", by(patch.window.size())));
    }
}

fn describe_cost(text: &mut String, planned: &Planned, estimates: &Estimates) {
    let redundancy = planned.plan.redundancy();
    line(
        text,
        "redundant work",
        format_args!("{:.1}% (every cell goes through the VAE {redundancy:.2} times)", {
            100.0 * (redundancy - 1.0)
        }),
    );
    let total = estimates.ranks.iter().map(|rank| rank.flops).sum();
    line(text, "work", work(total, estimates.unit));
    line(
        text,
        "imbalance",
        format_args!("{:.3} (largest load over the mean)", estimates.balance.imbalance()),
    );
    if let Some(memory) = &estimates.memory {
        let weights = format_bytes(memory.weights);
        line(text, "weights", format_args!("{weights}, shared by the ranks of a device"));
        let stitching = format_bytes(memory.stitching);
        line(
            text,
            "finished pieces",
            format_args!(
                "{stitching} at most, which rank 0's process holds until they are written"
            ),
        );
    }
    if let Some(Within { max_memory, needed, waiting, .. }) =
        estimates.memory.as_ref().and_then(|memory| memory.within)
    {
        let [allowed, needed, waiting] = [max_memory, needed, waiting].map(format_bytes);
        line(
            text,
            "max memory",
            format_args!(
                "{allowed}, of which {needed} are needed; {waiting} of values that wait for their turn \
                 stay in each rank's memory, others go to a file"
            ),
        );
    }
    if let Some(traffic) = &estimates.traffic {
        describe_traffic(text, traffic);
    }
}

fn list_ranks(text: &mut String, planned: &Planned, estimates: &Estimates) {
    let total: f64 = estimates.ranks.iter().map(|rank| rank.flops).sum();
    let header = match &estimates.memory {
        Some(_) => format!(
            "\n{:>6}{:>8}{:>16}{:>9}{:>13}{:>13}",
            "rank", "pieces", "work", "share", "memory", "sends"
        ),
        None => format!("\n{:>6}{:>8}{:>22}{:>9}", "rank", "pieces", "work", "share"),
    };
    let _ = writeln!(text, "{header}");
    for (index, rank) in estimates.ranks.iter().enumerate().take(MAX_RANK_LINES) {
        let share = 100.0 * rank.flops / total.max(1.0);
        let done = work(rank.flops, estimates.unit);
        let _ = match &estimates.memory {
            Some(memory) => {
                let live = format_bytes(memory.live[index]);
                let sent = format_bytes(rank.sent_bytes);
                writeln!(
                    text,
                    "{index:>6}{:>8}{done:>16}{share:>8.1}%{live:>13}{sent:>13}",
                    rank.pieces
                )
            }
            None => writeln!(text, "{index:>6}{:>8}{done:>22}{share:>8.1}%", rank.pieces),
        };
    }
    cut(text, planned.ranks as usize, MAX_RANK_LINES, "ranks");
}

/// Which frames pieces have, where they do not all have the same.
fn list_slices(text: &mut String, planned: &Planned) {
    let slices = slices(&planned.plan);
    if slices.len() < 2 {
        return;
    }
    let name = match piece_name(planned.plan.strategy()) {
        "tile" => "tiles",
        _ => "shards",
    };
    let (latents, frames) = ("frames of latents", "frames");
    let _ = writeln!(text, "\n{:>6}  {name:<16}{latents:<20}{frames}", "slice");
    for (index, slice) in slices.iter().enumerate().take(MAX_PIECE_LINES) {
        let (pieces, latents) = (first_to_last(&slice.pieces), first_to_last(&slice.latents));
        let frames = first_to_last(&slice.frames);
        let blended = match slice.blended {
            0 => String::new(),
            blended => format!(", the first {blended} blended"),
        };
        let _ = writeln!(text, "{index:>6}  {pieces:<16}{latents:<20}{frames}{blended}");
    }
    cut(text, slices.len(), MAX_PIECE_LINES, "slices");
}

fn list_pieces(text: &mut String, planned: &Planned, estimates: &Estimates) {
    let name = piece_name(planned.plan.strategy());
    let header = [name, "rank", "decodes (latent cells)", "makes (pixels)"];
    let _ = writeln!(text, "\n{:>6}{:>6}  {:<34}{}", header[0], header[1], header[2], header[3]);
    let is_video = planned.plan.output().frames > 1;
    for (piece, rank) in planned.plan.pieces().zip(&estimates.owners).take(MAX_PIECE_LINES) {
        let place = |region| place(region, is_video);
        let (input, output) = (place(piece.input), place(piece.output));
        let _ = writeln!(text, "{:>6}{rank:>6}  {input:<34}{output}", piece.index);
    }
    cut(text, estimates.owners.len(), MAX_PIECE_LINES, "pieces");
}

fn cut(text: &mut String, count: usize, shown: usize, what: &str) {
    if count > shown {
        let more = count - shown;
        let _ = writeln!(text, "   ... and {more} more {what}; --format json lists them all");
    }
}

/// A size and where it begins; in a video with frames, however few they are.
fn place(rect: Region, is_video: bool) -> String {
    let Region { first, top, left, .. } = rect;
    match is_video {
        false => format!("{} at ({top}, {left})", by(rect.size())),
        true => format!("{} at ({first}, {top}, {left})", with_frames(rect.size())),
    }
}

/// `1 x 9 x 13`: frames, even one.
fn with_frames(size: Size) -> String {
    let Size { frames, height, width } = size;
    format!("{frames} x {height} x {width}")
}

/// Work with its unit.
pub(crate) fn work(amount: f64, unit: WorkUnit) -> String {
    match unit {
        WorkUnit::Flops => flops(amount),
        other => format!("{amount:.0} {}", other.name()),
    }
}

/// Operations with a prefix: `1.24 TFLOP`.
pub(crate) fn flops(amount: f64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut value = amount;
    let mut prefix = PREFIXES[0];
    for next in &PREFIXES[1..] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    match prefix {
        "" => format!("{value:.0} FLOP"),
        prefix => format!("{value:.2} {prefix}FLOP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_has_a_prefix() {
        assert_eq!(flops(0.0), "0 FLOP");
        assert_eq!(flops(999.0), "999 FLOP");
        assert_eq!(flops(1.24e12), "1.24 TFLOP");
        assert_eq!(flops(1e24), "1000000.00 EFLOP");
        assert_eq!(work(4096.0, WorkUnit::Cells), "4096 latent cells");
    }
}
