//! One process's end of a group, over any transport.
//!
//! The transport moves messages. What every group of processes has to do besides (telling why a wait
//! ends, bounding what is under way, messages to oneself) is done here, once.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{
    Cancel, Cause, Expected, Failure, Group, GroupError, Length, MESSAGES_UNDER_WAY, Payload,
    ProcessGroup, Tag, ThreadGroup, ThreadRank, Waiting, Watch,
};

/// How long a waiting rank takes to see the end of the group.
const POLL: Duration = Duration::from_millis(20);

/// Why a message is not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is of this length, and not as expected.
    Length(Length),
    /// There is no memory for it.
    Memory,
    /// Its sender is connected no more.
    Gone,
}

/// Where a message goes, or why it does not.
pub type Answer = Sender<Result<Payload, Refused>>;

/// The transport has ended without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportEnded;

/// Carries messages between the processes of one group. Nothing here blocks: what begins goes on
/// while the rank computes.
pub trait Transport: Send + Sync {
    /// Its name, for messages: "MPI".
    const NAME: &'static str;

    /// Begins to send to another rank, and tells `under_way` when the message has left.
    ///
    /// # Errors
    /// [`TransportEnded`].
    fn send(
        &self,
        to: u32,
        tag: Tag,
        payload: Payload,
        under_way: UnderWay,
    ) -> Result<(), TransportEnded>;

    /// Begins to receive the next message of another rank with this tag. One that is not as
    /// expected is refused.
    ///
    /// # Errors
    /// [`TransportEnded`].
    fn receive(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
        answer: Answer,
    ) -> Result<(), TransportEnded>;

    /// This rank is no longer in the group.
    fn leave(&self);
}

/// Counts messages under way to each rank.
#[derive(Clone, Debug)]
pub struct UnderWay(Arc<(Mutex<Vec<u32>>, Condvar)>);

impl UnderWay {
    fn new(size: u32) -> Self {
        Self(Arc::new((Mutex::new(vec![0; size as usize]), Condvar::new())))
    }

    /// Counts one more to rank `to` if there may be one; else waits a little. Whether it did count.
    fn departs(&self, to: u32) -> bool {
        let (counts, arrived) = &*self.0;
        let is_full = |counts: &mut Vec<u32>| counts[to as usize] >= MESSAGES_UNDER_WAY;
        let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = match arrived.wait_timeout_while(counts, POLL, is_full) {
            Ok((counts, _)) => counts,
            Err(poisoned) => poisoned.into_inner().0,
        };
        let may = !is_full(&mut counts);
        counts[to as usize] += u32::from(may);
        may
    }

    /// One of those to rank `to` has left this process.
    pub fn arrived(&self, to: u32) {
        let (counts, arrived) = &*self.0;
        counts.lock().unwrap_or_else(PoisonError::into_inner)[to as usize] -= 1;
        arrived.notify_all();
    }
}

/// One process's end of a group.
pub struct ProcessRank<T: Transport> {
    watch: Watch,
    cancel: Cancel,
    transport: T,
    under_way: UnderWay,
    /// Messages to itself stay in memory.
    own: ThreadRank,
}

impl<T: Transport> fmt::Debug for ProcessRank<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} processes over {}", self.rank(), self.size(), T::NAME)
    }
}

impl<T: Transport> ProcessRank<T> {
    /// The rank that `watch` knows, whose messages `transport` carries.
    pub fn new(watch: Watch, transport: T, cancel: &Cancel) -> Self {
        let ended = Cancel::new();
        let own = ThreadGroup::split(1, &ended).remove(0);
        // A thread that waits for this rank's own messages wakes as well.
        let waiting = own.clone();
        watch.on_end(move |end| match end {
            GroupError::Failed(failure) => waiting.fail(failure.clone()),
            GroupError::Cancelled => ended.cancel(),
        });
        let under_way = UnderWay::new(watch.size());
        Self { watch, cancel: cancel.clone(), transport, under_way, own }
    }

    /// Whether the group goes on; does not count as a step.
    fn go_on(&self) -> Result<(), GroupError> {
        if self.cancel.is_cancelled() {
            self.watch.cancel();
        }
        self.watch.check()
    }

    fn fail_here(&self, cause: Cause) -> GroupError {
        self.fail(Failure { rank: self.rank(), piece: None, op: None, cause });
        match self.watch.check() {
            Err(error) => error,
            Ok(()) => GroupError::Cancelled,
        }
    }

    fn transport_ended(&self) -> GroupError {
        self.fail_here(Cause::Transport(format!("its connection over {} has ended", T::NAME)))
    }
}

impl<T: Transport> Group for ProcessRank<T> {
    fn rank(&self) -> u32 {
        self.watch.rank()
    }

    fn size(&self) -> u32 {
        self.watch.size()
    }

    fn send_payload(&self, to: u32, tag: Tag, payload: Payload) -> Result<(), GroupError> {
        self.go_on()?;
        {
            let _waiting = self.watch.wait();
            if to == self.rank() {
                return self.own.send_payload(0, tag, payload);
            }
            while !self.under_way.departs(to) {
                self.go_on()?;
            }
        }
        let sent = self.transport.send(to, tag, payload, self.under_way.clone());
        sent.map_err(|_| self.transport_ended())
    }

    fn receive_payload(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
    ) -> Result<Payload, GroupError> {
        self.go_on()?;
        if from == self.rank() {
            return self.own.receive_payload(0, tag, expected).map_err(|error| match error {
                GroupError::Failed(Failure {
                    cause: Cause::Length { got, expected, .. }, ..
                }) => self.fail_here(Cause::Length { from, got, expected }),
                error => self.watch.check().err().unwrap_or(error),
            });
        }
        let (answer, answered) = channel();
        let begun = self.transport.receive(from, tag, expected, answer);
        begun.map_err(|_| self.transport_ended())?;
        let _waiting = self.watch.wait();
        loop {
            match answered.recv_timeout(POLL) {
                Ok(Ok(payload)) => return Ok(payload),
                Ok(Err(Refused::Length(got))) => {
                    return Err(self.fail_here(Cause::Length { from, got, expected }));
                }
                Ok(Err(Refused::Memory)) => {
                    let message = format!("no memory for a message of {expected}");
                    return Err(self.fail_here(Cause::Transport(message)));
                }
                Ok(Err(Refused::Gone)) => {
                    let message = format!("it is no longer connected over {}", T::NAME);
                    let cause = Cause::Transport(message);
                    self.fail(Failure { rank: from, piece: None, op: None, cause });
                    return Err(self.watch.check().err().unwrap_or(GroupError::Cancelled));
                }
                Err(RecvTimeoutError::Timeout) => self.go_on()?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.transport_ended()),
            }
        }
    }

    fn fail(&self, failure: Failure) {
        self.watch.fail(failure);
    }

    fn check(&self) -> Result<(), GroupError> {
        self.watch.step();
        self.go_on()
    }

    fn check_while_waiting(&self) -> Result<(), GroupError> {
        self.go_on()
    }

    fn waiting(&self) -> Option<Waiting<'_>> {
        Some(self.watch.wait())
    }

    fn rest(&self) {
        self.watch.rest();
    }
}

impl<T: Transport> Drop for ProcessRank<T> {
    fn drop(&mut self) {
        self.transport.leave();
    }
}

impl<T: Transport> ProcessGroup for ProcessRank<T> {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// The processes that run on the same cores as this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Which of them this is, in the order of ranks.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Neighbours {
    /// Those of rank `rank`, when `all[r]` are the [cores](own_cores) of rank `r` and its machine.
    pub fn of<C: PartialEq>(rank: usize, all: &[C]) -> Self {
        let same = |cores: &[C]| cores.iter().filter(|&cores| *cores == all[rank]).count() as u32;
        Self { index: same(&all[..rank]), count: same(all) }
    }
}

/// The cores that this process may run on, as the system writes them; nothing where it does not.
pub fn own_cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed:"));
    line.unwrap_or_default().to_owned()
}
