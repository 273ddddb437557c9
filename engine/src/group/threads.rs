//! A group of threads in one process.
//!
//! Each rank has a mailbox of its own, and a thread that waits is woken by what it waits for alone:
//! what ranks do to each other costs the same however many others there are.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use super::{Cause, Expected, Failure, Group, GroupError, MESSAGES_UNDER_WAY, Payload, Tag};

/// How long a waiting rank takes to see a cancellation that no other has seen.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// How many ranks look that often. More look less often, so that all of them together do not keep
/// a core busy with looking; the first that sees it wakes the others.
const POLLING_RANKS: u32 = 32;

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

/// What a thread waits for at a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    /// A message from a rank.
    Message(u32, Tag),
    /// That fewer messages of a rank lie there.
    Room(u32),
}

/// What lies and waits at a rank.
#[derive(Default)]
struct Mailbox {
    mail: HashMap<(u32, Tag), VecDeque<Payload>>,
    /// How many messages of each rank lie there.
    under_way: HashMap<u32, u32>,
    waiting: HashMap<Wanted, Vec<Thread>>,
}

impl Mailbox {
    /// The threads that wait for this and are to be woken, once the mailbox is unlocked.
    fn waiting_for(&mut self, wanted: Wanted) -> Vec<Thread> {
        self.waiting.remove(&wanted).unwrap_or_default()
    }
}

fn wake(threads: impl IntoIterator<Item = Thread>) {
    threads.into_iter().for_each(|thread| thread.unpark());
}

struct Shared {
    /// By rank.
    mailboxes: Vec<Mutex<Mailbox>>,
    failure: OnceLock<Failure>,
    cancel: Cancel,
    /// Whether a rank has woken the others since it was cancelled.
    cancel_seen: AtomicBool,
}

impl Shared {
    /// A panic while the lock is held cannot leave a mailbox half-changed, so poison is ignored.
    fn mailbox(&self, rank: u32) -> MutexGuard<'_, Mailbox> {
        self.mailboxes[rank as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), GroupError> {
        match self.failure.get() {
            Some(failure) => Err(GroupError::Failed(failure.clone())),
            None if self.cancel.is_cancelled() => Err(GroupError::Cancelled),
            None => Ok(()),
        }
    }

    /// What `look` finds in the mailbox of rank `at`, which is looked into again whenever what is
    /// wanted may be there.
    fn wait_for<T>(
        &self,
        at: u32,
        wanted: Wanted,
        mut look: impl FnMut(&mut Mailbox) -> Option<T>,
    ) -> Result<T, GroupError> {
        let ranks = self.mailboxes.len() as u32;
        loop {
            let mut mailbox = self.mailbox(at);
            // After the lock: a thread that ends the group afterwards finds this thread waiting.
            if let Err(end) = self.check() {
                drop(mailbox);
                self.tell_cancelled();
                return Err(end);
            }
            if let Some(found) = look(&mut mailbox) {
                return Ok(found);
            }
            let waiting = mailbox.waiting.entry(wanted).or_default();
            let me = thread::current();
            // It may be there from before, if it woke by itself.
            if waiting.iter().all(|thread| thread.id() != me.id()) {
                waiting.push(me);
            }
            drop(mailbox);
            thread::park_timeout(CANCEL_POLL * ranks.div_ceil(POLLING_RANKS));
        }
    }

    /// Wakes all threads that wait, once, if the group was cancelled.
    fn tell_cancelled(&self) {
        if self.cancel.is_cancelled() && !self.cancel_seen.swap(true, Ordering::SeqCst) {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for rank in 0..self.mailboxes.len() as u32 {
            let waiting = std::mem::take(&mut self.mailbox(rank).waiting);
            wake(waiting.into_values().flatten());
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
            mailboxes: (0..size).map(|_| Mutex::default()).collect(),
            failure: OnceLock::new(),
            cancel: cancel.clone(),
            cancel_seen: AtomicBool::new(false),
        });
        (0..size).map(|rank| ThreadRank { rank, shared: shared.clone() }).collect()
    }
}

/// One rank's end of a [`ThreadGroup`].
#[derive(Clone)]
pub struct ThreadRank {
    rank: u32,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for ThreadRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {} threads", self.rank, self.size())
    }
}

impl Group for ThreadRank {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn size(&self) -> u32 {
        self.shared.mailboxes.len() as u32
    }

    fn send_payload(&self, to: u32, tag: Tag, payload: Payload) -> Result<(), GroupError> {
        let mut payload = Some(payload);
        let receivers = self.shared.wait_for(to, Wanted::Room(self.rank), |mailbox| {
            let under_way = mailbox.under_way.entry(self.rank).or_default();
            if *under_way >= MESSAGES_UNDER_WAY {
                return None;
            }
            *under_way += 1;
            mailbox.mail.entry((self.rank, tag)).or_default().extend(payload.take());
            Some(mailbox.waiting_for(Wanted::Message(self.rank, tag)))
        })?;
        wake(receivers);
        Ok(())
    }

    fn receive_payload(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
    ) -> Result<Payload, GroupError> {
        let wanted = Wanted::Message(from, tag);
        let (payload, senders) = self.shared.wait_for(self.rank, wanted, |mailbox| {
            let messages = mailbox.mail.get_mut(&(from, tag))?;
            let payload = messages.pop_front()?;
            if messages.is_empty() {
                mailbox.mail.remove(&(from, tag));
            }
            *mailbox.under_way.entry(from).or_default() -= 1;
            Some((payload, mailbox.waiting_for(Wanted::Room(from))))
        })?;
        wake(senders);
        let got = payload.length();
        if !expected.admits(got) {
            let cause = Cause::Length { from, got, expected };
            let failure = Failure { rank: self.rank, piece: None, op: None, cause };
            self.fail(failure.clone());
            return Err(failure.into());
        }
        Ok(payload)
    }

    fn fail(&self, failure: Failure) {
        // The first stays.
        let _ = self.shared.failure.set(failure);
        self.shared.wake_all();
    }

    fn check(&self) -> Result<(), GroupError> {
        let go_on = self.shared.check();
        if go_on.is_err() {
            self.shared.tell_cancelled();
        }
        go_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until a thread waits for this at the mailbox of rank 0.
    fn until_waited_for(rank: &ThreadRank, wanted: Wanted) {
        while !rank.shared.mailbox(0).waiting.contains_key(&wanted) {
            thread::yield_now();
        }
    }

    #[test]
    fn who_waits_is_woken_by_what_it_waits_for_alone() {
        let ends = ThreadGroup::split(3, &Cancel::new());
        let wanted = Wanted::Message(1, Tag(7));
        let waits_for = |wanted| ends[0].shared.mailbox(0).waiting.contains_key(&wanted);
        // Asserted when no thread waits any more.
        let mut still_wait = Vec::new();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| ends[0].receive(1, Tag(7), 1));
            until_waited_for(&ends[0], wanted);
            for other in [(2, Tag(7)), (1, Tag(8))] {
                ends[other.0].send(0, other.1, vec![0.0]).expect("send");
                still_wait.push(waits_for(wanted));
            }
            ends[1].send(0, Tag(7), vec![1.0]).expect("send");
            assert_eq!(receiver.join().expect("no panic"), Ok(vec![1.0]));
            // Senders that wait for room are woken by room for their own messages.
            let fill = |from: usize, tag| ends[from].send(0, Tag(tag), Vec::new()).expect("send");
            (0..3).for_each(|tag| [1, 2].into_iter().for_each(|from| fill(from, tag)));
            let senders = [1, 2].map(|from| scope.spawn(move || fill(from, 3)));
            [1, 2].into_iter().for_each(|from| until_waited_for(&ends[0], Wanted::Room(from)));
            ends[0].receive(1, Tag(8), 1).expect("receive");
            still_wait.push(waits_for(Wanted::Room(2)));
            ends[0].receive(2, Tag(7), 1).expect("receive");
            senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        });
        assert_eq!(still_wait, [true; 3]);
        assert!(ends[0].shared.mailbox(0).waiting.is_empty());
    }

    #[test]
    fn a_sender_waits_for_a_slow_receiver() {
        let ends = ThreadGroup::split(2, &Cancel::new());
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                (0..100).for_each(|tag| ends[1].send(0, Tag(tag), vec![tag as f32]).expect("send"));
            });
            while !sender.is_finished() && ends[0].shared.mailbox(0).waiting.is_empty() {
                thread::yield_now();
            }
            assert!(!sender.is_finished(), "100 messages were taken, and none was received");
            for tag in 0..100 {
                assert_eq!(ends[0].receive(1, Tag(tag), 1), Ok(vec![tag as f32]));
            }
        });
    }
}
