//! How long ranks are waited for.

use std::time::Duration;

/// How long anything may take before a rank counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A process that says nothing for so long is frozen, or its machine is gone.
    pub silence: Duration,
    /// A rank that does not wait for another and does not get to its next op in this time hangs.
    pub stuck: Duration,
}

impl Limits {
    /// A process may be silent that long at most, whatever the limits.
    const MAX_SILENCE: Duration = Duration::from_secs(15);

    /// Ops may take `stuck`; silence is judged sooner, since heartbeats do not wait for ops.
    pub fn new(stuck: Duration) -> Self {
        Self { silence: stuck.min(Self::MAX_SILENCE), stuck }
    }

    /// From one heartbeat to the next.
    pub(super) fn beat(&self) -> Duration {
        (self.silence / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}
