//! One process's end of a group.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use halovae_engine::group::{
    Cancel, Cause, Failure, Group, GroupError, ProcessGroup, Tag, ThreadGroup, ThreadRank, Watch,
};

use crate::pump::{Command, Refused, Seat};

/// How many messages a rank may have under way to another before it waits for it to receive;
/// bounds the memory of pieces that nobody has stitched yet. Small messages are soon on their way
/// and do not count for long.
const MESSAGES_UNDER_WAY: u32 = 4;

/// How long a waiting rank takes to see the end of the group.
const POLL: Duration = Duration::from_millis(20);

/// Counts messages under way to each rank.
#[derive(Clone)]
pub(crate) struct Throttle(Arc<(Mutex<Vec<u32>>, Condvar)>);

impl Throttle {
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

    /// One of those to rank `to` has arrived.
    pub(crate) fn arrived(&self, to: u32) {
        let (counts, arrived) = &*self.0;
        counts.lock().unwrap_or_else(PoisonError::into_inner)[to as usize] -= 1;
        arrived.notify_all();
    }
}

/// One process's end of a group over MPI.
pub struct MpiRank {
    watch: Watch,
    cancel: Cancel,
    /// Which of the pump's groups this is.
    group: usize,
    commands: Sender<Command>,
    throttle: Throttle,
    /// Messages to itself stay in memory.
    own: ThreadRank,
}

impl fmt::Debug for MpiRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} processes", self.rank(), self.size())
    }
}

impl MpiRank {
    pub(crate) fn new(seat: Seat, commands: Sender<Command>, cancel: &Cancel) -> Self {
        let Seat { group, watch } = seat;
        let ended = Cancel::new();
        let own = ThreadGroup::split(1, &ended).remove(0);
        // Whoever waits for this rank's own messages wakes as well.
        let waiting = own.clone();
        watch.on_end(move |end| match end {
            GroupError::Failed(failure) => waiting.fail(failure.clone()),
            GroupError::Cancelled => ended.cancel(),
        });
        let throttle = Throttle::new(watch.size());
        Self { watch, cancel: cancel.clone(), group, commands, throttle, own }
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

    /// The pump has ended, which nobody asked it to.
    fn pump_ended(&self) -> GroupError {
        self.fail_here(Cause::Transport("its connection over MPI has ended".into()))
    }
}

impl Group for MpiRank {
    fn rank(&self) -> u32 {
        self.watch.rank()
    }

    fn size(&self) -> u32 {
        self.watch.size()
    }

    fn send(&self, to: u32, tag: Tag, data: Vec<f32>) -> Result<(), GroupError> {
        self.go_on()?;
        {
            let _waiting = self.watch.wait();
            if to == self.rank() {
                return self.own.send(0, tag, data);
            }
            while !self.throttle.departs(to) {
                self.go_on()?;
            }
        }
        let (group, throttle) = (self.group, self.throttle.clone());
        let send = Command::Send { group, to, tag, data, throttle };
        self.commands.send(send).map_err(|_| self.pump_ended())
    }

    fn receive(&self, from: u32, tag: Tag, len: usize) -> Result<Vec<f32>, GroupError> {
        self.go_on()?;
        if from == self.rank() {
            return self.own.receive(0, tag, len).map_err(|error| match error {
                GroupError::Failed(Failure {
                    cause: Cause::Length { got, expected, .. }, ..
                }) => self.fail_here(Cause::Length { from, got, expected }),
                error => self.watch.check().err().unwrap_or(error),
            });
        }
        let (reply, answer) = channel();
        let receive = Command::Receive { group: self.group, from, tag, len, reply };
        self.commands.send(receive).map_err(|_| self.pump_ended())?;
        let _waiting = self.watch.wait();
        loop {
            match answer.recv_timeout(POLL) {
                Ok(Ok(data)) => return Ok(data),
                Ok(Err(Refused::Length(got))) => {
                    return Err(self.fail_here(Cause::Length { from, got, expected: len }));
                }
                Ok(Err(Refused::Memory)) => {
                    let message = format!("no memory for a message of {len} values");
                    return Err(self.fail_here(Cause::Transport(message)));
                }
                Err(RecvTimeoutError::Timeout) => self.go_on()?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.pump_ended()),
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

    fn rest(&self) {
        self.watch.rest();
    }
}

impl Drop for MpiRank {
    fn drop(&mut self) {
        // A pump that has ended has no groups.
        let _ = self.commands.send(Command::Leave { group: self.group });
    }
}

impl ProcessGroup for MpiRank {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}
