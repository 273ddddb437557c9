//! One row of scores.

use super::{Simd, exp};

/// One row's step of the softmax.
pub(crate) struct Softmax {
    /// Scores in, weights out.
    pub scores: *mut f32,
    pub len: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Largest scaled score so far.
    pub max: f32,
    /// Sum of the weights so far, relative to `max`.
    pub sum: f32,
    /// What sums and outputs made before this step must be multiplied with.
    pub correction: f32,
}

/// Turns a row's scores into weights relative to the new maximum.
///
/// # Safety
///
/// `S` is available; `scores` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn softmax<S: Simd>(s: &mut Softmax) {
    // SAFETY: all accesses are below `len`.
    unsafe {
        let scale = S::splat(s.scale);
        let whole = s.len / S::LANES * S::LANES;
        let mut max = S::splat(s.max);
        let mut i = 0;
        while i < whole {
            max = S::max(max, S::mul(S::load(s.scores.add(i)), scale));
            i += S::LANES;
        }
        let mut new_max = S::reduce_max(max);
        for i in whole..s.len {
            new_max = new_max.max(*s.scores.add(i) * s.scale);
        }
        let negative = S::splat(-new_max);
        let mut sum = S::splat(0.0);
        let mut i = 0;
        while i < whole {
            let at = s.scores.add(i);
            let weight = exp::exp::<S>(S::fma(S::load(at), scale, negative));
            S::store(at, weight);
            sum = S::add(sum, weight);
            i += S::LANES;
        }
        let mut total = S::reduce_add(sum);
        if whole < s.len {
            let n = s.len - whole;
            let at = s.scores.add(whole);
            S::store_first(at, exp::exp::<S>(S::fma(S::load_first(at, n), scale, negative)), n);
            for i in 0..n {
                total += *at.add(i);
            }
        }
        let mut correction = [0.0f32; 16];
        let old = exp::exp::<S>(S::splat(s.max - new_max));
        S::store(correction.as_mut_ptr(), old);
        s.correction = if s.max == f32::NEG_INFINITY { 0.0 } else { correction[0] };
        s.sum = s.sum * s.correction + total;
        s.max = new_max;
    }
}

/// A row to scale.
pub(crate) struct Rescale {
    pub row: *mut f32,
    pub len: usize,
    pub factor: f32,
}

/// Scales a row.
///
/// # Safety
///
/// `S` is available; `row` is valid for `len` floats.
#[inline(always)]
pub(crate) unsafe fn rescale<S: Simd>(r: &Rescale) {
    // SAFETY: all accesses are below `len`.
    unsafe {
        let factor = S::splat(r.factor);
        let mut i = 0;
        while i < r.len {
            let (at, n) = (r.row.add(i), (r.len - i).min(S::LANES));
            S::store_first(at, S::mul(S::load_first(at, n), factor), n);
            i += S::LANES;
        }
    }
}
