//! Ranks that are processes, started by `mpirun` or `srun`, and talk over MPI.
//!
//! One thread of each process, the pump, makes all calls to MPI: it starts sends and
//! receives, and looks after them, so that data travels while ranks compute, and so that no MPI
//! library needs more than its plainest threading. Everything that MPI cannot do (noticing that a
//! process was killed or hangs, waking the threads that wait for it) is done by a
//! [`Watch`](halovae_engine::group::Watch).
//!
//! Building this crate needs an MPI library and libclang; on Debian and Ubuntu
//! `apt-get install libopenmpi-dev openmpi-bin libclang-dev`.

mod lent;
mod pump;
mod rank;
mod world;

pub use rank::{Messages, MpiRank};
pub use world::{MpiError, World};
