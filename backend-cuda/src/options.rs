//! How a device is opened.

use std::path::PathBuf;

use crate::kernels::Element;

/// How numbers are stored on the device. Sums and statistics are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Values and weights in f32, multiplied as such.
    #[default]
    F32,
    /// Values and weights in f16, multiplied by tensor cores.
    F16,
    /// Values and weights in bf16, multiplied by tensor cores.
    Bf16,
}

impl Precision {
    pub(crate) fn element(self) -> Element {
        match self {
            Precision::F32 => Element::F32,
            Precision::F16 => Element::F16,
            Precision::Bf16 => Element::Bf16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        })
    }
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How numbers are stored.
    pub precision: Precision,
    /// Where to keep compiled kernels, and which of cuDNN's engines were chosen; without it kernels are
    /// compiled and engines chosen by each process, which takes some seconds, and processes may choose
    /// differently. See [`cache_folder`](halovae_engine::cache::cache_folder).
    pub cache_folder: Option<PathBuf>,
    /// The most bytes of values and workspace that a rank may hold; beyond, allocation fails.
    pub max_memory_bytes: Option<u64>,
    /// Each decode queues its kernels one by one, as it does while ops are measured.
    pub without_graphs: bool,
    /// Our own kernel does all products, and engines of cuDNN's none, even where they are faster.
    pub without_cudnn: bool,
    /// Our own kernel multiplies on Hopper as it does on GPUs before it: to compare.
    pub without_hopper: bool,
    /// Limits below those of a GPU, so that tests have many bands and blocks in a small picture.
    pub limits: Limits,
}

/// How much of a value is worked on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a conv's staged input: enough to fill a GPU, few enough to stay in its cache.
    pub band_bytes: u64,
    /// Queries and keys of attention whose scores are held at once.
    pub attention: [usize; 2],
    /// Multiplications from which on a product gets an engine of its own, which takes some tenths of a
    /// second to compile the first time.
    pub engines_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { band_bytes: 48 << 20, attention: [8192, 2048], engines_from: 1 << 30 }
    }
}
