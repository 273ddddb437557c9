//! Decodes, on whatever devices.

mod control;
mod decoder;
mod facts;
mod figures;
mod fit;
mod frames;
mod job;
mod ops;
mod run;

pub use control::{Control, Together};
pub use decoder::Decoder;
pub(crate) use facts::facts;
pub use figures::{PeakBytes, Piece, Rectangle, Share, Shares};
pub use frames::{Frame, Frames, PerFrame};
pub use job::{Done, Job};
pub use ops::OpKind;
