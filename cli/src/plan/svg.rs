//! A plan as a drawing: pieces coloured by rank, overlaps and halos, the frames of a video, and the load of
//! each rank.

mod frames;
mod time;

use std::fmt::Write;

use halovae::{Estimates, Planned, format_bytes, slice_count};
use halovae_core::{Piece, Plan, Region, Size, TileAxis};

use crate::error::Error;
use crate::plan::svg::time::Strip;
use crate::plan::table::work;
use crate::svg::{self, DARK, Drawn, PALETTE, SOFT, fill, outline, text};
use crate::words::{counted, piece_name};

/// More pieces are finer than the pixels of a screen.
const MAX_PIECES: u64 = 4000;
/// Ranks that get a bar of their own.
const MAX_BARS: usize = 24;

/// The longer side of the picture in the drawing.
const PICTURE: f64 = 720.0;
/// A picture may be very long; its shorter side stays visible.
const LEAST_SIDE: f64 = 24.0;
const MARGIN: f64 = 32.0;
const TITLE: f64 = 76.0;
const LEGEND: f64 = 380.0;
const BAR: f64 = 120.0;
const LINE: f64 = 26.0;
/// From the picture to the frames below it.
const ABOVE_STRIP: f64 = 28.0;

/// Opacity of halos; several may lie over one core, whose colour must still show.
const HALO_SHADE: f64 = 0.08;

/// The hatching of overlaps.
const OVERLAP: &str = r##"<defs><pattern id="overlap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#000000" fill-opacity="0.07"/><line x1="0" y1="0" x2="0" y2="7" stroke="#222222" stroke-width="1.5" stroke-opacity="0.5"/></pattern></defs>
"##;

/// How overlaps are filled.
const OVERLAP_FILL: &str = "url(#overlap)";

/// Draws the plan.
///
/// # Errors
/// [`Error::Usage`] for more pieces than can be seen.
pub(crate) fn draw(planned: &Planned, estimates: &Estimates) -> Result<String, Error> {
    let count = planned.plan.piece_count();
    if count > MAX_PIECES {
        return Err(Error::Usage(format!(
            "a drawing of {count} pieces could not be read, at most {MAX_PIECES} are drawn; use \
             --format table or json"
        )));
    }
    let canvas = Canvas::new(planned.plan.input());
    let strip = Strip::new(planned, estimates);
    let below = strip.as_ref().map_or(0.0, |strip| ABOVE_STRIP + strip.height());
    let mut svg = String::new();
    canvas.open(&mut svg, legend_height(estimates), below);
    title(&mut svg, planned, estimates);
    picture(&mut svg, &canvas, planned, estimates);
    if let Some(strip) = strip {
        let corner = [MARGIN, TITLE + canvas.height + ABOVE_STRIP];
        strip.draw(&mut svg, corner, canvas.left_width());
    }
    legend(&mut svg, &canvas, planned, estimates);
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Latent cells on paper.
struct Canvas {
    cells: Size,
    height: f64,
    width: f64,
}

impl Canvas {
    fn new(cells: Size) -> Self {
        let longer = f64::from(cells.height.max(cells.width));
        let side = |extent: u32| (f64::from(extent) / longer * PICTURE).max(LEAST_SIDE);
        Self { cells, height: side(cells.height), width: side(cells.width) }
    }

    fn place(&self, rect: Region) -> Drawn {
        let x = |cells: f64| cells / f64::from(self.cells.width) * self.width;
        let y = |cells: f64| cells / f64::from(self.cells.height) * self.height;
        Drawn {
            x: MARGIN + x(f64::from(rect.left)),
            y: TITLE + y(f64::from(rect.top)),
            width: x(f64::from(rect.width)),
            height: y(f64::from(rect.height)),
        }
    }

    /// Where the legend begins.
    fn legend_left(&self) -> f64 {
        MARGIN + self.left_width() + 40.0
    }

    /// What is left of the legend.
    fn left_width(&self) -> f64 {
        self.width.max(320.0)
    }

    fn open(&self, svg: &mut String, legend_height: f64, below: f64) {
        let width = self.legend_left() + LEGEND;
        let height = TITLE + (self.height + below).max(legend_height) + MARGIN;
        svg::open(svg, [width, height]);
        svg.push_str(OVERLAP);
    }
}

fn title(svg: &mut String, planned: &Planned, estimates: &Estimates) {
    let (input, output) = (planned.plan.input(), planned.plan.output());
    let pieces = counted(planned.plan.piece_count(), piece_name(planned.plan.strategy()));
    let ranks = counted(u64::from(planned.ranks), "rank");
    let bold = format!(r#"{DARK} font-weight="bold""#);
    let first = format!(
        "{} decode of {}{} × {} pixels: {pieces} on {ranks}",
        planned.plan.strategy(),
        frames(output),
        output.height,
        output.width
    );
    text(svg, [MARGIN, 34.0], 20.0, &bold, &first);
    let geometry = match &planned.plan {
        Plan::Whole(_) => String::new(),
        Plan::Tiled(grid) => {
            let axes = |f: fn(&TileAxis) -> u32| match (f(grid.height()), f(grid.width())) {
                (height, width) if height == width => height.to_string(),
                (height, width) => format!("{height} × {width}"),
            };
            format!(
                "; in pixels: tile {}, stride {}, blended over {}",
                axes(TileAxis::output_tile),
                axes(TileAxis::row_limit),
                axes(TileAxis::blend_extent)
            )
        }
        Plan::Patch(grid) => format!(", grid {} × {}", grid.rows(), grid.cols()),
        Plan::Sharded(grid) => {
            let traffic = estimates.traffic.map(|traffic| format_bytes(traffic.bytes()));
            let exchanged = traffic.map(|bytes| format!(", {bytes} exchanged"));
            let slices = match grid.slices() {
                1 => String::new(),
                slices => format!("{slices} × "),
            };
            let (rows, cols) = (grid.rows(), grid.cols());
            format!(", grid {slices}{rows} × {cols}{}", exchanged.unwrap_or_default())
        }
    };
    let shown = match slice_count(&planned.plan) {
        1 => String::new(),
        slices => format!("; shown: slice 0 of {slices}"),
    };
    let second = format!(
        "{}{} × {} latent cells{geometry}{shown}; redundant work {:.0}%, imbalance {:.2}",
        frames(input),
        input.height,
        input.width,
        100.0 * (planned.plan.redundancy() - 1.0),
        estimates.balance.imbalance()
    );
    text(svg, [MARGIN, 57.0], 13.0, SOFT, &second);
}

/// What goes before height and width of a video.
fn frames(size: Size) -> String {
    match size.frames {
        1 => String::new(),
        frames => format!("{frames} frames of "),
    }
}

fn colour(rank: u32) -> &'static str {
    PALETTE[rank as usize % PALETTE.len()]
}

fn picture(svg: &mut String, canvas: &Canvas, planned: &Planned, estimates: &Estimates) {
    match &planned.plan {
        Plan::Patch(grid) => {
            let patches: Vec<_> = grid.patches().zip(&estimates.owners).collect();
            for (patch, rank) in &patches {
                fill(svg, canvas.place(patch.core), colour(**rank), 0.5);
            }
            for (patch, rank) in &patches {
                halo(svg, canvas, patch.core, patch.window, colour(**rank));
            }
            for (patch, rank) in &patches {
                let place = canvas.place(patch.core);
                outline(svg, place.inset(1.0), colour(**rank), 2.0, "");
                label(svg, place, patch.index, **rank);
            }
        }
        Plan::Whole(_) | Plan::Tiled(_) | Plan::Sharded(_) => {
            tiles(svg, canvas, planned, estimates);
        }
    }
    let frame = canvas.place(canvas.cells.at_origin());
    outline(svg, frame, "#1a1a1a", 1.5, "");
}

fn tiles(svg: &mut String, canvas: &Canvas, planned: &Planned, estimates: &Estimates) {
    let pieces = planned.plan.pieces().zip(estimates.owners.iter().copied());
    let pieces: Vec<(Piece, u32)> = pieces.filter(|(piece, _)| piece.input.first == 0).collect();
    // A tile's colour holds up to where the next begins; behind it both show through the hatching.
    let crowded = pieces.len() > 400;
    for (piece, rank) in &pieces {
        fill(svg, canvas.place(piece.input), colour(*rank), 0.5);
    }
    if let Plan::Tiled(grid) = &planned.plan {
        for rect in overlaps(grid.height(), grid.width()) {
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(
                svg,
                r#"<rect {} fill="url(#overlap)"/>"#,
                canvas.place(rect).attributes()
            );
        }
    }
    for (piece, rank) in &pieces {
        let place = canvas.place(piece.input);
        outline(svg, place.inset(1.0), colour(*rank), if crowded { 0.6 } else { 2.0 }, "");
    }
    for (piece, rank) in &pieces {
        label(svg, canvas.place(own_part(&planned.plan, piece)), piece.index, *rank);
    }
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

/// What a patch decodes beyond its core: shaded in its colour, up to a dashed line.
fn halo(svg: &mut String, canvas: &Canvas, core: Region, window: Region, colour: &str) {
    let place = canvas.place(window);
    fill(svg, place, colour, HALO_SHADE);
    if core != window {
        outline(svg, place.inset(3.0), colour, 1.5, r#"stroke-dasharray="6 4""#);
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
    let rim = r##"stroke="#ffffff" stroke-width="3" stroke-opacity="0.6" paint-order="stroke""##;
    let bold = format!(r#"{DARK} text-anchor="middle" font-weight="bold" {rim}"#);
    let plain = format!(r#"{DARK} text-anchor="middle" {rim}"#);
    let shown = (size * 10.0).round() / 10.0;
    let small = (size * 6.5).round() / 10.0;
    text(svg, [x, y + size * 0.1], shown, &bold, &index.to_string());
    text(svg, [x, y + size * 0.95], small, &plain, &format!("r{rank}"));
}

fn legend_height(estimates: &Estimates) -> f64 {
    let bars = estimates.ranks.len().min(MAX_BARS) as f64;
    LINE * (bars + 6.5)
}

fn legend(svg: &mut String, canvas: &Canvas, planned: &Planned, estimates: &Estimates) {
    let left = canvas.legend_left();
    let bold = format!(r#"{DARK} font-weight="bold""#);
    text(svg, [left, TITLE + 14.0], 14.0, &bold, "Load of each rank");
    let most = estimates.ranks.iter().map(|rank| rank.flops).fold(1.0, f64::max);
    let total: f64 = estimates.ranks.iter().map(|rank| rank.flops).sum();
    let mean = total / estimates.ranks.len().max(1) as f64;
    let shown = estimates.ranks.len().min(MAX_BARS);
    let top = TITLE + 28.0;
    for (index, rank) in estimates.ranks.iter().enumerate().take(shown) {
        let y = top + LINE * index as f64;
        text(svg, [left, y + 15.0], 13.0, DARK, &format!("rank {index}"));
        let bar = Drawn { x: left + 66.0, y: y + 3.0, width: BAR, height: LINE - 10.0 };
        fill(svg, bar, "#eeeeee", 1.0);
        let load = Drawn { width: BAR * rank.flops / most, ..bar };
        // Drawn as in the picture, so that the colours are the same.
        fill(svg, load, colour(index as u32), 0.5);
        outline(svg, load, colour(index as u32), 1.5, "");
        let memory = estimates.memory.as_ref().map(|memory| memory.live[index]);
        let memory = memory.map(|bytes| format!(", {}", format_bytes(bytes))).unwrap_or_default();
        let pieces = counted(rank.pieces, piece_name(planned.plan.strategy()));
        let share = 100.0 * rank.flops / total.max(1.0);
        let what = format!("{share:.1}%, {pieces}{memory}");
        text(svg, [left + 66.0 + BAR + 10.0, y + 15.0], 12.0, DARK, &what);
    }
    let mean_x = left + 66.0 + BAR * mean / most;
    let bottom = top + LINE * shown as f64;
    let _ = writeln!(
        svg,
        r##"<line x1="{mean_x:.1}" y1="{top:.1}" x2="{mean_x:.1}" y2="{bottom:.1}" stroke="#1a1a1a" stroke-width="1.5" stroke-dasharray="3 3"/>"##
    );
    let mut y = bottom + 18.0;
    let more = estimates.ranks.len() - shown;
    if more > 0 {
        text(svg, [left, y], 12.0, SOFT, &format!("and {more} more ranks"));
        y += LINE;
    }
    let mean = format!("dashed line: mean, {}", work(mean, estimates.unit));
    text(svg, [left, y], 12.0, SOFT, &mean);
    y += LINE;
    if let Some(memory) = &estimates.memory {
        let weights = format!("weights: {}, once a device", format_bytes(memory.weights));
        text(svg, [left, y], 12.0, SOFT, &weights);
        y += LINE;
    }
    key(svg, planned, [left, y + 6.0]);
}

/// What shades and lines mean.
fn key(svg: &mut String, planned: &Planned, [left, top]: [f64; 2]) {
    let swatch =
        |row: f64| Drawn { x: left, y: top + LINE * row - 12.0, width: 30.0, height: 16.0 };
    let mut entry = |row: f64, what: &str, draw: &dyn Fn(&mut String, Drawn)| {
        draw(svg, swatch(row));
        text(svg, [left + 40.0, top + LINE * row], 12.0, DARK, what);
    };
    match planned.plan {
        Plan::Whole(_) => {}
        Plan::Sharded(_) => {
            entry(0.0, "shard: its part of every feature map", &|svg, place| {
                fill(svg, place, PALETTE[0], 0.5);
                outline(svg, place, PALETTE[0], 2.0, "");
            });
        }
        Plan::Tiled(_) => {
            entry(0.0, "where tiles overlap and are blended", &|svg, place| {
                fill(svg, place, PALETTE[0], 0.5);
                let _ = writeln!(svg, r#"<rect {} fill="url(#overlap)"/>"#, place.attributes());
            });
        }
        Plan::Patch(_) => {
            entry(0.0, "core: what a rank contributes", &|svg, place| {
                fill(svg, place, PALETTE[0], 0.5);
                outline(svg, place, PALETTE[0], 2.0, "");
            });
            entry(1.0, "window: what it decodes, halo included", &|svg, place| {
                fill(svg, place, PALETTE[0], HALO_SHADE);
                outline(svg, place, PALETTE[0], 1.5, r#"stroke-dasharray="6 4""#);
            });
        }
    }
}
