//! Each value by itself.

use super::Simd;

/// `out = a + b`; `out` may be `a` or `b`.
///
/// # Safety
///
/// `S` is available, and the pointers are valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn add<S: Simd>(a: *const f32, b: *const f32, out: *mut f32, len: usize) {
    // SAFETY: all accesses are below `len`.
    unsafe {
        let mut i = 0;
        while i + S::LANES <= len {
            S::store(out.add(i), S::add(S::load(a.add(i)), S::load(b.add(i))));
            i += S::LANES;
        }
        if i < len {
            let n = len - i;
            let sum = S::add(S::load_first(a.add(i), n), S::load_first(b.add(i), n));
            S::store_first(out.add(i), sum, n);
        }
    }
}

/// The values of `low..=high` nearest to some values, in place; NaN stays NaN.
///
/// # Safety
///
/// `S` is available, and `values` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn clamp_all<S: Simd>(values: *mut f32, len: usize, [low, high]: [f32; 2]) {
    // SAFETY: all accesses are below `len`.
    unsafe {
        let (low, high) = (S::splat(low), S::splat(high));
        let mut i = 0;
        while i < len {
            let (at, n) = (values.add(i), (len - i).min(S::LANES));
            // The second operand is returned when one is NaN.
            S::store_first(at, S::max(low, S::min(high, S::load_first(at, n))), n);
            i += S::LANES;
        }
    }
}
