//! Plans, and what they take, without decoding.

mod compare;
mod course;
mod estimates;
mod fit;
mod planned;
mod planner;
mod sizes;
mod threads;
mod time;

pub use compare::{Bytes, Comparison, Figures, InTime, Row, STRATEGIES, grid};
pub use course::{Course, Finished, Turn};
pub use estimates::{Estimates, Memory, Within, WorkUnit};
pub(crate) use fit::{Allowed, Chosen};
pub use halovae_engine::shard::Traffic;
pub use planned::Planned;
pub(crate) use planned::plan;
pub(crate) use planner::MOST_FRAMES;
pub use planner::{DecoderFacts, Planner};
pub use sizes::{cells_of_pixels, latent_frames};
pub use threads::{share, threads};
pub use time::{
    Chunk, Slice, Streaming, Streams, chunks_waited_for, goes_by_chunks, slice_count, slices,
    streams,
};
