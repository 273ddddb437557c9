//! Progress: a bar on a terminal; elsewhere, where that is asked for, a line now and then.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use halovae_core::Size;
use halovae_engine::event::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Verbosity;
use crate::console::say;

/// Shows what a decode tells.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Rows of a frame of videos, whose frames are counted, and not pieces.
    frame: Option<u64>,
    rows: AtomicU64,
    /// Frames of all videos.
    frames: AtomicU64,
    /// Whether turns are counted, and not pieces.
    turns: AtomicBool,
    start: Instant,
    /// When the last line was written, where lines are.
    last_line: Option<Mutex<Instant>>,
}

/// From one line to the next.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl Progress {
    /// A bar on stderr for images or videos of that size, or lines if that is no terminal and `verbose`;
    /// nothing if `quiet`.
    pub(crate) fn new(verbosity: Verbosity, output: Size) -> Self {
        let Verbosity { verbose, quiet } = verbosity;
        let is_terminal = std::io::stderr().is_terminal();
        let bar = match is_terminal && !quiet {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        let start = Instant::now();
        let frame = (output.frames > 1).then_some(output.height.into());
        let [rows, frames] = [0, 0].map(AtomicU64::new);
        let last_line = (verbose && !is_terminal).then(|| Mutex::new(start));
        Self { bar, frame, rows, frames, turns: AtomicBool::new(false), start, last_line }
    }

    /// Writes a line, if lines are written and the last one was long ago.
    fn say_now_and_then(&self) {
        // A rank that finds another one writing has nothing to add.
        let Some(Ok(mut last)) = self.last_line.as_ref().map(Mutex::try_lock) else { return };
        if last.elapsed() >= BETWEEN_LINES {
            *last = Instant::now();
            let seconds = self.start.elapsed().as_secs();
            say(format_args!("halovae: {}, {seconds} s", self.told()));
        }
    }

    /// How much is done, in words.
    fn told(&self) -> String {
        let of_turns = self.turns.load(Ordering::Relaxed);
        let counted = match (of_turns, self.frame) {
            (true, _) => "turns",
            (false, Some(_)) => "frames",
            (false, None) => "pieces",
        };
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let frames = self.bar.message();
        let beside = if frames.is_empty() { "" } else { ", " };
        format!("{done}/{all} {counted}{beside}{frames}")
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
        let counts_turns = self.turns.load(Ordering::Relaxed);
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
                self.frames.store(count, Ordering::Relaxed);
            }
            // The shards of a sharded decode are all finished at the end.
            Event::PieceDone { .. } | Event::PieceReceived { .. }
                if counts_turns || self.frame.is_some() => {}
            Event::PieceDone { .. } | Event::PieceReceived { .. } => self.bar.inc(1),
            Event::Turns { rank: 0, done, of } => {
                if !self.turns.swap(true, Ordering::Relaxed) {
                    let frames = if self.frame.is_some() { "{msg}, " } else { "" };
                    self.style(&format!(
                        "{{bar:32}} {{percent}}% of {{len}} turns, {frames}{{elapsed}} ({{eta}} left)"
                    ));
                    self.say_frames();
                }
                self.bar.set_length(of);
                self.bar.set_position(done);
            }
            Event::Turns { .. } => {}
            Event::RowsWritten { rows } => {
                self.rows.fetch_add(rows, Ordering::Relaxed);
                match counts_turns {
                    true => self.say_frames(),
                    false => {
                        if let Some(frames) = self.frames_written() {
                            self.bar.set_position(frames);
                        }
                    }
                }
            }
        }
        self.say_now_and_then();
    }
}

impl Progress {
    /// Whole frames of videos that are written.
    fn frames_written(&self) -> Option<u64> {
        self.frame.map(|height| self.rows.load(Ordering::Relaxed) / height)
    }

    /// Beside the turns, which move on while no frame is finished.
    fn say_frames(&self) {
        if let Some(frames) = self.frames_written() {
            let all = self.frames.load(Ordering::Relaxed);
            self.bar.set_message(format!("{frames}/{all} frames"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Verbosity = Verbosity { verbose: false, quiet: true };

    fn shown(progress: &Progress) -> (u64, Option<u64>, String) {
        (progress.bar.position(), progress.bar.length(), progress.bar.message())
    }

    #[test]
    fn images_are_counted_by_pieces_and_videos_by_frames() {
        let image = Progress::new(QUIET, Size::new(8, 8));
        let video = Progress::new(QUIET, Size::video(5, 8, 8));
        for progress in [&image, &video] {
            progress.event(Event::Planned { rows: 40, pieces: 4 });
            progress.event(Event::PieceReceived { rank: 0, piece: 0 });
            progress.event(Event::RowsWritten { rows: 12 });
            progress.event(Event::RowsWritten { rows: 12 });
        }
        assert_eq!(shown(&image), (1, Some(4), String::new()));
        assert_eq!(shown(&video), (3, Some(5), String::new()));
        assert_eq!([image.told(), video.told()], ["1/4 pieces", "3/5 frames"]);
    }

    #[test]
    fn turns_of_a_video_are_told_with_its_frames() {
        let video = Progress::new(QUIET, Size::video(5, 8, 8));
        video.event(Event::Planned { rows: 40, pieces: 2 });
        video.event(Event::Turns { rank: 0, done: 1, of: 20 });
        assert_eq!(shown(&video), (1, Some(20), "0/5 frames".into()));
        video.event(Event::RowsWritten { rows: 16 });
        video.event(Event::Turns { rank: 1, done: 9, of: 20 });
        video.event(Event::Turns { rank: 0, done: 7, of: 20 });
        assert_eq!(shown(&video), (7, Some(20), "2/5 frames".into()));
        assert_eq!(video.told(), "7/20 turns, 2/5 frames");
    }
}
