//! A comparison as a drawing: a row of panels for each figure, a column for each size of the image,
//! a line for each strategy over the number of ranks. Below, for the most ranks, how each strategy cuts the
//! latents, and of a video how the decode goes in time.

mod course;
mod cuts;

use std::fmt::Write;

use halovae::Comparison;
use halovae::plan::{Row, STRATEGIES};
use halovae::words::format_bytes;
use halovae::{Size, Strategy};

use self::course::Strips;
use self::cuts::Pictures;
use super::measure::{Measure, Unit};
use crate::drawing::cut::OVERLAP;
use crate::log_axis::LogAxis;
use crate::svg::{self, DARK, Drawn, SOFT, fill, outline, text};

const MARGIN: f64 = 32.0;
const TITLE: f64 = 76.0;
const LEGEND: f64 = 30.0;
/// Names of the figures, and beside them the values at the grid lines.
const NAMES: f64 = 190.0;
const VALUES: f64 = 70.0;
/// Names of the columns above, numbers of ranks below.
const HEADING: f64 = 26.0;
const FOOTING: f64 = 40.0;
const GAP: f64 = 16.0;
const PANEL_HEIGHT: f64 = 126.0;
const LEAST_PANEL_WIDTH: f64 = 196.0;
/// Of all panels beside each other, at least: room for title and legend.
const LEAST_WIDTH: f64 = 832.0;
/// Closer numbers of ranks would run into each other.
const LABEL: f64 = 24.0;
/// Room of a panel above its highest and below its lowest line.
const PAD: f64 = 10.0;
/// Room below for those that are 0, which a logarithm has no place for.
const ZERO: f64 = 22.0;

/// Letters of a line beside a row of panels.
const LINE: usize = 25;

/// Columns of panels, one for each size.
#[derive(Clone, Copy)]
struct Columns {
    left: f64,
    width: f64,
    count: usize,
}

impl Columns {
    fn new(count: usize) -> Self {
        let width = ((LEAST_WIDTH + GAP) / count.max(1) as f64 - GAP).max(LEAST_PANEL_WIDTH);
        Self { left: MARGIN + NAMES + VALUES, width, count }
    }

    /// Where the last one ends.
    fn right(&self) -> f64 {
        self.left + self.count as f64 * (self.width + GAP) - GAP
    }

    fn place(&self, column: usize, top: f64, height: f64) -> Drawn {
        let x = self.left + column as f64 * (self.width + GAP);
        Drawn { x, y: top, width: self.width, height }
    }

    /// The sizes above their columns, whose panels begin at `top`.
    fn headings(&self, svg: &mut String, comparison: &Comparison, top: f64) {
        for (column, &latents) in comparison.sizes.iter().enumerate() {
            let [height, width] = comparison.pixels(latents);
            let heading = format!("{}{height} × {width} pixels", comparison.frames_of(latents));
            let panel = self.place(column, top, 0.0);
            text(svg, [panel.x + panel.width / 2.0, top - 9.0], 13.0, &bold("middle"), &heading);
        }
    }
}

/// A name and what it means beside a row of panels, around their middle.
fn name(svg: &mut String, name: &str, about: &str, middle: f64) {
    let about = wrapped(about);
    let top = middle - 8.0 * about.len() as f64;
    text(svg, [MARGIN, top], 14.0, &bold("start"), name);
    for (index, line) in about.iter().enumerate() {
        text(svg, [MARGIN, top + 18.0 + 16.0 * index as f64], 12.0, SOFT, line);
    }
}

/// Draws the comparison.
pub(crate) fn draw(comparison: &Comparison) -> String {
    let measures: Vec<&Measure> = Measure::of_drawings(comparison.decoder.is_some()).collect();
    let columns = Columns::new(comparison.sizes.len());
    let (left, right, top) = (columns.left, columns.right(), TITLE + LEGEND + HEADING);
    let bottom = top + measures.len() as f64 * (PANEL_HEIGHT + GAP) - GAP;
    let pictures = Pictures { comparison, columns, top: bottom + FOOTING };
    let strips = Strips::new(comparison, columns, pictures.bottom());
    let end = strips.as_ref().map_or_else(|| pictures.bottom(), Strips::bottom);
    let mut svg = String::new();
    svg::open(&mut svg, [right + MARGIN, end + MARGIN / 2.0]);
    svg.push_str(OVERLAP);
    title(&mut svg, comparison);
    legend(&mut svg, left);
    columns.headings(&mut svg, comparison, top);
    let place = |row: usize, column: usize| {
        columns.place(column, top + row as f64 * (PANEL_HEIGHT + GAP), PANEL_HEIGHT)
    };
    for (index, measure) in measures.iter().enumerate() {
        let scale = Scale::new(comparison, measure, place(index, 0));
        names(&mut svg, measure, &scale);
        for (column, &latents) in comparison.sizes.iter().enumerate() {
            let panel = place(index, column);
            let ranks = Ranks::new(&comparison.ranks, panel);
            grid(&mut svg, panel, &scale, &ranks, index + 1 == measures.len());
            let rows: Vec<&Row> = comparison.rows_of(latents).collect();
            lines(&mut svg, measure, &scale, &ranks, &rows);
        }
    }
    let centre = [(left + right) / 2.0, bottom + FOOTING];
    text(&mut svg, centre, 13.0, &anchored(DARK, "middle"), "ranks");
    pictures.draw(&mut svg);
    if let Some(strips) = strips {
        strips.draw(&mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

fn title(svg: &mut String, comparison: &Comparison) {
    let first = "What each strategy takes, over ranks and image sizes";
    text(svg, [MARGIN, 34.0], 20.0, &bold("start"), first);
    let Size { height, width, .. } = comparison.tile;
    let scale = comparison.scale.space;
    let frames = comparison.tile_frames.map(|frames| format!(" and {frames} frames"));
    let tiles = format!(
        "{scale} × {scale} pixels per latent cell, tiles of {height} × {width} pixels{}",
        frames.unwrap_or_default()
    );
    let second = match &comparison.decoder {
        Some(decoder) => format!(
            "Planned, not measured: {} latent channels, {tiles}, f32; weights of {} apart",
            decoder.latent_channels,
            format_bytes(decoder.weight_bytes)
        ),
        None => format!("Planned, not measured: {tiles}; work in latent cells, no decoder known"),
    };
    text(svg, [MARGIN, 57.0], 13.0, SOFT, &second);
}

fn anchored(fill: &str, anchor: &str) -> String {
    format!(r#"{fill} text-anchor="{anchor}""#)
}

fn bold(anchor: &str) -> String {
    format!(r#"{DARK} font-weight="bold" text-anchor="{anchor}""#)
}

/// Where the ranks of a panel lie.
struct Ranks<'a> {
    counts: &'a [u32],
    axis: LogAxis,
}

impl<'a> Ranks<'a> {
    fn new(counts: &'a [u32], panel: Drawn) -> Self {
        let span = [panel.x + PAD, panel.x + panel.width - PAD];
        Self { counts, axis: LogAxis::new(counts.iter().copied().map(f64::from), span) }
    }
}

/// The values of a row of panels: those of all sizes, so that they can be compared.
struct Scale {
    axis: LogAxis,
    /// Where 0 lies, if anything is 0.
    zero: Option<f64>,
}

impl Scale {
    fn new(comparison: &Comparison, measure: &Measure, panel: Drawn) -> Self {
        let values = || {
            let figures = comparison.rows.iter().filter_map(|row| row.figures.as_ref().ok());
            figures.filter_map(|figures| (measure.value)(figures))
        };
        let bottom = panel.y + panel.height;
        let zero = values().any(|value| value <= 0.0).then_some(bottom - PAD);
        let low = if zero.is_some() { bottom - ZERO - PAD } else { bottom - PAD };
        let positive = values().filter(|&value| value > 0.0);
        Self { axis: LogAxis::new(positive, [low, panel.y + PAD]).rounded(), zero }
    }

    fn y(&self, value: f64) -> Option<f64> {
        if value > 0.0 { Some(self.axis.place(value)) } else { self.zero }
    }
}

/// The name of a row of panels, and the values at its lines.
fn names(svg: &mut String, measure: &Measure, scale: &Scale) {
    let [low, high] = [scale.axis.lines().next(), scale.axis.lines().last()];
    let ends = [low, high].map(|value| value.map_or(0.0, |value| scale.axis.place(value)));
    name(svg, measure.name, measure.about, (ends[0] + ends[1]) / 2.0);
    let right = MARGIN + NAMES + VALUES - 8.0;
    let mut value = |y: f64, shown: &str| {
        text(svg, [right, y + 4.0], 11.0, &anchored(SOFT, "end"), shown);
    };
    for line in scale.axis.lines() {
        value(scale.axis.place(line), &show(measure.unit, line));
    }
    if let Some(zero) = scale.zero {
        value(zero, "0");
    }
}

/// A panel without its lines; the lowest ones name the ranks.
fn grid(svg: &mut String, panel: Drawn, scale: &Scale, ranks: &Ranks<'_>, is_lowest: bool) {
    let mut rule = |from: [f64; 2], to: [f64; 2]| {
        let ([x1, y1], [x2, y2]) = (from, to);
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(
            svg,
            r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#e2e2e2" stroke-width="1"/>"##
        );
    };
    let (right, bottom) = (panel.x + panel.width, panel.y + panel.height);
    for y in scale.axis.lines().map(|line| scale.axis.place(line)).chain(scale.zero) {
        rule([panel.x, y], [right, y]);
    }
    for x in ranks.counts.iter().map(|&count| ranks.axis.place(count.into())) {
        rule([x, panel.y], [x, bottom]);
    }
    if let Some(zero) = scale.zero {
        // What lies here is off the logarithmic scale.
        let band = Drawn { y: zero - PAD, height: 2.0 * PAD, ..panel };
        fill(svg, band, "#000000", 0.05);
    }
    outline(svg, panel, "#8a8a8a", 1.0, "");
    if is_lowest {
        let mut free = f64::NEG_INFINITY;
        for &count in ranks.counts {
            let x = ranks.axis.place(count.into());
            if x >= free {
                let label = count.to_string();
                text(svg, [x, bottom + 16.0], 11.0, &anchored(SOFT, "middle"), &label);
                free = x + LABEL.max(8.0 * label.len() as f64);
            }
        }
    }
}

/// The lines of a panel, and the marks on them.
fn lines(svg: &mut String, measure: &Measure, scale: &Scale, ranks: &Ranks<'_>, rows: &[&Row]) {
    for strategy in STRATEGIES {
        let of_strategy = rows.iter().filter(|row| row.strategy == strategy);
        let places = of_strategy.map(|row| {
            let value = (measure.value)(row.figures.as_ref().ok()?)?;
            Some((value > 0.0, [ranks.axis.place(row.ranks.into()), scale.y(value)?]))
        });
        let places: Vec<Option<(bool, [f64; 2])>> = places.collect();
        // No line leads from 0 to a value, or over a plan that there is not.
        for stretch in
            places.chunk_by(|a, b| a.map(|(above, _)| above) == b.map(|(above, _)| above))
        {
            let points: Vec<[f64; 2]> = stretch.iter().flatten().map(|&(_, point)| point).collect();
            line(svg, &points, strategy_line(strategy));
        }
        for (_, point) in places.into_iter().flatten() {
            mark(svg, strategy, point);
        }
    }
}

/// Lines differ in width and dashes as well as in colour, since some lie on others.
fn strategy_line(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Whole => r##"stroke="#5b5b5b" stroke-width="6" stroke-opacity="0.35""##,
        Strategy::Tiled => r##"stroke="#0072b2" stroke-width="2.5""##,
        Strategy::Patch => r##"stroke="#e69f00" stroke-width="2" stroke-dasharray="7 4""##,
        Strategy::Sharded => r##"stroke="#009e73" stroke-width="2""##,
    }
}

fn line(svg: &mut String, points: &[[f64; 2]], style: &str) {
    if points.len() < 2 {
        return;
    }
    let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    let points = points.join(" ");
    let _ = writeln!(svg, r#"<polyline points="{points}" fill="none" {style}/>"#);
}

/// The mark of a plan: hollow for all but the last strategy, so that those below show.
fn mark(svg: &mut String, strategy: Strategy, [x, y]: [f64; 2]) {
    let _ = match strategy {
        Strategy::Whole => {
            let (x, y) = (x - 1.5, y - 5.0);
            writeln!(svg, r##"<rect x="{x:.1}" y="{y:.1}" width="3" height="10" fill="#5b5b5b"/>"##)
        }
        Strategy::Tiled => {
            let (x, y) = (x - 4.5, y - 4.5);
            writeln!(
                svg,
                r##"<rect x="{x:.1}" y="{y:.1}" width="9" height="9" fill="#ffffff" stroke="#0072b2" stroke-width="1.8"/>"##
            )
        }
        Strategy::Patch => {
            let (left, right, top, bottom) = (x - 4.0, x + 4.0, y - 4.0, y + 3.0);
            writeln!(
                svg,
                r##"<path d="M{x:.1} {top:.1}L{right:.1} {bottom:.1}L{left:.1} {bottom:.1}Z" fill="#ffffff" stroke="#e69f00" stroke-width="1.8"/>"##
            )
        }
        Strategy::Sharded => {
            writeln!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="2.6" fill="#009e73"/>"##)
        }
    };
}

fn legend(svg: &mut String, left: f64) {
    let y = TITLE + 8.0;
    let mut x = left;
    for strategy in STRATEGIES {
        line(svg, &[[x, y], [x + 36.0, y]], strategy_line(strategy));
        mark(svg, strategy, [x + 18.0, y]);
        text(svg, [x + 44.0, y + 4.5], 13.0, DARK, &strategy.to_string());
        x += 130.0;
    }
}

/// Lines of no more than [`LINE`] letters, unless a word is longer.
fn wrapped(words: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= LINE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The value at a line, which is a power of two.
fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ratio if value < 1.0 => format!("1/{:.0}", 1.0 / value),
        Unit::Ratio | Unit::Count => format!("{value:.0}"),
        // `as` saturates.
        Unit::Bytes => format_bytes(value as u64).replace(".0 ", " "),
    }
}
