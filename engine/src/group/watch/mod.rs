//! Watches over the ranks of a group that are processes.
//!
//! What ranks decode travels by other means (MPI, NCCL); those cannot say that a process was
//! killed or hangs, and do not wake the ranks that wait for it. So every rank keeps a TCP connection to rank
//! 0, the hub, which
//! - makes sure that all were started with the same [facts](Watch::agree) before anything is
//!   decoded,
//! - hears of failures, decides which one was the first, and tells every rank,
//! - sees the end of a process by the end of its connection,
//! - sees by missing heartbeats that a process is frozen, and by heartbeats without progress that a
//!   rank hangs: see [`Limits`],
//! - collects what ranks [report](Watch::close) in the end.
//!
//! The other ranks watch the hub in the same way.

mod hub;
mod limits;
mod pulse;
mod rendezvous;
mod shared;
mod spoke;
mod wire;

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use limits::Limits;
pub use rendezvous::{Reach, Rendezvous};
pub use wire::Fact;

use super::{Failure, GroupError};
use hub::Hub;
use shared::{Shared, Worker};
use spoke::Spoke;

/// How long a rank waits for the hub to say what failed first.
const VERDICT_WAIT: Duration = Duration::from_secs(2);

/// How long the hub waits for the others to have heard of a failure before its process ends.
const SETTLE_WAIT: Duration = Duration::from_millis(500);

/// How long the others wait for the hub's process to end.
const HUB_WAIT: Duration = Duration::from_secs(1);

enum Role {
    Hub(Hub),
    Spoke(Spoke),
}

/// A watch that waits for its ranks to join.
#[derive(Debug)]
pub struct Lobby {
    shared: Arc<Shared>,
    listener: TcpListener,
    rendezvous: Rendezvous,
}

impl Lobby {
    fn open(size: u32, reach: Reach, limits: Limits) -> io::Result<Self> {
        let (listener, rendezvous) = Rendezvous::open(reach)?;
        listener.set_nonblocking(true)?;
        Ok(Self { shared: Shared::new(0, size, limits), listener, rendezvous })
    }

    /// Where the other ranks [`join`](Watch::join).
    pub fn rendezvous(&self) -> &Rendezvous {
        &self.rendezvous
    }

    /// Waits until all have joined.
    ///
    /// # Errors
    /// The first rank that did not come in time.
    pub fn assemble(self) -> io::Result<Watch> {
        let Self { shared, listener, rendezvous } = self;
        let hub = Hub::assemble(&shared, &listener, &rendezvous)?;
        Ok(Watch { shared, role: Role::Hub(hub) })
    }
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

    /// Begins as rank `rank` of `size`, whichever that is. All ranks call this together; `broadcast`
    /// gives every rank what rank 0 calls it with. Rank 0 is looked for at `root` first, where this
    /// one is known to reach it.
    ///
    /// # Errors
    /// That rank 0 has no port, or that the ranks do not reach it.
    pub fn begin(
        rank: u32,
        size: u32,
        reach: Reach,
        limits: Limits,
        root: Option<IpAddr>,
        broadcast: impl FnOnce(Vec<u8>) -> io::Result<Vec<u8>>,
    ) -> io::Result<Self> {
        if rank > 0 {
            let text = broadcast(Vec::new())?;
            if text.is_empty() {
                return Err(io::Error::other("rank 0 has no port to listen on"));
            }
            let mut rendezvous: Rendezvous = serde_json::from_slice(&text)?;
            if let Some(root) = root {
                rendezvous.look_first_at(root);
            }
            return Self::join(&rendezvous, rank, size, limits);
        }
        let lobby = Self::host(size, reach, limits);
        let text = match &lobby {
            Ok(lobby) => serde_json::to_vec(lobby.rendezvous())?,
            Err(_) => Vec::new(),
        };
        broadcast(text)?;
        lobby?.assemble()
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
    /// decode no rank is told.
    #[must_use]
    pub fn wait(&self) -> Waiting<'_> {
        let me = std::thread::current().id();
        let mut state = self.shared.lock();
        if state.worker == Worker::Busy(Some(me)) {
            state.worker = Worker::Waiting(me);
        }
        Waiting(self)
    }

    /// Tells every rank that one failed, and waits until it is known what failed first.
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

    /// Ends the work of all ranks because the caller wants it so.
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
    /// [`Cause::Differs`](super::Cause::Differs) for the first rank that has others than rank 0;
    /// how else the group ended.
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

    /// Whether the group has ended because rank 0 is gone or hangs, and cannot report it. Rank 0
    /// itself may learn it when it goes on after all.
    pub fn is_orphaned(&self) -> bool {
        self.shared.lock().orphaned
    }

    /// After the end of the group, before that of this process: rank 0 waits a moment until the others
    /// know of it, so that its end does not look like one of its own. They wait a moment until rank 0 has
    /// gone: launchers kill all processes when one ends, and rank 0 removes what it has written.
    pub fn settle(&self) {
        match &self.role {
            Role::Hub(hub) => hub.settle(SETTLE_WAIT),
            Role::Spoke(_) => self.shared.wait_until_unwatched(HUB_WAIT),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.set(|state| state.leaving = true);
        // A thread that panics does not leave in peace: ranks that miss this one shall hear of it.
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
