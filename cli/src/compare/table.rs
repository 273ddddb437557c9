//! A comparison as text: tables that are aligned, and Markdown as they are.

use std::fmt::Write;

use halovae::Comparison;
use halovae::plan::Row;
use halovae::words::format_bytes;
use halovae::{Size, Strategy};

use super::measure::{Measure, Unit};

/// Shown where there is no plan.
const NONE: &str = "-";

/// Beside the measures, which are numbers.
const GRID: [&str; 2] =
    ["grid", "rows and columns of pieces, and before them slices where time is cut"];

/// Behind the measures, of videos whose decoder is known.
const TIME: [[&str; 2]; 3] = [
    ["streams", "whether frames are finished while others are still decoded"],
    ["at a time", "frames of latents that are decoded at a time"],
    [
        "first frame",
        "when it is finished, as a part of the decode's time, if that is the work of ranks that are all as \
         fast",
    ],
];

/// All sizes, one after the other.
pub(crate) fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    explain(&mut text, comparison);
    for &latents in &comparison.sizes {
        let [height, width] = comparison.pixels(latents);
        let frames = comparison.frames_of(latents);
        let _ = writeln!(text, "\n{frames}{height} x {width} pixels:\n");
        let names = measures(comparison).map(|measure| measure.name);
        let headings = ["strategy", "ranks", GRID[0]].into_iter().chain(names);
        let headings = headings.chain(times(comparison).iter().map(|[name, _]| *name));
        let mut lines: Vec<Vec<String>> = vec![headings.map(str::to_owned).collect()];
        let rows = comparison.rows_of(latents).filter(|row| !is_repeated(comparison, row));
        lines.extend(rows.map(|row| line(comparison, row)));
        align(&mut text, &lines);
    }
    text
}

fn measures(comparison: &Comparison) -> impl Iterator<Item = &'static Measure> {
    Measure::of_tables(comparison.decoder.is_some())
}

fn times(comparison: &Comparison) -> &'static [[&'static str; 2]] {
    let figures = comparison.rows.iter().filter_map(|row| row.figures.as_ref().ok());
    if figures.into_iter().any(|figures| figures.time.is_some()) { &TIME } else { &[] }
}

fn line(comparison: &Comparison, row: &Row) -> Vec<String> {
    let ranks = match row.strategy {
        Strategy::Whole => "any".into(),
        Strategy::Tiled | Strategy::Patch | Strategy::Sharded => row.ranks.to_string(),
    };
    let figures = row.figures.as_ref().ok();
    let grid = figures.map(|figures| match figures.grid {
        [1, rows, cols] => format!("{rows}x{cols}"),
        [slices, rows, cols] => format!("{slices}x{rows}x{cols}"),
    });
    let shown = measures(comparison)
        .map(|measure| figures.and_then(measure.value).map(|value| show(measure.unit, value)));
    let time = figures.and_then(|figures| figures.time);
    let in_time = [
        time.map(|time| if time.streams { "yes" } else { "no" }.to_owned()),
        time.map(|time| time.latents_at_a_time.to_string()),
        time.and_then(|time| time.first_frame).map(ratio),
    ];
    let in_time = in_time.into_iter().take(times(comparison).len());
    let figures = std::iter::once(grid).chain(shown).chain(in_time);
    let figures = figures.map(|cell| cell.unwrap_or_else(|| NONE.into()));
    [row.strategy.to_string(), ranks].into_iter().chain(figures).collect()
}

/// Whether a row says no more than the one before: more ranks change nothing for the whole decode.
fn is_repeated(comparison: &Comparison, row: &Row) -> bool {
    row.strategy == Strategy::Whole && Some(&row.ranks) != comparison.ranks.first()
}

fn explain(text: &mut String, comparison: &Comparison) {
    let Size { height, width, .. } = comparison.tile;
    let frames = comparison.tile_frames.map(|frames| format!(" and {frames} frames"));
    let tiles = format!("tiles of {height} x {width} pixels{}", frames.unwrap_or_default());
    // Writing into a String cannot fail, here and below.
    let _ = match &comparison.decoder {
        Some(decoder) => {
            let weights = format_bytes(decoder.weight_bytes);
            writeln!(text, "Planned, not measured: f32, {tiles}; weights of {weights} apart.\n")
        }
        None => writeln!(
            text,
            "Planned, not measured: {tiles}; work in latent cells, since no decoder is known.\n"
        ),
    };
    let measures = measures(comparison).map(|measure| [measure.name, measure.about]);
    let times = times(comparison).iter().copied();
    for [name, about] in std::iter::once(GRID).chain(measures).chain(times) {
        let _ = writeln!(text, "- {name}: {about}");
    }
    if comparison.rows.iter().any(|row| row.figures.is_err()) {
        let _ = writeln!(text, "- `{NONE}`: there is no such plan; --format json says why");
    }
}

/// A ratio, with three digits that count.
fn ratio(ratio: f64) -> String {
    let zeros = (-ratio.log10().floor()).clamp(0.0, 10.0);
    format!("{ratio:.*}", zeros as usize + 2)
}

fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ratio => ratio(value),
        Unit::Bytes if value == 0.0 => "0".into(),
        // `as` saturates.
        Unit::Bytes => format_bytes(value as u64),
        Unit::Count => format!("{value:.0}"),
    }
}

/// The first line is the heading, the first column text, all others numbers.
fn align(text: &mut String, lines: &[Vec<String>]) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let _ = match column {
                    0 => write!(text, "|-{:-<width$}-|", ""),
                    _ => write!(text, "-{:-<width$}:|", ""),
                };
            }
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_three_digits_that_count() {
        let shown = [1.0, 24.081, 1.56, 0.5, 0.015625, 0.0009765].map(ratio);
        assert_eq!(shown, ["1.00", "24.08", "1.56", "0.500", "0.0156", "0.000977"]);
    }

    #[test]
    fn tables_are_markdown() {
        let lines = [["a", "bc"], ["def", "1"]].map(|line| line.map(String::from).to_vec());
        let mut text = String::new();
        align(&mut text, &lines);
        assert_eq!(text, "| a   | bc |\n|-----|---:|\n| def |  1 |\n");
    }
}
