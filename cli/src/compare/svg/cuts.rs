//! How each strategy cuts the latents, for the most ranks that are compared.

use halovae::core::{Plan, Strategy};
use halovae::plan::{Row, STRATEGIES, grid};
use halovae::{Comparison, Estimates, Planned};

use super::{Columns, GAP, HEADING, MARGIN, anchored, bold, name};
use crate::drawing::canvas::Canvas;
use crate::drawing::cut::{MAX_PIECES, picture};
use crate::svg::{DARK, Drawn, SOFT, outline, text};
use crate::words::{counted, piece_name};

/// From what is above to the title, and from there to the pictures.
const ABOVE: f64 = 40.0;
const TITLE: f64 = 46.0;
const PICTURE: f64 = 150.0;
/// Below a picture: two lines of words.
const CAPTION: f64 = 34.0;

/// Pictures of the latents: a row for each strategy, a column for each size.
pub(super) struct Pictures<'a> {
    pub(super) comparison: &'a Comparison,
    pub(super) columns: Columns,
    /// The height at which they begin.
    pub(super) top: f64,
}

/// A title, and a line below it.
pub(super) fn heading(svg: &mut String, top: f64, title: &str, about: &str) {
    text(svg, [MARGIN, top], 16.0, &bold("start"), title);
    text(svg, [MARGIN, top + 19.0], 12.0, SOFT, about);
}

/// The plan of a strategy for a size, of the most ranks; an error says why there is none.
pub(super) fn plan_of(
    comparison: &Comparison,
    strategy: Strategy,
    size: usize,
) -> Option<&(Planned, Estimates)> {
    let latents = *comparison.sizes.get(size)?;
    let row = comparison.rows_of(latents).filter(|row| row.strategy == strategy);
    row.filter_map(|row: &Row| row.plan.as_deref()).last()
}

/// That there is nothing to draw, in the middle of where it would be.
pub(super) fn nothing(svg: &mut String, place: Drawn, why: &str) {
    outline(svg, place, "#c8c8c8", 1.0, r#"stroke-dasharray="3 3""#);
    let at = [place.x + place.width / 2.0, place.y + place.height / 2.0 + 4.0];
    text(svg, at, 11.0, &anchored(SOFT, "middle"), why);
}

impl Pictures<'_> {
    fn first(&self) -> f64 {
        self.top + ABOVE + TITLE + HEADING
    }

    /// Where they end.
    pub(super) fn bottom(&self) -> f64 {
        self.first() + STRATEGIES.len() as f64 * (PICTURE + CAPTION + GAP)
    }

    pub(super) fn draw(&self, svg: &mut String) {
        let Self { comparison, columns, top } = self;
        let most = comparison.ranks.last().copied().unwrap_or(1);
        let title = format!("How each strategy cuts the latents, on {}", ranks(most));
        let about = "Colours are those of ranks, and come again where there are more of them.";
        heading(svg, top + ABOVE, &title, about);
        columns.headings(svg, comparison, self.first());
        for (row, strategy) in STRATEGIES.into_iter().enumerate() {
            let top = self.first() + row as f64 * (PICTURE + CAPTION + GAP);
            name(svg, &strategy.to_string(), about_cut(strategy), top + PICTURE / 2.0);
            for column in 0..comparison.sizes.len() {
                let place = columns.place(column, top, PICTURE);
                match plan_of(comparison, strategy, column) {
                    Some(plan) => drawn(svg, place, plan, most),
                    None => nothing(svg, place, "there is no such plan"),
                }
            }
        }
    }
}

fn about_cut(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Whole => "all at once, on one rank",
        Strategy::Tiled => "hatched: where tiles lie over each other and are blended",
        Strategy::Patch => "dashed: what a rank decodes around its patch",
        Strategy::Sharded => "shards of every feature map, whose borders are exchanged",
    }
}

fn ranks(count: u32) -> String {
    counted(count.into(), "rank")
}

fn drawn(svg: &mut String, place: Drawn, (planned, estimates): &(Planned, Estimates), most: u32) {
    let plan = &planned.plan;
    if plan.piece_count() <= MAX_PIECES {
        picture(svg, &Canvas::within(plan.input(), place), planned, estimates);
    } else {
        nothing(svg, place, "finer than could be seen");
    }
    let [x, y] = [place.x + place.width / 2.0, place.y + PICTURE];
    let pieces = counted(plan.piece_count(), piece_name(plan.strategy()));
    let middle = anchored(DARK, "middle");
    text(svg, [x, y + 15.0], 11.0, &middle, &format!("{pieces}{}", grid_in_words(plan)));
    if planned.ranks < most {
        let busy = format!("on {} of the {}", planned.ranks, ranks(most));
        text(svg, [x, y + 29.0], 11.0, &anchored(SOFT, "middle"), &busy);
    }
}

/// Slices, where there are several, rows and columns; nothing of a plan in one piece.
fn grid_in_words(plan: &Plan) -> String {
    match (plan, grid(plan)) {
        (Plan::Whole(_), _) => String::new(),
        (_, [1, rows, cols]) => format!(", {rows} × {cols}"),
        (_, [slices, rows, cols]) => format!(", {slices} × {rows} × {cols}"),
    }
}
