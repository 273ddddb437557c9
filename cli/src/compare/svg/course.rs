//! How the decode of a video goes in time by each strategy: which rank is at what when, and when frames
//! are finished.

use std::fmt::Write;

use halovae::core::Strategy;
use halovae::plan::{Course, Finished, STRATEGIES, Turn};
use halovae::{Comparison, Estimates, Planned};

use super::cuts::{heading, nothing, plan_of};
use super::{Columns, GAP, HEADING, MARGIN, NAMES, VALUES, anchored, name};
use crate::drawing::colour;
use crate::drawing::cut::MAX_PIECES;
use crate::svg::{self, DARK, Drawn, PALETTE, SOFT, fill, outline, rimmed, text};
use crate::words::piece_name;

/// From what is above to the title, and from there to the strips.
const ABOVE: f64 = 34.0;
const TITLE: f64 = 46.0;
/// A lane for each rank, all of them together.
const LANES: f64 = 96.0;
/// No lane is wider.
const LANE: f64 = 20.0;
/// The frames that are finished, below the lanes.
const BETWEEN: f64 = 6.0;
const FRAMES: f64 = 40.0;
/// Below a strip: two lines of words.
const CAPTION: f64 = 34.0;
/// Chunks that lie closer are not told apart.
const LEAST_CHUNK: f64 = 2.5;
/// Lanes that are thinner have no room for lines and rims.
const LEAST_LANE: f64 = 4.0;
/// Lanes that have room for words.
const LEAST_TOLD: f64 = 12.0;

const ABOUT: &str = "From left to right: work, of ranks that are all as fast, without what they exchange. Each \
                     strip begins with the decode and ends with it";
const CHUNKS: &str = "; light lines are between chunks of latents";

/// Strips of all strategies: a row for each strategy, a column for each size.
pub(super) struct Strips<'a> {
    comparison: &'a Comparison,
    columns: Columns,
    top: f64,
}

impl<'a> Strips<'a> {
    /// `None` for images.
    pub(super) fn new(comparison: &'a Comparison, columns: Columns, top: f64) -> Option<Self> {
        let is_video = comparison.sizes.iter().any(|size| size.frames > 1);
        is_video.then_some(Self { comparison, columns, top })
    }

    fn is_decoder_known(&self) -> bool {
        self.comparison.decoder.is_some()
    }

    /// How high the lanes of a strategy are: as many as the plan with most ranks has.
    fn lanes(&self, strategy: Strategy) -> f64 {
        let plans = 0..self.comparison.sizes.len();
        let plans = plans.filter_map(|size| plan_of(self.comparison, strategy, size));
        let most = plans.map(|(planned, _)| planned.ranks).max().unwrap_or(1);
        (f64::from(most) * LANE).clamp(2.0 * LANE, LANES)
    }

    /// How high a strip is.
    fn height(&self, strategy: Strategy) -> f64 {
        let frames = if self.is_decoder_known() { BETWEEN + FRAMES } else { 0.0 };
        self.lanes(strategy) + frames + CAPTION + GAP
    }

    fn first(&self) -> f64 {
        self.top + ABOVE + TITLE + HEADING
    }

    /// Where they end.
    pub(super) fn bottom(&self) -> f64 {
        self.first() + STRATEGIES.into_iter().map(|strategy| self.height(strategy)).sum::<f64>()
    }

    pub(super) fn draw(&self, svg: &mut String) {
        let Self { comparison, columns, top } = self;
        let title = "Which rank decodes when, and when frames are finished";
        let chunks = if self.is_decoder_known() { CHUNKS } else { "" };
        heading(svg, top + ABOVE, title, &format!("{ABOUT}{chunks}."));
        columns.headings(svg, comparison, self.first());
        let mut top = self.first();
        for strategy in STRATEGIES {
            self.row(svg, strategy, top);
            top += self.height(strategy);
        }
    }

    fn row(&self, svg: &mut String, strategy: Strategy, top: f64) {
        let Self { comparison, columns, .. } = self;
        let lanes = self.lanes(strategy);
        name(svg, &strategy.to_string(), about_time(strategy), top + lanes / 2.0);
        if self.is_decoder_known() {
            let x = MARGIN + NAMES + VALUES - 8.0;
            let middle = top + lanes + BETWEEN + FRAMES / 2.0;
            for (y, told) in [(middle - 3.0, "frames"), (middle + 10.0, "finished")] {
                text(svg, [x, y], 11.0, &anchored(SOFT, "end"), told);
            }
        }
        for column in 0..comparison.sizes.len() {
            let place = columns.place(column, top, lanes);
            match plan_of(comparison, strategy, column) {
                None => nothing(svg, place, "there is no such plan"),
                Some((planned, _)) if planned.plan.piece_count() > MAX_PIECES => {
                    nothing(svg, place, "finer than could be seen");
                }
                Some((planned, estimates)) => strip(svg, place, planned, estimates),
            }
        }
    }
}

fn about_time(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Whole => "one rank, chunk by chunk",
        Strategy::Tiled => {
            "ranks below each other: a tile goes through all of its frames, then the next one"
        }
        Strategy::Patch => "ranks below each other: each takes its patch through all frames",
        Strategy::Sharded => "ranks below each other: all of them go through each chunk together",
    }
}

/// The lanes of one plan, and what comes of them.
fn strip(svg: &mut String, place: Drawn, planned: &Planned, estimates: &Estimates) {
    let course = Course::new(planned, estimates);
    if course.end <= 0.0 {
        return;
    }
    let axis = Axis { place, end: course.end };
    axis.lanes(svg, &course, planned);
    let below = place.y + place.height;
    if !course.finished.is_empty() {
        let row = Drawn { y: below + BETWEEN, height: FRAMES, ..place };
        axis.frames(svg, row, &course.finished, planned.plan.output().frames);
    }
    let bottom = below + if course.finished.is_empty() { 0.0 } else { BETWEEN + FRAMES };
    let x = place.x + place.width / 2.0;
    let whole = format!("time: {} of a whole decode", short(course.end));
    text(svg, [x, bottom + 15.0], 11.0, &anchored(DARK, "middle"), &whole);
    if let Some(first) = course.first_frame() {
        let first = match first {
            at if at >= 1.0 => "all frames at the end".into(),
            at => format!("first frame after {} % of it", short(100.0 * at)),
        };
        text(svg, [x, bottom + 29.0], 11.0, &anchored(SOFT, "middle"), &first);
    }
}

/// Two digits that count.
fn short(value: f64) -> String {
    match value {
        value if value >= 9.95 => format!("{value:.0}"),
        value if value >= 0.995 => format!("{value:.1}"),
        value if value >= 0.0995 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// Time on paper.
struct Axis {
    place: Drawn,
    end: f64,
}

impl Axis {
    fn x(&self, at: f64) -> f64 {
        self.place.x + at / self.end * self.place.width
    }

    /// What each rank does.
    fn lanes(&self, svg: &mut String, course: &Course, planned: &Planned) {
        let height = (self.place.height / f64::from(planned.ranks.max(1))).min(LANE);
        let gap = if height >= LEAST_LANE { 1.0 } else { 0.0 };
        let all = height * f64::from(planned.ranks);
        let top = self.place.y + (self.place.height - all) / 2.0;
        let bar = |turn: &Turn| {
            let (x, end) = (self.x(turn.start), self.x(turn.end));
            let y = top + height * f64::from(turn.rank) + gap / 2.0;
            Drawn { x, y, width: end - x, height: (height - gap).max(0.5) }
        };
        for of in PALETTE {
            let turns = course.turns.iter().filter(|turn| colour(turn.rank) == of);
            let bars: Vec<Drawn> = turns.map(bar).collect();
            if !bars.is_empty() {
                let rim = if gap > 0.0 {
                    format!(r#" stroke="{of}" stroke-width="0.8""#)
                } else {
                    String::new()
                };
                svg::rectangles(svg, &bars, &format!(r#"fill="{of}" fill-opacity="0.5"{rim}"#));
            }
        }
        let mut lines = String::new();
        for turn in &course.turns {
            let Drawn { y, height, .. } = bar(turn);
            let mut free = self.x(turn.start) + LEAST_CHUNK;
            for &at in turn.chunks.iter().filter(|&&at| at < turn.end) {
                let x = self.x(at);
                if x >= free && x + LEAST_CHUNK <= self.x(turn.end) {
                    let _ = write!(lines, "M{x:.1} {y:.1}v{height:.1}");
                    free = x + LEAST_CHUNK;
                }
            }
        }
        if !lines.is_empty() {
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(svg, r##"<path d="{lines}" stroke="#ffffff" stroke-width="0.9"/>"##);
        }
        if height >= LEAST_TOLD {
            course.turns.iter().for_each(|turn| told(svg, bar(turn), turn, planned));
        }
    }

    /// How many frames are finished by when.
    fn frames(&self, svg: &mut String, row: Drawn, finished: &[Finished], frames: u32) {
        fill(svg, row, "#000000", 0.03);
        let bottom = row.y + row.height;
        let level = |frames_done: u32| {
            bottom - f64::from(frames_done) / f64::from(frames.max(1)) * row.height
        };
        let mut line = format!("M{:.1} {bottom:.1}", row.x);
        let mut at_before = f64::NEG_INFINITY;
        for Finished { frames, at, .. } in finished {
            let x = self.x(*at);
            // Steps that are finer than the pixels of a screen are drawn together.
            if x - at_before >= 0.5 || frames.end == finished[finished.len() - 1].frames.end {
                let _ = write!(line, "H{x:.1}V{:.1}", level(frames.end));
                at_before = x;
            }
        }
        let right = row.x + row.width;
        let _ = writeln!(
            svg,
            r##"<path d="{line}H{right:.1}V{bottom:.1}z" fill="#1a1a1a" fill-opacity="0.22"/>"##
        );
        let _ = writeln!(
            svg,
            r##"<path d="{line}H{right:.1}" fill="none" stroke="#1a1a1a" stroke-width="1.2"/>"##
        );
        outline(svg, row, "#8a8a8a", 0.8, "");
        text(svg, [row.x + 4.0, row.y + 12.0], 10.0, SOFT, &frames.to_string());
    }
}

/// Which pieces a bar stands for, and which frames come of them, where there is room.
fn told(svg: &mut String, bar: Drawn, turn: &Turn, planned: &Planned) {
    let name = piece_name(planned.plan.strategy());
    let pieces = match turn.pieces.end - turn.pieces.start {
        1 => format!("{name} {}", turn.pieces.start),
        _ => format!("{name} {} to {}", turn.pieces.start, turn.pieces.end - 1),
    };
    let pieces = if planned.plan.piece_count() == 1 { "all latents".to_owned() } else { pieces };
    let frames = match turn.frames.end.saturating_sub(turn.frames.start) {
        1 => format!("{pieces}: frame {}", turn.frames.start),
        _ => format!(
            "{pieces}: frames {} to {}",
            turn.frames.start,
            turn.frames.end.saturating_sub(1)
        ),
    };
    // A letter is little more than half as wide as it is high.
    let fitting = |words: &&String| words.len() as f64 * 5.8 + 6.0 <= bar.width;
    let Some(shown) = [&frames, &pieces].into_iter().find(fitting) else { return };
    let at = [bar.x + bar.width / 2.0, bar.y + bar.height / 2.0 + 3.5];
    rimmed(svg, at, 10.0, r#"text-anchor="middle""#, 2.5, shown);
}
