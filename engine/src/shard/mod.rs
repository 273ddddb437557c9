//! The sharded strategy: one decode, its feature maps cut along time, height and width.
//!
//! - `pass` finds out, from the geometry of ops alone, where a program must exchange;
//! - [`Cut`] says which rank has which shards, and which regions travel between them, and `rounds`
//!   what each op does when a chunk of latents has come;
//! - `run` is what one rank does and `turn` a shard's turn on the device; `halo`, `statistics` and
//!   `ring` are what it makes of what others send, and a `carrier` the way that takes: `over_host` as
//!   messages, `over_links` from device to device;
//! - `park` is where values wait, and halos that are read again, and `around` what lies around a part;
//! - [`peak_bytes`] and [`Traffic`] say what that takes, and [`fit`](fit()) how many shards fit a
//!   given memory.
//!
//! The result equals the whole decode up to rounding: nothing is blended, and no halo is decoded
//! twice.

mod around;
mod carrier;
mod cut;
mod estimate;
mod fit;
mod halo;
mod lent;
mod merge;
mod over_host;
mod over_links;
mod park;
mod pass;
mod ring;
mod rounds;
mod run;
mod scratch;
mod side;
mod statistics;
mod stop;
mod traffic;
mod turn;

pub use cut::Cut;
pub use estimate::peak_bytes;
pub use fit::{Budget, Fit, FitError, choose, fit};
pub use park::ParkLimit;
pub use pass::{HaloExchange, Segment, UncutError, exchanged_layers};
pub use traffic::Traffic;

pub(crate) use run::{Finished, ShardJob};
pub(crate) use stop::ShardStop;
