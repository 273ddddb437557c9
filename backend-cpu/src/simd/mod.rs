//! Vectors of the machine, chosen at run time.
//!
//! A kernel body is written once over [`Simd`] and marked `#[inline(always)]`; [`table`](crate::table) instantiates
//! it for each level inside a function with that level's target features, and the drivers call it
//! through the level's [`Table`](crate::table::Table).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod exp;
pub(crate) mod pointwise;
mod portable;
pub(crate) mod positions;
pub(crate) mod softmax;
pub(crate) mod sums;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// A vector of floats and what kernels do with it.
///
/// Every method is unsafe for the same two reasons: the level's instructions must be available, and
/// pointers must be valid for the lanes that are touched. None asks for alignment.
pub(crate) trait Simd: Copy {
    /// The vector.
    type V: Copy;
    /// Floats in a vector.
    const LANES: usize;
    /// Vectors across a packed panel: with `MR` rows the accumulators fill the registers.
    const NV: usize;
    /// Rows of a register block.
    const MR: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n` lanes, zero in the others.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    /// Writes the first `n` lanes.
    unsafe fn store_first(p: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` where one is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` where one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `1 / a` to 1 ulp or so.
    unsafe fn recip(a: Self::V) -> Self::V;
    /// `2^n` for whole `n` in -126..=127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    /// Asks for the cache line at `p`, which may be anywhere.
    #[inline(always)]
    fn prefetch(_p: *const f32) {}
    unsafe fn reduce_add(v: Self::V) -> f32;
    unsafe fn reduce_max(v: Self::V) -> f32;
}

/// The instructions that kernels are allowed to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust, vectorised by the compiler for the build's target (NEON on aarch64).
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
}

impl Level {
    /// The best level of this machine.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Level::Portable)
    }

    /// Every level that this machine can run, the best last.
    pub fn available() -> &'static [Level] {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return &[Level::Portable, Level::Avx2, Level::Avx512];
            }
            if avx2 {
                return &[Level::Portable, Level::Avx2];
            }
        }
        &[Level::Portable]
    }

    /// The name that reports use.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }
}
