//! A group of threads in one process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Cause, Failure, Group, GroupError, MESSAGES_UNDER_WAY, Tag};

/// How long a waiting rank takes to see a cancellation.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// Ends a decode from another thread or a signal handler. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every rank to stop; they do so before their next op.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct State {
    mail: HashMap<(u32, u32, Tag), VecDeque<Vec<f32>>>,
    under_way: HashMap<(u32, u32), u32>,
    failure: Option<Failure>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    cancel: Cancel,
}

impl Shared {
    /// A panic while the lock is held cannot leave the state half-changed, so poison is ignored.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, state: &State) -> Result<(), GroupError> {
        match &state.failure {
            Some(failure) => Err(GroupError::Failed(failure.clone())),
            None if self.cancel.is_cancelled() => Err(GroupError::Cancelled),
            None => Ok(()),
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout(state, CANCEL_POLL) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }
}

/// Ranks that are threads of this process and pass messages through memory.
#[derive(Debug)]
pub struct ThreadGroup;

impl ThreadGroup {
    /// One end for each of `size` ranks. `cancel` ends them all.
    pub fn split(size: u32, cancel: &Cancel) -> Vec<ThreadRank> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            cancel: cancel.clone(),
        });
        (0..size).map(|rank| ThreadRank { rank, size, shared: shared.clone() }).collect()
    }
}

/// One rank's end of a [`ThreadGroup`].
#[derive(Clone)]
pub struct ThreadRank {
    rank: u32,
    size: u32,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for ThreadRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {} threads", self.rank, self.size)
    }
}

impl Group for ThreadRank {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn send(&self, to: u32, tag: Tag, data: Vec<f32>) -> Result<(), GroupError> {
        let mut state = self.shared.lock();
        loop {
            self.shared.check(&state)?;
            let under_way = state.under_way.entry((self.rank, to)).or_default();
            if *under_way < MESSAGES_UNDER_WAY {
                *under_way += 1;
                break;
            }
            state = self.shared.wait(state);
        }
        state.mail.entry((self.rank, to, tag)).or_default().push_back(data);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn receive(&self, from: u32, tag: Tag, len: usize) -> Result<Vec<f32>, GroupError> {
        let key = (from, self.rank, tag);
        let mut state = self.shared.lock();
        let data = loop {
            self.shared.check(&state)?;
            if let Some(data) = state.mail.get_mut(&key).and_then(VecDeque::pop_front) {
                break data;
            }
            state = self.shared.wait(state);
        };
        if state.mail.get(&key).is_some_and(VecDeque::is_empty) {
            state.mail.remove(&key);
        }
        if let Some(under_way) = state.under_way.get_mut(&(from, self.rank)) {
            *under_way -= 1;
        }
        drop(state);
        self.shared.changed.notify_all();
        if data.len() != len {
            let cause = Cause::Length { from, got: data.len(), expected: len };
            let failure = Failure { rank: self.rank, piece: None, op: None, cause };
            self.fail(failure.clone());
            return Err(failure.into());
        }
        Ok(data)
    }

    fn fail(&self, failure: Failure) {
        self.shared.lock().failure.get_or_insert(failure);
        self.shared.changed.notify_all();
    }

    fn check(&self) -> Result<(), GroupError> {
        self.shared.check(&self.shared.lock())
    }
}
