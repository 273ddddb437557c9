//! Where an op waits, so that tests order what happens by events and not by time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No process has come.
    Closed,
    /// An op waits.
    Waiting,
    Open,
}

/// A gate that an op waits at until it is opened; see [`FaultKind::Stall`](super::FaultKind::Stall).
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Closed.
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::Closed), changed: Condvar::new() }
    }

    /// Waits until an op waits here, or the gate is open.
    pub fn wait_for_op(&self) {
        self.wait_while(|state| state == State::Closed);
    }

    /// Lets the op go on that waits here or will come.
    pub fn open(&self) {
        *self.lock() = State::Open;
        self.changed.notify_all();
    }

    /// Waits until the gate is open.
    pub(super) fn pass(&self) {
        {
            let mut state = self.lock();
            if *state == State::Closed {
                *state = State::Waiting;
            }
        }
        self.changed.notify_all();
        self.wait_while(|state| state != State::Open);
    }

    fn wait_while(&self, stays: impl Fn(State) -> bool) {
        let waited = self.changed.wait_while(self.lock(), |state| stays(*state));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
