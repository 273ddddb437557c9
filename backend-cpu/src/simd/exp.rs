//! The exponential and what is made of it, for whole vectors.

use super::Simd;

/// Adding and subtracting 1.5 * 2^23 rounds a float of magnitude below 2^22 to an integer.
const ROUND: f32 = 12_582_912.0;
/// Bounds within which 2^n is a normal float.
const LOW: f32 = -87.336_54;
const HIGH: f32 = 88.02;
/// ln 2 in two parts; the first has few enough bits that n * LN2_HI is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// e^x to within 2 ulp; arguments outside of -87.34..88.02 give the value at that bound, NaN gives
/// NaN. The polynomial is the one of Cephes' `expf`, on |r| <= ln(2) / 2.
///
/// # Safety
///
/// The instructions of `S` must be available.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: `S` is available by this function's contract.
    unsafe {
        // The second operand is returned when one is NaN.
        let x = S::max(S::splat(LOW), S::min(S::splat(HIGH), x));
        let shifted = S::fma(x, S::splat(std::f32::consts::LOG2_E), S::splat(ROUND));
        let n = S::sub(shifted, S::splat(ROUND));
        let r = S::fnma(n, S::splat(LN2_HI), x);
        let r = S::fnma(n, S::splat(LN2_LO), r);
        let p = S::fma(S::splat(1.987_569_2e-4), r, S::splat(1.398_199_9e-3));
        let p = S::fma(p, r, S::splat(8.333_452e-3));
        let p = S::fma(p, r, S::splat(4.166_579_6e-2));
        let p = S::fma(p, r, S::splat(1.666_666_5e-1));
        let p = S::fma(p, r, S::splat(0.5));
        let p = S::fma(p, S::mul(r, r), r);
        let scale = S::pow2(n);
        S::fma(p, scale, scale)
    }
}

/// `x / (1 + e^-x)`.
///
/// # Safety
///
/// The instructions of `S` must be available.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: `S` is available by this function's contract.
    unsafe {
        let e = exp::<S>(S::sub(S::splat(0.0), x));
        S::mul(x, S::recip(S::add(e, S::splat(1.0))))
    }
}
