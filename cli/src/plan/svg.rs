//! A plan as a drawing: pieces coloured by rank, overlaps and halos, the frames of a video, and the load of
//! each rank.

mod frames;
mod time;

use std::fmt::Write;

use halovae::core::{Plan, Size, TileAxis};
use halovae::plan::slice_count;
use halovae::words::format_bytes;
use halovae::{Estimates, Planned};

use crate::drawing::canvas::Canvas;
use crate::drawing::colour;
use crate::drawing::cut::{HALO_SHADE, MAX_PIECES, OVERLAP, OVERLAP_FILL, picture};
use crate::error::Error;
use crate::plan::svg::time::Strip;
use crate::plan::table::work;
use crate::svg::{self, DARK, Drawn, PALETTE, SOFT, fill, outline, text};
use crate::words::{counted, piece_name};

/// Ranks that get a bar of their own.
const MAX_BARS: usize = 24;

const MARGIN: f64 = 32.0;
const TITLE: f64 = 76.0;
const LEGEND: f64 = 380.0;
const BAR: f64 = 120.0;
const LINE: f64 = 26.0;
/// From the picture to the frames below it.
const ABOVE_STRIP: f64 = 28.0;

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
    let canvas = Canvas::alone(planned.plan.input(), [MARGIN, TITLE]);
    let strip = Strip::new(planned, estimates);
    let below = strip.as_ref().map_or(0.0, |strip| ABOVE_STRIP + strip.height());
    let mut svg = String::new();
    let height = TITLE + (canvas.height() + below).max(legend_height(estimates)) + MARGIN;
    svg::open(&mut svg, [legend_left(&canvas) + LEGEND, height]);
    svg.push_str(OVERLAP);
    title(&mut svg, planned, estimates);
    picture(&mut svg, &canvas, planned, estimates);
    if let Some(strip) = strip {
        let corner = [MARGIN, TITLE + canvas.height() + ABOVE_STRIP];
        strip.draw(&mut svg, corner, left_width(&canvas));
    }
    legend(&mut svg, &canvas, planned, estimates);
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// What is left of the legend.
fn left_width(canvas: &Canvas) -> f64 {
    canvas.width().max(320.0)
}

/// Where the legend begins.
fn legend_left(canvas: &Canvas) -> f64 {
    MARGIN + left_width(canvas) + 40.0
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

fn legend_height(estimates: &Estimates) -> f64 {
    let bars = estimates.ranks.len().min(MAX_BARS) as f64;
    LINE * (bars + 6.5)
}

fn legend(svg: &mut String, canvas: &Canvas, planned: &Planned, estimates: &Estimates) {
    let left = legend_left(canvas);
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
                let _ = writeln!(svg, r#"<rect {} fill="{OVERLAP_FILL}"/>"#, place.attributes());
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
