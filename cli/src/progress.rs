//! Progress: a bar on a terminal; elsewhere, where that is asked for, a line now and then.

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use halovae::Size;
use halovae::{Event, Observer};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::args::Verbosity;
use crate::console::say;

/// Shows what a decode tells.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Rows of a frame of videos.
    frame: Option<u64>,
    /// Whether frames are counted, and not pieces: they come one after the other.
    counts_frames: bool,
    rows: AtomicU64,
    /// Frames of all videos.
    frames: AtomicU64,
    /// Whether frames come of a video whose pieces are counted: the last of them then takes as long as
    /// frames are written, and what is left cannot be told by pieces.
    frames_come: Arc<AtomicBool>,
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
    /// nothing if `quiet`. Frames that come with the latents are counted if they are `streamed`; those of
    /// tiles come when the last tile is decoded, and tiles are counted until then.
    pub(crate) fn new(verbosity: Verbosity, output: Size, streamed: bool) -> Self {
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
        let counts_frames = frame.is_some() && streamed;
        let turns = AtomicBool::new(false);
        let frames_come = Arc::default();
        // The time goes on where nothing else does.
        bar.enable_steady_tick(Duration::from_secs(1));
        Self { bar, frame, counts_frames, rows, frames, frames_come, turns, start, last_line }
    }

    /// Writes a line, if lines are written and the last one was long ago.
    fn say_now_and_then(&self) {
        // A rank that finds another one writing has nothing to add.
        let Some(Ok(mut last)) = self.last_line.as_ref().map(Mutex::try_lock) else { return };
        if last.elapsed() >= BETWEEN_LINES {
            *last = Instant::now();
            let elapsed = self.start.elapsed();
            let left = match self.frames_come.load(Ordering::Relaxed) {
                false => self.left(elapsed).map(|left| format!(" ({} s left)", left.as_secs())),
                true => None,
            };
            let left = left.unwrap_or_default();
            say(format_args!("halovae: {}, {} s{left}", self.told(), elapsed.as_secs()));
        }
    }

    fn left(&self, elapsed: Duration) -> Option<Duration> {
        left(self.bar.position(), self.bar.length()?, elapsed)
    }

    /// How much is done, in words.
    fn told(&self) -> String {
        let of_turns = self.turns.load(Ordering::Relaxed);
        let counted = match (of_turns, self.counts_frames) {
            (true, _) => "turns",
            (false, true) => "frames",
            (false, false) => "pieces",
        };
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let frames = self.bar.message();
        let beside = if frames.is_empty() { "" } else { ", " };
        format!("{done}/{all} {counted}{beside}{frames}")
    }

    fn style(&self, template: &str) {
        let frames_come = self.frames_come.clone();
        let tell_left = move |state: &ProgressState, to: &mut dyn fmt::Write| {
            let all = state.len().filter(|_| !frames_come.load(Ordering::Relaxed));
            if let Some(left) = all.and_then(|all| left(state.pos(), all, state.elapsed())) {
                // Writing into the line cannot fail.
                let _ = write!(to, " ({} s left)", left.as_secs());
            }
        };
        // A template of known fields is always one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.with_key("left", tell_left));
        }
    }
}

/// The time that is left if the rest goes as fast; `None` before anything is done.
fn left(done: u64, all: u64, elapsed: Duration) -> Option<Duration> {
    let rest = all.checked_sub(done)? as f64 / done as f64;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * rest).ok()
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        let counts_turns = self.turns.load(Ordering::Relaxed);
        match event {
            Event::Planned { rows, pieces } => {
                let frames = self.frame.map_or(0, |height| rows / height);
                self.frames.store(frames, Ordering::Relaxed);
                let (what, count) = match (self.counts_frames, self.frame) {
                    (true, _) => ("frames", frames),
                    (false, None) => ("pieces", pieces),
                    (false, Some(_)) => ("pieces, {msg}", pieces),
                };
                if !self.counts_frames {
                    self.say_frames();
                }
                self.style(&format!("{{bar:32}} {{pos}}/{{len}} {what}, {{elapsed}}{{left}}"));
                self.bar.set_length(count);
            }
            // The shards of a sharded decode are all finished at the end.
            Event::PieceDone { .. } | Event::PieceReceived { .. }
                if counts_turns || self.counts_frames => {}
            Event::PieceDone { .. } | Event::PieceReceived { .. } => self.bar.inc(1),
            Event::Turns { rank: 0, done, of } => {
                if !self.turns.swap(true, Ordering::Relaxed) {
                    let frames = if self.frame.is_some() { "{msg}, " } else { "" };
                    self.say_frames();
                    self.style(&format!(
                        "{{bar:32}} {{percent}}% of {{len}} turns, {frames}{{elapsed}}{{left}}"
                    ));
                }
                self.bar.set_length(of);
                self.bar.set_position(done);
            }
            Event::Turns { .. } => {}
            Event::RowsWritten { rows } => {
                self.rows.fetch_add(rows, Ordering::Relaxed);
                match (counts_turns, self.counts_frames) {
                    (false, true) => self.bar.set_position(self.frames_written().unwrap_or(0)),
                    (false, false) if self.frame.is_some() => {
                        self.frames_come.store(true, Ordering::Relaxed);
                        self.say_frames();
                    }
                    _ => self.say_frames(),
                }
            }
            // The engine may learn new ones.
            _ => {}
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
        let image = Progress::new(QUIET, Size::new(8, 8), false);
        let video = Progress::new(QUIET, Size::video(5, 8, 8), true);
        let tiled = Progress::new(QUIET, Size::video(5, 8, 8), false);
        for progress in [&image, &video, &tiled] {
            progress.event(Event::Planned { rows: 40, pieces: 4 });
            progress.event(Event::PieceReceived { rank: 0, piece: 0 });
            progress.event(Event::RowsWritten { rows: 12 });
            progress.event(Event::RowsWritten { rows: 12 });
        }
        assert_eq!(shown(&image), (1, Some(4), String::new()));
        assert_eq!(shown(&video), (3, Some(5), String::new()));
        assert_eq!(shown(&tiled), (1, Some(4), "3/5 frames".into()));
        assert_eq!([image.told(), video.told()], ["1/4 pieces", "3/5 frames"]);
        assert_eq!(tiled.told(), "1/4 pieces, 3/5 frames");
        assert_eq!(image.left(Duration::from_secs(2)), Some(Duration::from_secs(6)));
        assert_eq!(left(0, 4, Duration::from_secs(2)), None);
        assert_eq!(left(4, 4, Duration::from_secs(2)), Some(Duration::ZERO));
    }

    #[test]
    fn turns_of_a_video_are_told_with_its_frames() {
        let video = Progress::new(QUIET, Size::video(5, 8, 8), true);
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
