//! Eight lanes in plain Rust, in loops that a compiler turns into whatever vectors the target has
//! (two NEON registers on aarch64).

use super::Simd;

/// Vectors as arrays.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut r = [0.0; LANES];
    for i in 0..LANES {
        r[i] = f(a[i], b[i]);
    }
    r
}

/// `a * b + c`, fused only where the target has an instruction for it: the library routine that
/// stands in elsewhere is a hundred times slower.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

// SAFETY (all blocks below): the callers guarantee that the pointers are valid for the lanes that
// are touched.
impl Simd for Portable {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    const NV: usize = 2;
    const MR: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: see the implementation's note.
        unsafe { p.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: see the implementation's note.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V {
        let mut r = [0.0; LANES];
        for (i, lane) in r.iter_mut().enumerate().take(n) {
            // SAFETY: see the implementation's note; only `n` values are read.
            *lane = unsafe { *p.add(i) };
        }
        r
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: Self::V, n: usize) {
        for (i, lane) in v.iter().enumerate().take(n) {
            // SAFETY: see the implementation's note; only `n` values are written.
            unsafe { p.add(i).write(*lane) };
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..LANES {
            c[i] = mul_add(a[i], b[i], c[i]);
        }
        c
    }
    #[inline(always)]
    unsafe fn fnma(a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..LANES {
            c[i] = mul_add(-a[i], b[i], c[i]);
        }
        c
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn recip(a: Self::V) -> Self::V {
        zip(a, a, |a, _| 1.0 / a)
    }
    #[inline(always)]
    unsafe fn pow2(n: Self::V) -> Self::V {
        // 1.5 * 2^23 + n has n in its low bits: an integer without a conversion that saturates.
        zip(n, n, |n, _| {
            let low = (n + 12_582_912.0).to_bits().wrapping_sub(12_582_912.0f32.to_bits());
            f32::from_bits(low.wrapping_add(127) << 23)
        })
    }
    #[inline(always)]
    unsafe fn reduce_add(v: Self::V) -> f32 {
        let [a, b, c, d, e, f, g, h] = v;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    unsafe fn reduce_max(v: Self::V) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
