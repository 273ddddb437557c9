//! What the threads of one end of the watch share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::limits::Limits;
use crate::group::{Cause, Failure, GroupError};

/// What the thread that decodes is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    /// Something of its own; which thread it is, once it has taken a step.
    Busy(Option<ThreadId>),
    /// Waiting for another rank.
    Waiting(ThreadId),
    /// It has nothing to do before the others have done their part.
    Resting,
}

/// Called with how the group ended.
pub(super) type OnEnd = Box<dyn Fn(&GroupError) + Send>;

pub(super) struct State {
    pub(super) verdict: Option<GroupError>,
    pub(super) on_end: Vec<OnEnd>,
    pub(super) worker: Worker,
    /// All ranks have the same facts.
    pub(super) agreed: bool,
    /// All ranks have done their part.
    pub(super) all_done: bool,
    /// The others have given up rank 0, which has gone or hangs.
    pub(super) orphaned: bool,
    /// Rank 0 has left in peace, and the watch is over.
    pub(super) unwatched: bool,
    /// This end goes: whatever happens to connections from now on is no failure.
    pub(super) leaving: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch of rank {} of {}", self.rank, self.size)
    }
}

/// What the threads of one end share.
pub(super) struct Shared {
    pub(super) rank: u32,
    pub(super) size: u32,
    pub(super) limits: Limits,
    /// Steps that the worker has taken.
    pub(super) progress: AtomicU64,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn new(rank: u32, size: u32, limits: Limits) -> Arc<Self> {
        let state = State {
            verdict: None,
            on_end: Vec::new(),
            worker: Worker::Busy(None),
            agreed: false,
            all_done: false,
            orphaned: false,
            unwatched: false,
            leaving: false,
        };
        let progress = AtomicU64::new(0);
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Arc::new(Self { rank, size, limits, progress, state, changed })
    }

    /// A panic while the lock is held cannot leave the state half-changed, so poison is ignored.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the threads that wait for it.
    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Ends the group; the first end stays. Whether this was it.
    pub(super) fn end(&self, verdict: GroupError) -> bool {
        self.end_for(verdict, false)
    }

    /// Ends the group because rank 0 does not answer.
    pub(super) fn orphan(&self, failure: Failure) {
        self.end_for(GroupError::Failed(failure), true);
    }

    /// A thread that learns of the end learns at once whether rank 0 can report it.
    fn end_for(&self, verdict: GroupError, orphaned: bool) -> bool {
        let mut state = self.lock();
        if state.verdict.is_some() || state.leaving {
            return false;
        }
        state.orphaned = orphaned;
        state.on_end.iter().for_each(|told| told(&verdict));
        state.verdict = Some(verdict);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Waits until the state is as wanted, for so long at most; the verdict if there is one.
    pub(super) fn wait_until(
        &self,
        limit: Option<Duration>,
        wanted: impl Fn(&State) -> bool,
    ) -> Result<(), GroupError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(verdict) = &state.verdict {
                return Err(verdict.clone());
            }
            let waited = start.elapsed();
            if wanted(&state) || limit.is_some_and(|limit| waited >= limit) {
                return Ok(());
            }
            let rest = limit.map_or(self.limits.silence, |limit| limit - waited);
            state = match self.changed.wait_timeout(state, rest) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits until rank 0 has gone, for so long at most; not if it was given up.
    pub(super) fn wait_until_unwatched(&self, limit: Duration) {
        let is_here = |state: &mut State| !state.unwatched && !state.orphaned;
        // A thread that panicked meanwhile ends the process anyway.
        drop(self.changed.wait_timeout_while(self.lock(), limit, is_here));
    }

    /// Whether this end's threads are not needed any more.
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.verdict.is_some() || state.leaving || state.unwatched
    }

    /// How far the worker is, and whether it waits for others.
    pub(super) fn beat(&self) -> (u64, bool) {
        let waiting = !matches!(self.lock().worker, Worker::Busy(_));
        (self.progress.load(Ordering::Relaxed), waiting)
    }

    pub(super) fn lost(&self, rank: u32) -> Failure {
        transport(rank, "its process ended without a word (killed, or out of memory?)".into())
    }

    pub(super) fn silent(&self, rank: u32) -> Failure {
        let limit = self.limits.silence;
        transport(rank, format!("nothing was heard of its process for {limit:?}"))
    }

    pub(super) fn stuck(&self, rank: u32) -> Failure {
        let limit = self.limits.stuck;
        transport(rank, format!("it has been in one op for more than {limit:?}"))
    }
}

fn transport(rank: u32, message: String) -> Failure {
    Failure { rank, piece: None, op: None, cause: Cause::Transport(message) }
}
