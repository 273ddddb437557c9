//! Ranks that are processes and talk over TCP, whatever started them: `torchrun`, `mpirun`, `srun`, or
//! a shell. Nothing has to be installed for it.
//!
//! The processes [meet](Meeting) at rank 0. From then on every two of them have a connection, with a
//! thread at each end that writes and one that reads, so that data travels while ranks compute. What
//! no rank wants yet is read until there are some of it, and then waits in the connection. That a
//! process was killed or hangs is noticed by a [`Watch`](halovae_engine::group::Watch).
//!
//! A process that reaches rank 0's port before the ranks do can take a place among them, as with the
//! meeting points of other launchers: use a network that you trust.

mod mailbox;
mod meeting;
mod peer;
mod wire;
mod world;

pub use meeting::{Meeting, TcpError};
pub use world::{Messages, TcpRank, World};
