//! A progress bar, on a terminal only.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use halovae_engine::event::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what a decode tells.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Whether turns are counted, and not pieces.
    turns: AtomicBool,
}

impl Progress {
    /// A bar on stderr; none if that is no terminal, or if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = match std::io::stderr().is_terminal() && !quiet {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        Self { bar, turns: AtomicBool::new(false) }
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
            Event::Planned { pieces, .. } => {
                self.style("{bar:32} {pos}/{len} pieces, {elapsed} ({eta} left)");
                self.bar.set_length(pieces);
            }
            // The shards of a sharded decode are all finished at the end.
            Event::PieceDone { .. } | Event::PieceReceived { .. }
                if self.turns.load(Ordering::Relaxed) => {}
            Event::PieceDone { .. } | Event::PieceReceived { .. } => self.bar.inc(1),
            Event::Turns { rank: 0, done, of } => {
                if !self.turns.swap(true, Ordering::Relaxed) {
                    self.style("{bar:32} {percent}% of {len} turns, {elapsed} ({eta} left)");
                }
                self.bar.set_length(of);
                self.bar.set_position(done);
            }
            Event::Turns { .. } => {}
            Event::RowsWritten { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
