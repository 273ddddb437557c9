//! Decodes, on whatever devices.

mod control;
mod decoder;
mod facts;
mod fit;
mod frames;
mod job;
mod run;

pub use control::{Control, Together};
pub use decoder::Decoder;
pub(crate) use facts::facts;
pub use frames::{Frame, Frames, PerFrame};
pub use job::{Done, Job};
