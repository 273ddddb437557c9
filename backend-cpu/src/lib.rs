//! The CPU backend of halovae: f32, channels last.
//!
//! Below the backend lies a layer of kernels over plain slices (frames of `[h][w][c]`), which can be
//! used alone. Every kernel runs on a rayon pool that the caller hands in, and none lets the number of
//! threads or their timing show in its result.

mod attention;
mod backend;
mod buffer;
mod channel_norm;
mod conv;
mod elementwise;
mod error;
mod frames;
mod norm;
mod pool;
mod prologue;
mod simd;
mod table;

pub use backend::{CpuBackend, CpuModel, CpuWeights, Value};

/// Kernels over plain slices.
pub mod kernels {
    pub use crate::attention::{AttentionShape, Part, attention, finish};
    pub use crate::buffer::Buffer;
    pub use crate::channel_norm::{Divisor, layer_norm, position_factors};
    pub use crate::conv::{
        Algorithm, Conv, ConvInput, ConvShape, LateStrips, Margins, Resume, Strips,
    };
    pub use crate::elementwise::{add_assign, apply, apply_in_place, clamp, sum};
    pub use crate::error::KernelError;
    pub use crate::frames::{join_frames, shuffle, upsample};
    pub use crate::norm::{
        Moments, affine, group_moments, workspace_bytes as norm_workspace_bytes,
    };
    pub use crate::pool::Workspace;
    pub use crate::prologue::Prologue;
    pub use crate::simd::Level;
    pub use halovae_engine::program::Edge;
}
