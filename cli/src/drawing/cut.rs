//! How latents are cut: pieces in the colours of their ranks, overlaps and halos.

use std::fmt::Write;

use halovae::core::{Piece, Plan, Region, TileAxis};
use halovae::{Estimates, Planned};

use super::canvas::Canvas;
use crate::svg::{Drawn, outline, rimmed};

/// More pieces are finer than the pixels of a screen.
pub(crate) const MAX_PIECES: u64 = 4000;

/// Opacity of halos; several may lie over one core, whose colour must still show.
pub(crate) const HALO_SHADE: f64 = 0.08;

/// The hatching of overlaps, which a drawing with any defines once.
pub(crate) const OVERLAP: &str = r##"<defs><pattern id="overlap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#000000" fill-opacity="0.07"/><line x1="0" y1="0" x2="0" y2="7" stroke="#222222" stroke-width="1.5" stroke-opacity="0.5"/></pattern></defs>
"##;

/// How overlaps are filled.
pub(crate) const OVERLAP_FILL: &str = "url(#overlap)";

/// Many small pieces have thinner rims.
const CROWDED: usize = 400;

/// In one of many pictures more pieces have no numbers.
const MAX_NAMED: usize = 16;

/// Draws the pieces of the plan; of a video, those of its first frames.
pub(crate) fn picture(svg: &mut String, canvas: &Canvas, planned: &Planned, estimates: &Estimates) {
    let plan = &planned.plan;
    let pieces = plan.pieces().zip(estimates.owners.iter().copied());
    let pieces: Vec<(Piece, u32)> = pieces.filter(|(piece, _)| piece.input.first == 0).collect();
    match plan {
        Plan::Patch(grid) => {
            let ranks = pieces.iter().map(|&(_, rank)| rank);
            let patches: Vec<_> = grid.patches().zip(ranks).collect();
            let part = |of: fn(&halovae::core::Patch) -> Region| -> Vec<(Region, u32)> {
                patches.iter().map(|(patch, rank)| (of(patch), *rank)).collect()
            };
            let (cores, windows) = (part(|patch| patch.core), part(|patch| patch.window));
            canvas.fills(svg, &cores, 0.5);
            canvas.fills(svg, &windows, HALO_SHADE);
            let halos: Vec<_> = windows.iter().zip(&cores).filter(|(a, b)| a.0 != b.0).collect();
            let halos: Vec<_> = halos.into_iter().map(|(window, _)| *window).collect();
            canvas.dashed(svg, &halos);
            canvas.rims(svg, &cores, false);
            let indices = patches.iter().map(|(patch, _)| patch.index);
            labels(svg, canvas, indices.zip(cores).collect());
        }
        Plan::Whole(_) | Plan::Tiled(_) | Plan::Sharded(_) => {
            // A tile's colour holds up to where the next begins; behind it both show through the
            // hatching.
            let windows: Vec<_> = pieces.iter().map(|(piece, rank)| (piece.input, *rank)).collect();
            canvas.fills(svg, &windows, 0.5);
            if let Plan::Tiled(grid) = plan {
                for rect in overlaps(grid.height(), grid.width()) {
                    let place = canvas.place(rect).attributes();
                    // Writing into a String cannot fail.
                    let _ = writeln!(svg, r#"<rect {place} fill="{OVERLAP_FILL}"/>"#);
                }
            }
            canvas.rims(svg, &windows, pieces.len() > CROWDED);
            let named = pieces.iter();
            let named = named.map(|(piece, rank)| (piece.index, (own_part(plan, piece), *rank)));
            labels(svg, canvas, named.collect());
        }
    }
    let frame = canvas.place(plan.input().at_origin());
    outline(svg, frame, "#1a1a1a", if canvas.is_small() { 1.0 } else { 1.5 }, "");
}

/// The bands in which tiles lie over each other, rows first: each is what a tile shares with its
/// predecessor, over the whole other axis.
fn overlaps(rows: &TileAxis, cols: &TileAxis) -> Vec<Region> {
    let shared = |axis: &TileAxis| -> Vec<(u32, u32)> {
        let end = |index| axis.start(index) + axis.len(index);
        (1..axis.count())
            .map(|index| (axis.start(index), end(index - 1).min(end(index))))
            .filter(|(start, end)| end > start)
            .collect()
    };
    let (height, width) = (rows.extent(), cols.extent());
    let horizontal =
        shared(rows).into_iter().map(|(start, end)| Region::new(start, 0, end - start, width));
    let vertical =
        shared(cols).into_iter().map(|(start, end)| Region::new(0, start, height, end - start));
    horizontal.chain(vertical).collect()
}

/// The part of a tile that no other covers; where there is none, the part up to the next.
fn own_part(plan: &Plan, piece: &Piece) -> Region {
    let Plan::Tiled(grid) = plan else { return piece.input };
    let Some(tile) = grid.tile(piece.index) else { return piece.input };
    let (top, height) = own_span(grid.height(), tile.row);
    let (left, width) = own_span(grid.width(), tile.col);
    Region::new(top, left, height, width)
}

/// Start and length of the part of a tile that no neighbour covers.
fn own_span(axis: &TileAxis, index: u32) -> (u32, u32) {
    let end_of = |index: u32| axis.start(index) + axis.len(index);
    let start = axis.start(index);
    let next = if index + 1 < axis.count() { axis.start(index + 1) } else { axis.extent() };
    let end = end_of(index).min(next);
    let previous_end = if index == 0 { 0 } else { end_of(index - 1) };
    match end.checked_sub(previous_end.max(start)) {
        Some(length) if length > 0 => (previous_end.max(start), length),
        _ => (start, end.saturating_sub(start).max(1)),
    }
}

/// The numbers of pieces, and of their ranks.
fn labels(svg: &mut String, canvas: &Canvas, pieces: Vec<(u64, (Region, u32))>) {
    if canvas.is_small() && pieces.len() > MAX_NAMED {
        return;
    }
    for (index, (part, rank)) in pieces {
        label(svg, canvas.place(part), index, rank);
    }
}

/// The index of a piece, and below it its rank, where there is room.
fn label(svg: &mut String, place: Drawn, index: u64, rank: u32) {
    let size = (place.width / 3.4).min(place.height / 2.8).min(22.0);
    if size < 6.0 {
        return;
    }
    let [x, y] = [place.x + place.width / 2.0, place.y + place.height / 2.0];
    // A rim of white, for the lines of halos that run behind.
    const RIM: f64 = 3.0;
    let plain = r#"text-anchor="middle""#;
    let bold = r#"text-anchor="middle" font-weight="bold""#;
    let shown = (size * 10.0).round() / 10.0;
    let small = (size * 6.5).round() / 10.0;
    rimmed(svg, [x, y + size * 0.1], shown, bold, RIM, &index.to_string());
    rimmed(svg, [x, y + size * 0.95], small, plain, RIM, &format!("r{rank}"));
}
