//! A progress bar, on a terminal only.

use std::io::IsTerminal;

use halovae_engine::event::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what a decode tells.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar on stderr; none if that is no terminal, or if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = match std::io::stderr().is_terminal() && !quiet {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        Self { bar }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Planned { pieces, .. } => {
                let template = "{bar:32} {pos}/{len} pieces, {elapsed} ({eta} left)";
                // A template of known fields is always one.
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.bar.set_style(style);
                }
                self.bar.set_length(pieces);
            }
            Event::PieceDone { .. } => self.bar.inc(1),
            Event::RowsWritten { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
