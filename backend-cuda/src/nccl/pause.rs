//! How a thread waits for a device.

use std::time::{Duration, Instant};

/// Shorter and longer pauses of a thread that waits for a device.
pub(super) struct Pause {
    start: Instant,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// A tenth of what it has waited so far, so that it does not come much too late.
    pub(super) fn rest(&self) {
        let waited = self.start.elapsed();
        match waited < Duration::from_micros(200) {
            true => std::thread::yield_now(),
            false => std::thread::sleep((waited / 10).min(Duration::from_millis(1))),
        }
    }
}
