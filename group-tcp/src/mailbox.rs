//! What has come from one process, and what is wanted of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use halovae_engine::group::{Answer, Expected, Payload, Refused, Tag};

/// How many messages are read that no thread wants yet. More wait in the connection, and then with the
/// sender.
const UNWANTED: usize = 4;

/// Group and tag.
type Key = (u32, Tag);

struct Wanted {
    expected: Expected,
    answer: Answer,
}

#[derive(Default)]
struct State {
    arrived: HashMap<Key, VecDeque<Result<Payload, Refused>>>,
    wanted: HashMap<Key, VecDeque<Wanted>>,
    /// Groups that this process is in no more.
    left: HashSet<u32>,
    /// Nothing comes any more.
    is_over: bool,
}

/// One for each other process.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    changed: Condvar,
}

impl Mailbox {
    /// A panic while the lock is held cannot leave the state half-changed, so poison is ignored.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants the next message with this tag.
    pub(crate) fn want(&self, key: Key, expected: Expected, answer: Answer) {
        let mut state = self.lock();
        let wanted = Wanted { expected, answer };
        match state.arrived.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(message) => hand_over(wanted, message),
            None if state.is_over => hand_over(wanted, Err(Refused::Gone)),
            None => state.wanted.entry(key).or_default().push_back(wanted),
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the next message may be read: a thread wants one, this or one behind it, or few
    /// are there that no thread wants.
    pub(crate) fn wait_for_room(&self) {
        let mut state = self.lock();
        let is_full = |state: &State| {
            let none_waits = state.wanted.values().all(VecDeque::is_empty);
            none_waits && state.arrived.values().map(VecDeque::len).sum::<usize>() >= UNWANTED
        };
        while is_full(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A message has come.
    pub(crate) fn deliver(&self, key: Key, message: Result<Payload, Refused>) {
        let mut state = self.lock();
        if state.left.contains(&key.0) {
            return;
        }
        match state.wanted.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(wanted) => hand_over(wanted, message),
            None => state.arrived.entry(key).or_default().push_back(message),
        }
        state.wanted.retain(|_, wanted| !wanted.is_empty());
        state.arrived.retain(|_, arrived| !arrived.is_empty());
    }

    /// Forgets a group.
    pub(crate) fn leave(&self, group: u32) {
        let mut state = self.lock();
        state.left.insert(group);
        state.arrived.retain(|&(of, _), _| of != group);
        state.wanted.retain(|&(of, _), _| of != group);
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing comes any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        for wanted in std::mem::take(&mut state.wanted).into_values().flatten() {
            hand_over(wanted, Err(Refused::Gone));
        }
    }
}

fn hand_over(wanted: Wanted, message: Result<Payload, Refused>) {
    let message = match message {
        Ok(payload) if !wanted.expected.admits(payload.length()) => {
            Err(Refused::Length(payload.length()))
        }
        message => message,
    };
    // A thread that no longer waits has heard of a failure.
    let _ = wanted.answer.send(message);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// More unwanted messages than are read: the one behind them comes as soon as it is wanted.
    #[test]
    fn what_is_wanted_makes_room() {
        let mailbox = Mailbox::default();
        let value = |tag: u64| Payload::Values(vec![tag as f32]);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for tag in 0..=UNWANTED as u64 {
                    mailbox.wait_for_room();
                    mailbox.deliver((0, Tag(tag)), Ok(value(tag)));
                }
            });
            while mailbox.lock().arrived.len() < UNWANTED {
                std::thread::yield_now();
            }
            assert!(!reader.is_finished());
            let (answer, answered) = channel();
            let last = UNWANTED as u64;
            mailbox.want((0, Tag(last)), Expected::Values(1), answer);
            assert_eq!(answered.recv().unwrap(), Ok(value(last)));
        });
        // A group that is left makes room too, and what comes for it is dropped.
        mailbox.leave(0);
        mailbox.wait_for_room();
        mailbox.deliver((0, Tag(9)), Ok(Payload::Bytes(Vec::new())));
        assert!(mailbox.lock().arrived.is_empty());
    }
}
