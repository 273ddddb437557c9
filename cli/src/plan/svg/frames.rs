//! A row of frames on paper, and bars along it.

use std::fmt::Write;

use crate::svg::{DARK, Drawn, outline, text};

/// A row of frames.
pub(super) const ROW: f64 = 22.0;
/// A bar, and what lies between it and the next one.
pub(super) const BAR: f64 = 30.0;
pub(super) const GAP: f64 = 6.0;

/// Frames that are narrower have no room for their number, and lines only where those of another frame of
/// the latents begin.
const LEAST_FRAME: f64 = 20.0;
/// Lines are no closer.
const LEAST_GAP: f64 = 4.0;
/// Frames that are told lie at least as far apart.
const LEAST_LABEL: f64 = 26.0;
/// The colour of lines between frames.
pub(super) const LINE: &str = "#9a9a9a";

/// Frames on paper, from left to right.
pub(super) struct Axis {
    pub(super) left: f64,
    pub(super) width: f64,
    pub(super) frames: u32,
}

impl Axis {
    /// Where a frame begins.
    pub(super) fn at(&self, frame: f64) -> f64 {
        self.left + frame / f64::from(self.frames.max(1)) * self.width
    }

    /// A bar over frames from `start` to `end`.
    pub(super) fn bar(&self, start: f64, end: f64, top: f64) -> Drawn {
        let x = self.at(start);
        Drawn { x, y: top, width: self.at(end) - x, height: BAR - GAP }
    }

    /// A box for each frame, with the numbers of those among `told` that there is room for.
    pub(super) fn row(&self, svg: &mut String, top: f64, told: &[u32]) {
        let whole = Drawn { x: self.left, y: top, width: self.width, height: ROW };
        outline(svg, whole, "#1a1a1a", 1.2, "");
        let is_roomy = self.at(1.0) - self.left >= LEAST_FRAME;
        let mut line_free = self.left + LEAST_GAP;
        let mut label_free = self.left;
        let all: Vec<u32>;
        let lines = match is_roomy {
            true => {
                all = (0..self.frames).collect();
                &all
            }
            false => told,
        };
        for &frame in lines {
            let x = self.at(frame.into());
            if x < line_free {
                continue;
            }
            line_free = x + LEAST_GAP;
            let end = top + ROW;
            let _ = writeln!(
                svg,
                r#"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{end:.1}" stroke="{LINE}" stroke-width="0.8"/>"#
            );
        }
        for &frame in told {
            // In the middle of its box, or behind the line where it begins.
            let (x, anchor) = match is_roomy {
                true => (self.at(f64::from(frame) + 0.5), r#"text-anchor="middle""#),
                false => (self.at(frame.into()) + 2.0, r#"text-anchor="start""#),
            };
            if x < label_free || x + LEAST_LABEL / 2.0 > self.left + self.width {
                continue;
            }
            text(svg, [x, top + 15.0], 11.0, &format!("{DARK} {anchor}"), &frame.to_string());
            label_free = x + LEAST_LABEL;
        }
    }
}
