//! Watches over the ranks of a group that are processes.
//!
//! What ranks decode travels by other means (MPI, NCCL); those cannot say that a process was
//! killed or hangs, and do not wake who waits for it. So every rank keeps a TCP connection to rank
//! 0, the hub, which
//! - makes sure that all were started with the same [facts](Watch::agree) before anything is
//!   decoded,
//! - hears of failures, decides which one was the first, and tells everybody,
//! - sees the end of a process by the end of its connection,
//! - sees by missing heartbeats that a process is frozen, and by heartbeats without progress that a
//!   rank hangs: see [`Limits`],
//! - collects what ranks [report](Watch::close) in the end.
//!
//! The other ranks watch the hub in the same way.

mod hub;
mod rendezvous;
mod spoke;
mod wire;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

pub use hub::Lobby;
pub use rendezvous::{Reach, Rendezvous};
pub use wire::Fact;

use super::{Cause, Failure, GroupError};
use hub::Hub;
use spoke::Spoke;

/// How long anything may take before a rank counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A process that says nothing for so long is frozen, or its machine is gone.
    pub silence: Duration,
    /// A rank that waits for nobody and does not get to its next op in this time hangs.
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
    fn beat(&self) -> Duration {
        (self.silence / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

/// How long a rank waits for the hub to say what failed first.
const VERDICT_WAIT: Duration = Duration::from_secs(2);

/// How long the hub waits for the others to have heard of a failure before its process ends.
const SETTLE_WAIT: Duration = Duration::from_millis(500);

/// What the thread that decodes is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    /// Something of its own; which thread it is, once it has taken a step.
    Busy(Option<ThreadId>),
    /// Waiting for another rank.
    Waiting(ThreadId),
    /// It has nothing to do before the others have done their part.
    Resting,
}

/// Called with how the group ended.
type OnEnd = Box<dyn Fn(&GroupError) + Send>;

struct State {
    verdict: Option<GroupError>,
    on_end: Vec<OnEnd>,
    worker: Worker,
    /// Everybody has the same facts.
    agreed: bool,
    /// Everybody has done their part.
    all_done: bool,
    /// The others have given up rank 0, which has gone or hangs.
    orphaned: bool,
    /// Rank 0 has gone in peace, and nobody watches any more.
    unwatched: bool,
    /// This end goes: whatever happens to connections from now on is no failure.
    leaving: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch of rank {} of {}", self.rank, self.size)
    }
}

/// What the threads of one end share.
struct Shared {
    rank: u32,
    size: u32,
    limits: Limits,
    /// Steps that the worker has taken.
    progress: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn new(rank: u32, size: u32, limits: Limits) -> Arc<Self> {
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits for it.
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Ends the group; the first end stays. Whether this was it.
    fn end(&self, verdict: GroupError) -> bool {
        let mut state = self.lock();
        if state.verdict.is_some() || state.leaving {
            return false;
        }
        state.on_end.iter().for_each(|told| told(&verdict));
        state.verdict = Some(verdict);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Ends the group because rank 0 does not answer.
    fn orphan(&self, failure: Failure) {
        if self.end(GroupError::Failed(failure)) {
            self.set(|state| state.orphaned = true);
        }
    }

    /// Waits until the state is as wanted, for so long at most; the verdict if there is one.
    fn wait_until(
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

    /// Whether nobody needs this end's threads any more.
    fn is_over(&self) -> bool {
        let state = self.lock();
        state.verdict.is_some() || state.leaving || state.unwatched
    }

    /// How far the worker is, and whether it waits for others.
    fn beat(&self) -> (u64, bool) {
        let waiting = !matches!(self.lock().worker, Worker::Busy(_));
        (self.progress.load(Ordering::Relaxed), waiting)
    }

    fn lost(&self, rank: u32) -> Failure {
        transport(rank, "its process ended without a word (killed, or out of memory?)".into())
    }

    fn silent(&self, rank: u32) -> Failure {
        let limit = self.limits.silence;
        transport(rank, format!("nothing was heard of its process for {limit:?}"))
    }

    fn stuck(&self, rank: u32) -> Failure {
        let limit = self.limits.stuck;
        transport(rank, format!("it has been in one op for more than {limit:?}"))
    }
}

fn transport(rank: u32, message: String) -> Failure {
    Failure { rank, piece: None, op: None, cause: Cause::Transport(message) }
}

/// How far a process is, as another one sees it.
#[derive(Debug)]
struct Pulse {
    heard: Instant,
    progress: u64,
    /// When it last took a step or waited for others.
    moved: Instant,
}

impl Pulse {
    fn new() -> Self {
        let now = Instant::now();
        Self { heard: now, progress: 0, moved: now }
    }

    fn beat(&mut self, (progress, waiting): (u64, bool)) {
        self.heard = Instant::now();
        if waiting || progress != self.progress {
            (self.progress, self.moved) = (progress, self.heard);
        }
    }

    /// How long it has not moved, as far as it was heard.
    fn still(&self) -> Duration {
        self.heard.saturating_duration_since(self.moved)
    }

    /// Forgives what was not heard while this process itself was not running.
    fn forgive(&mut self, gap: Duration) {
        self.heard += gap;
        self.moved += gap;
    }
}

/// Tells a thread that beats when its own process was stopped for a while.
struct Clock {
    beat: Duration,
    last: Instant,
}

impl Clock {
    fn new(beat: Duration) -> Self {
        Self { beat, last: Instant::now() }
    }

    /// Sleeps until the next beat; how much later than that it is.
    fn tick(&mut self) -> Duration {
        std::thread::sleep(self.beat);
        let now = Instant::now();
        let late = (now - self.last).saturating_sub(self.beat);
        self.last = now;
        late
    }
}

enum Role {
    Hub(Hub),
    Spoke(Spoke),
}

/// One process's end of the watch. Its threads end when it is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    role: Role,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Watch {
    /// Begins the watch as rank 0 of `size` ranks.
    ///
    /// # Errors
    /// That no port can be had.
    pub fn host(size: u32, reach: Reach, limits: Limits) -> io::Result<Lobby> {
        Lobby::open(size, reach, limits)
    }

    /// Joins as rank `rank` of `size`.
    ///
    /// # Errors
    /// That rank 0 cannot be reached.
    pub fn join(rendezvous: &Rendezvous, rank: u32, size: u32, limits: Limits) -> io::Result<Self> {
        let shared = Shared::new(rank, size, limits);
        let spoke = Spoke::open(&shared, rendezvous)?;
        Ok(Self { shared, role: Role::Spoke(spoke) })
    }

    /// This rank.
    pub fn rank(&self) -> u32 {
        self.shared.rank
    }

    /// How many ranks there are.
    pub fn size(&self) -> u32 {
        self.shared.size
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// How the group ended.
    pub fn check(&self) -> Result<(), GroupError> {
        self.shared.lock().verdict.clone().map_or(Ok(()), Err)
    }

    /// The calling thread, which is the one that decodes, gets to its next op.
    pub fn step(&self) {
        self.shared.progress.fetch_add(1, Ordering::Relaxed);
        self.shared.lock().worker = Worker::Busy(Some(std::thread::current().id()));
    }

    /// This rank decodes no more, and waits for the others.
    pub fn rest(&self) {
        self.shared.lock().worker = Worker::Resting;
    }

    /// The calling thread waits for another rank as long as the guard lives. Of threads that do not
    /// decode nobody is told.
    #[must_use]
    pub fn wait(&self) -> Waiting<'_> {
        let me = std::thread::current().id();
        let mut state = self.shared.lock();
        if state.worker == Worker::Busy(Some(me)) {
            state.worker = Worker::Waiting(me);
        }
        Waiting(self)
    }

    /// Tells everybody that a rank failed, and waits until it is known what failed first.
    pub fn fail(&self, failure: Failure) {
        let own = GroupError::Failed(failure.clone());
        match &self.role {
            Role::Hub(hub) => hub.end(own),
            Role::Spoke(spoke) => {
                if self.check().is_ok() {
                    spoke.tell(&wire::Message::Failed(failure));
                    let _ = self.shared.wait_until(Some(VERDICT_WAIT), |_| false);
                }
                self.shared.end(own);
            }
        }
    }

    /// Ends the work of all ranks because somebody wants it so.
    pub fn cancel(&self) {
        match &self.role {
            Role::Hub(hub) => hub.end(GroupError::Cancelled),
            Role::Spoke(spoke) => {
                if self.shared.end(GroupError::Cancelled) {
                    spoke.tell(&wire::Message::Cancelled);
                }
            }
        }
    }

    /// Calls `told` once, with how the group ended, on whatever thread learns of it: now if it has.
    pub fn on_end(&self, told: impl Fn(&GroupError) + Send + 'static) {
        let mut state = self.shared.lock();
        match &state.verdict {
            Some(verdict) => told(verdict),
            None => state.on_end.push(Box::new(told)),
        }
    }

    /// Waits until all ranks have told their facts, and makes sure that these are the same. Called
    /// by every rank, once. A fact has a name in the plural: "latents".
    ///
    /// # Errors
    /// [`Cause::Differs`] for the first rank that has others than rank 0; how else the group ended.
    pub fn agree(&self, facts: &[Fact]) -> Result<(), GroupError> {
        let before = std::mem::replace(&mut self.shared.lock().worker, Worker::Resting);
        match &self.role {
            Role::Hub(hub) => hub.facts(0, facts.to_vec()),
            Role::Spoke(spoke) => spoke.tell(&wire::Message::Facts(facts.to_vec())),
        }
        let agreed = self.shared.wait_until(None, |state| state.agreed);
        self.shared.lock().worker = before;
        agreed
    }

    /// Waits until all ranks have done their part. Rank 0 gets what every rank reports, in the
    /// order of ranks; the others get nothing.
    ///
    /// # Errors
    /// How the group ended instead.
    pub fn close(&self, report: String) -> Result<Vec<String>, GroupError> {
        self.rest();
        match &self.role {
            Role::Hub(hub) => hub.done(0, report),
            Role::Spoke(spoke) => spoke.tell(&wire::Message::Done(report)),
        }
        self.shared.wait_until(None, |state| state.all_done)?;
        Ok(match &self.role {
            Role::Hub(hub) => hub.take_reports(),
            Role::Spoke(_) => Vec::new(),
        })
    }

    /// Whether the group has ended because rank 0 is gone or hangs, and cannot tell anybody. Rank 0
    /// itself may learn it when it goes on after all.
    pub fn is_orphaned(&self) -> bool {
        self.shared.lock().orphaned
    }

    /// After the end of the group: waits a moment until the others know of it, so that the end of
    /// this process does not look like one of its own.
    pub fn settle(&self) {
        if let Role::Hub(hub) = &self.role {
            hub.settle(SETTLE_WAIT);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.set(|state| state.leaving = true);
        // A thread that panics does not go in peace: whoever misses this rank shall hear of it.
        let in_peace = !std::thread::panicking();
        match &self.role {
            Role::Hub(hub) => hub.leave(in_peace),
            Role::Spoke(spoke) => spoke.leave(in_peace),
        }
    }
}

/// A wait for another rank; see [`Watch::wait`].
#[derive(Debug)]
pub struct Waiting<'a>(&'a Watch);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let me = std::thread::current().id();
        let mut state = self.0.shared.lock();
        if state.worker == Worker::Waiting(me) {
            state.worker = Worker::Busy(Some(me));
        }
    }
}
