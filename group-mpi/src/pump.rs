//! The thread that makes all calls to MPI.
//!
//! A message is announced by an envelope with its tag, length and kind, and follows in chunks under an
//! MPI tag of its own; large ones stay with the sender (MPI's rendezvous) until a rank wants
//! them. So tags of 64 bits, lengths beyond what MPI counts, and messages that are received in
//! another order than sent all work with what every MPI library has.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use halovae_engine::group::{
    Answer, Expected, Length, Limits, Payload, Reach, Refused, Tag, UnderWay, Watch,
};
use mpi::environment::Universe;
use mpi::request::{Request, StaticScope};
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;

use crate::lent::{Lent, LentPayload};

/// The MPI tag of envelopes.
const ENVELOPE: i32 = 0;

/// MPI tags of data are 1 to this: every library has tags up to 32767.
const DATA_TAGS: u64 = 32_767;

/// Rounds without news after which the pump no longer spins.
const SPINS: u32 = 200;

/// From one look to the next while something is under way.
const BUSY_PAUSE: Duration = Duration::from_micros(100);

/// From one look to the next while nothing is.
const IDLE_PAUSE: Duration = Duration::from_micros(500);

/// How long messages under way, and processes that still work, may take at the end. Then MPI waits for
/// them itself.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// What the pump is asked for.
pub(crate) enum Command {
    /// Makes a group of the first `size` processes. All processes ask for it at the same time.
    Group { size: u32, limits: Limits, reply: Sender<io::Result<Option<Seat>>> },
    /// Sends, and counts it as arrived when that is over.
    Send { group: usize, to: u32, tag: Tag, payload: Payload, under_way: UnderWay },
    /// Receives what is expected.
    Receive { group: usize, from: u32, tag: Tag, expected: Expected, reply: Answer },
    /// No rank of this process is in the group any more.
    Leave { group: usize },
    /// Ends MPI.
    Finish,
}

/// A process's place in a new group.
pub(crate) struct Seat {
    /// Which of the pump's groups it is.
    pub(crate) group: usize,
    pub(crate) watch: Watch,
}

/// A message that has been announced.
struct Announced {
    length: Length,
    /// The MPI tag of its data.
    tag: i32,
}

struct Wanted {
    expected: Expected,
    reply: Answer,
}

/// Group, sender, tag.
type From = (usize, u32, Tag);

struct Sending {
    payload: LentPayload,
    to: u32,
    under_way: UnderWay,
}

/// A group, or one that this process has left. Freeing its communicator takes all processes, which
/// leave at times of their own, so it lives as long as MPI.
struct Room {
    communicator: SimpleCommunicator,
    is_open: bool,
}

pub(crate) struct Pump {
    // Before the universe, so that they are freed before MPI ends.
    groups: Vec<Room>,
    world: SimpleCommunicator,
    universe: Universe,
    reach: Reach,
    /// Most elements of a message of MPI.
    chunk: usize,
    /// Messages sent so far, by group and receiver.
    sent: HashMap<(usize, u32), u64>,
    envelopes: Vec<Lent<u64>>,
    sending: Vec<Sending>,
    receiving: Vec<(LentPayload, Answer)>,
    announced: HashMap<From, VecDeque<Announced>>,
    wanted: HashMap<From, VecDeque<Wanted>>,
}

impl Pump {
    pub(crate) fn new(
        universe: Universe,
        world: SimpleCommunicator,
        reach: Reach,
        chunk: usize,
    ) -> Self {
        Self {
            groups: Vec::new(),
            world,
            universe,
            reach,
            chunk,
            sent: HashMap::new(),
            envelopes: Vec::new(),
            sending: Vec::new(),
            receiving: Vec::new(),
            announced: HashMap::new(),
            wanted: HashMap::new(),
        }
    }

    /// Does what it is asked for until it is asked to finish. If all senders are gone, the
    /// process is about to end without ending MPI.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        let mut rounds = 0;
        loop {
            let command = if rounds < SPINS && self.is_busy() {
                std::thread::yield_now();
                match commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return self.abandon(),
                }
            } else {
                let pause = if self.is_busy() { BUSY_PAUSE } else { IDLE_PAUSE };
                match commands.recv_timeout(pause) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return self.abandon(),
                }
            };
            let asked = command.is_some();
            match command {
                Some(Command::Finish) => return self.finish(),
                Some(command) => self.obey(command),
                None => {}
            }
            let moved = self.progress();
            rounds = if asked || moved { 0 } else { rounds.saturating_add(1) };
        }
    }

    fn is_busy(&self) -> bool {
        !(self.envelopes.is_empty()
            && self.sending.is_empty()
            && self.receiving.is_empty()
            && self.wanted.is_empty())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Group { size, limits, reply } => {
                // If no thread waits for the answer, the process is about to end.
                let _ = reply.send(self.group(size, limits));
            }
            Command::Send { group, to, tag, payload, under_way } => {
                self.send(group, to, tag, payload, under_way);
            }
            Command::Receive { group, from, tag, expected, reply } => {
                let key = (group, from, tag);
                self.wanted.entry(key).or_default().push_back(Wanted { expected, reply });
                self.receive(key);
            }
            Command::Leave { group } => self.leave(group),
            Command::Finish => {}
        }
    }

    fn group(&mut self, size: u32, limits: Limits) -> io::Result<Option<Seat>> {
        let is_in = (self.world.rank() as u32) < size;
        let color = if is_in { Color::with_value(0) } else { Color::undefined() };
        let Some(communicator) = self.world.split_by_color(color) else { return Ok(None) };
        let watch = watch(&communicator, self.reach, limits)?;
        self.groups.push(Room { communicator, is_open: true });
        Ok(Some(Seat { group: self.groups.len() - 1, watch }))
    }

    /// Leaves a group, in which others may have failed before all that was wanted arrived. What has been
    /// announced has to be received at the end.
    fn leave(&mut self, group: usize) {
        self.groups[group].is_open = false;
        self.wanted.retain(|&(of, ..), _| of != group);
    }

    fn send(&mut self, group: usize, to: u32, tag: Tag, payload: Payload, under_way: UnderWay) {
        let process = self.groups[group].communicator.process_at_rank(to as i32);
        let number = self.sent.entry((group, to)).or_default();
        let data_tag = (*number % DATA_TAGS) as i32 + 1;
        *number += 1;
        let [kind, len] = to_envelope(payload.length());
        let envelope = vec![tag.0, data_tag as u64, kind, len];
        self.envelopes.push(Lent::new(envelope, 4, |part| {
            process.immediate_send_with_tag(StaticScope, &*part, ENVELOPE)
        }));
        let payload = match payload {
            Payload::Values(values) => LentPayload::Values(Lent::new(values, self.chunk, |part| {
                process.immediate_send_with_tag(StaticScope, &*part, data_tag)
            })),
            Payload::Bytes(bytes) => LentPayload::Bytes(Lent::new(bytes, self.chunk, |part| {
                process.immediate_send_with_tag(StaticScope, &*part, data_tag)
            })),
        };
        self.sending.push(Sending { payload, to, under_way });
    }

    /// Lets MPI go on. Whether anything happened.
    fn progress(&mut self) -> bool {
        let mut moved = false;
        for group in 0..self.groups.len() {
            while self.groups[group].is_open
                && let Some((message, status)) = self.groups[group]
                    .communicator
                    .any_process()
                    .immediate_matched_probe_with_tag(ENVELOPE)
            {
                let mut envelope = [0u64; 4];
                message.matched_receive_into(&mut envelope[..]);
                let [tag, data_tag, kind, len] = envelope;
                let key = (group, status.source_rank() as u32, Tag(tag));
                let length = of_envelope([kind, len]);
                let announced = Announced { length, tag: data_tag as i32 };
                self.announced.entry(key).or_default().push_back(announced);
                self.receive(key);
                moved = true;
            }
        }
        let before = self.envelopes.len() + self.sending.len() + self.receiving.len();
        self.envelopes.retain_mut(|envelope| !envelope.is_complete());
        self.sending.retain_mut(|Sending { payload, to, under_way }| {
            let over = payload.is_complete();
            if over {
                under_way.arrived(*to);
            }
            !over
        });
        let mut receiving = Vec::with_capacity(self.receiving.len());
        for (mut payload, reply) in std::mem::take(&mut self.receiving) {
            if payload.is_complete() {
                // A thread that no longer waits has heard of a failure.
                let _ = reply.send(Ok(payload.back()));
            } else {
                receiving.push((payload, reply));
            }
        }
        self.receiving = receiving;
        moved || before != self.envelopes.len() + self.sending.len() + self.receiving.len()
    }

    /// Begins to receive what is both announced and wanted.
    fn receive(&mut self, key: From) {
        let (group, from, _) = key;
        let Some(announced) = self.announced.get_mut(&key) else { return };
        let Some(wanted) = self.wanted.get_mut(&key) else { return };
        let process = self.groups[group].communicator.process_at_rank(from as i32);
        while !announced.is_empty()
            && let Some(Wanted { expected, reply }) = wanted.pop_front()
            && let Some(Announced { length, tag }) = announced.pop_front()
        {
            let refused = Err(Refused::Length(length));
            let payload = match length {
                _ if !expected.admits(length) => refused,
                Length::Values(len) => room_for(len).map(|values| {
                    LentPayload::Values(Lent::new(values, self.chunk, |part| {
                        process.immediate_receive_into_with_tag(StaticScope, part, tag)
                    }))
                }),
                Length::Bytes(len) => room_for(len).map(|bytes| {
                    LentPayload::Bytes(Lent::new(bytes, self.chunk, |part| {
                        process.immediate_receive_into_with_tag(StaticScope, part, tag)
                    }))
                }),
            };
            match payload {
                Ok(payload) => self.receiving.push((payload, reply)),
                // A thread that no longer waits has heard of a failure.
                Err(refused) => drop(reply.send(Err(refused))),
            }
        }
        if announced.is_empty() {
            self.announced.remove(&key);
        }
        if wanted.is_empty() {
            self.wanted.remove(&key);
        }
    }

    /// Receives what no rank wants: a send that is never received may keep MPI from ending.
    fn discard(&mut self) {
        let announced: Vec<From> = self.announced.keys().copied().collect();
        for key in announced {
            let expected = self.announced[&key].iter().map(|announced| match announced.length {
                Length::Values(len) => Expected::Values(len),
                Length::Bytes(_) => Expected::Bytes,
            });
            let unread = expected.map(|expected| Wanted { expected, reply: channel().0 });
            self.wanted.entry(key).or_default().extend(unread);
            self.receive(key);
        }
    }

    /// Ends MPI when what is under way has arrived, here and everywhere.
    fn finish(mut self) {
        self.wanted.clear();
        self.groups.iter_mut().for_each(|room| room.is_open = true);
        let start = Instant::now();
        // All have sent all that they sent when all have come here.
        let mut all_sent: Option<Request<'_, ()>> = None;
        loop {
            self.progress();
            self.discard();
            all_sent = match all_sent {
                Some(waiting) => match waiting.test() {
                    Ok(_) => break,
                    Err(waiting) => Some(waiting),
                },
                None if self.sending.is_empty() && self.envelopes.is_empty() => {
                    Some(self.world.immediate_barrier())
                }
                None => None,
            };
            if start.elapsed() > FLUSH_LIMIT {
                // A request refuses to be dropped.
                std::mem::forget(all_sent);
                break;
            }
            std::thread::sleep(BUSY_PAUSE);
        }
        while !self.receiving.is_empty() && start.elapsed() < FLUSH_LIMIT {
            self.progress();
            std::thread::sleep(BUSY_PAUSE);
        }
        let Self { groups, world, universe, .. } = self;
        drop((groups, world));
        drop(universe);
    }

    /// Leaves MPI as it is: ending it would wait for processes that may never get there.
    fn abandon(self) {
        let Self { groups, world, universe, .. } = self;
        std::mem::forget((groups, world, universe));
    }
}

/// Memory to receive into.
fn room_for<T: Clone + Default>(len: usize) -> Result<Vec<T>, Refused> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| Refused::Memory)?;
    room.resize(len, T::default());
    Ok(room)
}

/// Kind and length of a message, as its envelope has them.
fn to_envelope(length: Length) -> [u64; 2] {
    match length {
        Length::Values(len) => [0, len as u64],
        Length::Bytes(len) => [1, len as u64],
    }
}

fn of_envelope([kind, len]: [u64; 2]) -> Length {
    match kind {
        0 => Length::Values(len as usize),
        _ => Length::Bytes(len as usize),
    }
}

/// Begins to watch over the processes of a communicator. Rank 0 tells the others over MPI where to
/// find it.
fn watch(communicator: &SimpleCommunicator, reach: Reach, limits: Limits) -> io::Result<Watch> {
    let (rank, size) = (communicator.rank() as u32, communicator.size() as u32);
    let root = communicator.process_at_rank(0);
    Watch::begin(rank, size, reach, limits, None, |mut text| {
        let mut len = text.len() as u64;
        root.broadcast_into(&mut len);
        text.resize(len as usize, 0);
        root.broadcast_into(&mut text[..]);
        Ok(text)
    })
}
