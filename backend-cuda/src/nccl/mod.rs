//! NCCL: tensors from GPU to GPU, over NVLink, PCIe or the network, whatever it finds.
//!
//! [`library`](self::library) has its functions, [`communicator`](self::communicator) one rank's
//! connection and [`connect`](self::connect) how it is made, [`links`](self::links) what the engine asks
//! of it.

mod communicator;
mod connect;
mod facts;
mod library;
mod links;
mod pause;
mod tensors;

pub(crate) use library::Nccl;
pub use links::{Demand, NcclLinks};
