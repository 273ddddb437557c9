//! Rank 0's end of the watch, which all others are connected to.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pulse::{Clock, Pulse};
use super::rendezvous::{JOIN_LIMIT, Rendezvous};
use super::shared::Shared;
use super::wire::{Fact, Message};
use crate::group::{Cause, Failure, GroupError};

/// How often the hub looks for new connections until all ranks have joined.
const ACCEPT_POLL: Duration = Duration::from_millis(5);

/// What the hub knows of a rank; of itself facts and report alone.
struct Peer {
    stream: Option<Arc<Mutex<TcpStream>>>,
    pulse: Pulse,
    facts: Option<Vec<Fact>>,
    report: Option<String>,
    /// It said good-bye, or its connection ended.
    is_gone: bool,
}

#[derive(Clone)]
pub(super) struct Hub {
    shared: Arc<Shared>,
    peers: Arc<Mutex<Vec<Peer>>>,
    /// Held while the others are told how the group ended.
    telling: Arc<Mutex<()>>,
}

impl Hub {
    /// Waits until all ranks have joined.
    ///
    /// # Errors
    /// The first rank that did not come in time.
    pub(super) fn assemble(
        shared: &Arc<Shared>,
        listener: &TcpListener,
        rendezvous: &Rendezvous,
    ) -> io::Result<Self> {
        let peer = |_| Peer {
            stream: None,
            pulse: Pulse::new(),
            facts: None,
            report: None,
            is_gone: false,
        };
        let peers = Arc::new(Mutex::new((0..shared.size).map(peer).collect()));
        let hub = Hub { shared: shared.clone(), peers, telling: Arc::default() };
        let start = Instant::now();
        let mut missing: Vec<u32> = (1..shared.size).collect();
        while let Some(first) = missing.first() {
            if start.elapsed() > JOIN_LIMIT {
                let message = format!("rank {first} did not come within {JOIN_LIMIT:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(ACCEPT_POLL);
                continue;
            };
            // Strangers are turned away, and what they say is no error of ours.
            let Ok(rank) = rendezvous.receive(&mut stream) else { continue };
            if missing.contains(&rank) && hub.welcome(rank, stream).is_ok() {
                missing.retain(|&other| other != rank);
            }
        }
        let beating = hub.clone();
        std::thread::Builder::new().name("heartbeat".into()).spawn(move || beating.beat())?;
        Ok(hub)
    }

    /// A panic while the lock is held cannot leave a peer half-changed, so poison is ignored.
    fn peers(&self) -> MutexGuard<'_, Vec<Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every rank that has joined and not gone. One that does not read is waited for, but
    /// not with a lock that others need.
    fn tell_all(&self, message: &Message) {
        let joined: Vec<_> = {
            let peers = self.peers();
            let here = peers.iter().filter(|peer| !peer.is_gone);
            here.filter_map(|peer| peer.stream.clone()).collect()
        };
        for stream in joined {
            // If it is gone, its listening thread finds out.
            let _ = message.write(&mut stream.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Ends the group and tells every rank how.
    pub(super) fn end(&self, verdict: GroupError) {
        // From before this process itself learns of it: it may go as soon as it does.
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.end(verdict.clone()) {
            self.tell_all(&verdict.into());
        }
    }

    fn welcome(&self, rank: u32, mut reader: TcpStream) -> io::Result<()> {
        {
            // Another rank may have ended the group before this one came.
            let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
            Message::Welcome.write(&mut reader)?;
            let ended = self.shared.lock().verdict.clone();
            if let Some(verdict) = ended {
                Message::from(verdict).write(&mut reader)?;
            }
            let writer = Arc::new(Mutex::new(reader.try_clone()?));
            let mut peers = self.peers();
            let peer = &mut peers[rank as usize];
            peer.stream = Some(writer);
            peer.pulse = Pulse::new();
        }
        let hub = self.clone();
        std::thread::Builder::new()
            .name(format!("watch of rank {rank}"))
            .spawn(move || hub.listen(rank, reader))?;
        Ok(())
    }

    fn listen(&self, rank: u32, mut reader: TcpStream) {
        loop {
            match Message::read(&mut reader) {
                Ok(Message::Beat { progress, waiting }) => {
                    self.peers()[rank as usize].pulse.beat((progress, waiting));
                }
                Ok(Message::Failed(failure)) if failure.rank == 0 => self.shared.orphan(failure),
                Ok(Message::Failed(failure)) => self.end(GroupError::Failed(failure)),
                Ok(Message::Cancelled) => self.end(GroupError::Cancelled),
                Ok(Message::Facts(facts)) => self.facts(rank, facts),
                Ok(Message::Done(report)) => self.done(rank, report),
                Ok(Message::Left) => {
                    self.peers()[rank as usize].is_gone = true;
                    // What follows is the end of the connection.
                }
                Ok(
                    Message::Hello { .. } | Message::Welcome | Message::Agreed | Message::AllDone,
                )
                | Err(_) => {
                    let left = std::mem::replace(&mut self.peers()[rank as usize].is_gone, true);
                    if !left {
                        self.end(GroupError::Failed(self.shared.lost(rank)));
                    }
                    self.shared.changed.notify_all();
                    return;
                }
            }
        }
    }

    fn beat(&self) {
        let shared = &self.shared;
        let mut clock = Clock::new(shared.limits.beat());
        while !shared.is_over() {
            let (progress, waiting) = shared.beat();
            self.tell_all(&Message::Beat { progress, waiting });
            let late = clock.tick();
            let failed = {
                let mut peers = self.peers();
                peers.iter_mut().for_each(|peer| peer.pulse.forgive(late));
                peers[0].pulse.beat(shared.beat());
                (0..).zip(peers.iter()).find_map(|(rank, peer)| self.judge(rank, peer))
            };
            if let Some(failure) = failed {
                self.end(GroupError::Failed(failure));
            }
        }
    }

    fn judge(&self, rank: u32, peer: &Peer) -> Option<Failure> {
        let is_here = rank == 0 || (peer.stream.is_some() && !peer.is_gone);
        let limits = self.shared.limits;
        if is_here && peer.pulse.heard.elapsed() > limits.silence {
            Some(self.shared.silent(rank))
        } else if is_here && peer.report.is_none() && peer.pulse.still() > limits.stuck {
            Some(self.shared.stuck(rank))
        } else {
            None
        }
    }

    /// A rank tells its facts. When all have, they are compared.
    pub(super) fn facts(&self, rank: u32, facts: Vec<Fact>) {
        let verdict = {
            let mut peers = self.peers();
            peers[rank as usize].facts = Some(facts);
            let known: Option<Vec<&Vec<Fact>>> =
                peers.iter().map(|peer| peer.facts.as_ref()).collect();
            let Some(known) = known else { return };
            (1..).zip(&known[1..]).find_map(|(rank, facts)| differs(rank, known[0], facts))
        };
        match verdict {
            Some(failure) => self.end(GroupError::Failed(failure)),
            None => {
                self.tell_all(&Message::Agreed);
                self.shared.set(|state| state.agreed = true);
            }
        }
    }

    /// A rank has done its part.
    pub(super) fn done(&self, rank: u32, report: String) {
        let all = {
            let mut peers = self.peers();
            peers[rank as usize].report = Some(report);
            peers.iter().all(|peer| peer.report.is_some())
        };
        if all {
            self.tell_all(&Message::AllDone);
            self.shared.set(|state| state.all_done = true);
        }
    }

    /// What every rank reported.
    pub(super) fn take_reports(&self) -> Vec<String> {
        self.peers().iter_mut().map(|peer| peer.report.take().unwrap_or_default()).collect()
    }

    /// Waits until every rank has gone.
    pub(super) fn settle(&self, limit: Duration) {
        let start = Instant::now();
        let all_gone =
            || self.peers()[1..].iter().all(|peer| peer.is_gone || peer.stream.is_none());
        while start.elapsed() < limit && !all_gone() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Says good-bye if `in_peace`, and ends all connections.
    pub(super) fn leave(&self, in_peace: bool) {
        // A rank that reads good-bye before the verdict takes it that all is well.
        let _told = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if in_peace {
            self.tell_all(&Message::Left);
        }
        for peer in self.peers().iter() {
            if let Some(stream) = &peer.stream {
                let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                // Already closed is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// What a rank has others of than rank 0.
fn differs(rank: u32, expected: &[Fact], facts: &[Fact]) -> Option<Failure> {
    let other = expected.iter().zip(facts).find(|(expected, fact)| expected != fact);
    let what = match other {
        Some((_, (what, _))) => what.clone(),
        None if expected.len() != facts.len() => "facts".into(),
        None => return None,
    };
    Some(Failure { rank, piece: None, op: None, cause: Cause::Differs(what) })
}
