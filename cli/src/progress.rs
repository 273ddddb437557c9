//! A progress bar, on a terminal only.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use halovae_core::Size;
use halovae_engine::event::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what a decode tells.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Rows of a frame of videos, whose frames are counted, and not pieces.
    frame: Option<u64>,
    rows: AtomicU64,
    /// Whether turns are counted, and not pieces.
    turns: AtomicBool,
}

impl Progress {
    /// A bar on stderr for images or videos of that size; none if that is no terminal, or if `quiet`.
    pub(crate) fn new(quiet: bool, output: Size) -> Self {
        let bar = match std::io::stderr().is_terminal() && !quiet {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        let frame = (output.frames > 1).then_some(output.height.into());
        Self { bar, frame, rows: AtomicU64::new(0), turns: AtomicBool::new(false) }
    }

    fn style(&self, template: &str) {
        // A template of known fields is always one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Planned { rows, pieces } => {
                let (what, count) = match self.frame {
                    Some(height) => ("frames", rows / height),
                    None => ("pieces", pieces),
                };
                self.style(&format!(
                    "{{bar:32}} {{pos}}/{{len}} {what}, {{elapsed}} ({{eta}} left)"
                ));
                self.bar.set_length(count);
            }
            // The shards of a sharded decode are all finished at the end.
            Event::PieceDone { .. } | Event::PieceReceived { .. }
                if self.turns.load(Ordering::Relaxed) || self.frame.is_some() => {}
            Event::PieceDone { .. } | Event::PieceReceived { .. } => self.bar.inc(1),
            Event::Turns { rank: 0, done, of } => {
                if !self.turns.swap(true, Ordering::Relaxed) {
                    self.style("{bar:32} {percent}% of {len} turns, {elapsed} ({eta} left)");
                }
                self.bar.set_length(of);
                self.bar.set_position(done);
            }
            Event::Turns { .. } => {}
            Event::RowsWritten { rows } => {
                let written = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
                if let Some(height) = self.frame.filter(|_| !self.turns.load(Ordering::Relaxed)) {
                    self.bar.set_position(written / height);
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
