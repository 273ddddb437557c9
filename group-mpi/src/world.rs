//! All processes that were started together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use halovae_engine::group::{Cancel, Limits, Neighbours, Reach, own_cores};
use mpi::Threading;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use crate::pump::{Command, Pump, Seat};
use crate::rank::{Messages, MpiRank};

/// Most elements of one message of MPI: its counts are of 31 bits, and some transports count bytes
/// in as many.
const CHUNK: usize = 1 << 28;

/// Why ranks cannot begin over MPI.
#[derive(Debug, thiserror::Error)]
pub enum MpiError {
    /// MPI is begun once a process.
    #[error("MPI has already begun in this process")]
    Begun,
    /// The system gives no thread, or the thread of MPI ended.
    #[error("the thread that talks over MPI has ended")]
    Thread(#[source] Option<io::Error>),
    /// The ranks cannot watch over each other.
    #[error("the ranks cannot reach each other over TCP, by which they notice if one fails")]
    Watch(#[source] io::Error),
}

/// This process among all that were started together. One a process.
///
/// Dropped without [`finish`](Self::finish), MPI is not ended, and the launcher ends all processes
/// when this one ends: that is how a failure ends them.
#[derive(Debug)]
pub struct World {
    rank: u32,
    size: u32,
    neighbours: Neighbours,
    commands: Sender<Command>,
    pump: JoinHandle<()>,
}

impl World {
    /// Begins MPI.
    ///
    /// # Errors
    /// [`MpiError::Begun`], [`MpiError::Thread`]. An MPI library that cannot begin ends the
    /// process with a message of its own.
    pub fn begin() -> Result<Self, MpiError> {
        Self::with_chunks(CHUNK)
    }

    /// As [`begin`](Self::begin), with messages cut into chunks of so many values.
    ///
    /// # Errors
    /// As there.
    pub fn with_chunks(chunk: usize) -> Result<Self, MpiError> {
        let (commands, asked) = channel();
        let (begun, begin) = channel();
        let pump = std::thread::Builder::new().name("mpi".into()).spawn(move || {
            let universe = mpi::initialize_with_threading(Threading::Funneled);
            let Some((universe, _)) = universe else { return };
            let world = universe.world();
            let local = world.split_shared(world.rank());
            let (rank, size) = (world.rank() as u32, world.size() as u32);
            let all_here = local.size() as u32 == size;
            let reach = if all_here { Reach::ThisMachine } else { Reach::Network };
            let neighbours = neighbours(&local);
            drop(local);
            // All ranks must know the same reach; one machine sees all ranks or none does.
            let pump = Pump::new(universe, world, reach, chunk.max(1));
            if begun.send((rank, size, neighbours)).is_ok() {
                pump.run(&asked);
            }
        });
        let pump = pump.map_err(|error| MpiError::Thread(Some(error)))?;
        let (rank, size, neighbours) = begin.recv().map_err(|_| MpiError::Begun)?;
        Ok(Self { rank, size, neighbours, commands, pump })
    }

    /// This process's rank.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The processes that share this one's cores.
    pub fn neighbours(&self) -> Neighbours {
        self.neighbours
    }

    /// A group of the first `size` processes, or of all if there are fewer; `None` in the others. All processes call this, with
    /// the same arguments and as often.
    ///
    /// # Errors
    /// [`MpiError::Watch`].
    pub fn group(
        &self,
        size: u32,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<Option<MpiRank>, MpiError> {
        let (reply, answer) = channel();
        let gone = |_| MpiError::Thread(None);
        self.commands
            .send(Command::Group { size, limits, reply })
            .map_err(|_| MpiError::Thread(None))?;
        let seat = answer.recv().map_err(gone)?.map_err(MpiError::Watch)?;
        Ok(seat.map(|Seat { group, watch }| {
            let messages = Messages { group, commands: self.commands.clone() };
            MpiRank::new(watch, messages, cancel)
        }))
    }

    /// Ends MPI, for which all processes wait for each other.
    pub fn finish(self) {
        if self.commands.send(Command::Finish).is_ok() {
            // A panic there has been told where it happened.
            let _ = self.pump.join();
        }
    }
}

/// The processes on this machine that run on the same cores as this one.
fn neighbours(local: &SimpleCommunicator) -> Neighbours {
    let mut hasher = DefaultHasher::new();
    own_cores().hash(&mut hasher);
    let mut all = vec![0_u64; local.size() as usize];
    local.all_gather_into(&hasher.finish(), &mut all[..]);
    Neighbours::of(local.rank() as usize, &all)
}
