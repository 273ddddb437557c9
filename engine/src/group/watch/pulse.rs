//! Heartbeats: how a process is seen by another one.

use std::time::{Duration, Instant};

/// How far a process is, as another one sees it.
#[derive(Debug)]
pub(super) struct Pulse {
    pub(super) heard: Instant,
    progress: u64,
    /// When it last took a step or waited for others.
    moved: Instant,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { heard: now, progress: 0, moved: now }
    }

    pub(super) fn beat(&mut self, (progress, waiting): (u64, bool)) {
        self.heard = Instant::now();
        if waiting || progress != self.progress {
            (self.progress, self.moved) = (progress, self.heard);
        }
    }

    /// How long it has not moved, as far as it was heard.
    pub(super) fn still(&self) -> Duration {
        self.heard.saturating_duration_since(self.moved)
    }

    /// Forgives what was not heard while this process itself was not running.
    pub(super) fn forgive(&mut self, gap: Duration) {
        self.heard += gap;
        self.moved += gap;
    }
}

/// Tells a thread that beats when its own process was stopped for a while.
pub(super) struct Clock {
    beat: Duration,
    last: Instant,
}

impl Clock {
    pub(super) fn new(beat: Duration) -> Self {
        Self { beat, last: Instant::now() }
    }

    /// Sleeps until the next beat; how much later than that it is.
    pub(super) fn tick(&mut self) -> Duration {
        std::thread::sleep(self.beat);
        let now = Instant::now();
        let late = (now - self.last).saturating_sub(self.beat);
        self.last = now;
        late
    }
}
