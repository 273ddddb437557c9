//! How a device is opened.

use std::path::PathBuf;

/// How numbers are stored on the device. Sums are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Values and weights in f32.
    #[default]
    F32,
    /// Values and weights in f16: half the bytes, and within 2e-2 of f32.
    F16,
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How numbers are stored.
    pub precision: Precision,
    /// The most bytes of a value that are bound to a kernel at once, if less than what the adapter
    /// can: larger values are kept in several buffers. For tests of just that.
    pub max_binding_bytes: Option<u64>,
    /// Where to remember which tiles are the fastest on the adapter, measured when it is opened for
    /// the first time, which takes some seconds, and compiled kernels. Without a folder nothing is
    /// measured, and a guess has to do. See [`cache_folder`](halovae_engine::cache::cache_folder).
    pub tuning_folder: Option<PathBuf>,
    /// The most bytes of values and workspace that a rank may hold; beyond, allocation fails.
    pub max_memory_bytes: Option<u64>,
}
