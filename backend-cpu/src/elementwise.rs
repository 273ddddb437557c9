//! Operations on each value by itself, and nearest upsampling.

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::buffer::write_copy;
use crate::error::{KernelError, check};
use crate::exp;
use crate::pool::{Shared, for_each};
use crate::simd::{Level, Simd};

/// What is done to each input value before the operation proper.
#[derive(Clone, Copy, Debug)]
pub enum Prologue<'a> {
    /// Nothing.
    None,
    /// `silu(x)`.
    Silu,
    /// `x * scale + shift`, one pair for each batch item and channel (`[n][c]`).
    Affine {
        /// Factors, `[n][c]`.
        scale: &'a [f32],
        /// Summands, `[n][c]`.
        shift: &'a [f32],
    },
    /// `silu(x * scale + shift)`, one pair for each batch item and channel (`[n][c]`).
    AffineSilu {
        /// Factors, `[n][c]`.
        scale: &'a [f32],
        /// Summands, `[n][c]`.
        shift: &'a [f32],
    },
}

impl<'a> Prologue<'a> {
    pub(crate) fn check(&self, n: usize, c: usize) -> Result<(), KernelError> {
        if let Self::Affine { scale, shift } | Self::AffineSilu { scale, shift } = self {
            check("norm factors", n * c, scale.len())?;
            check("norm summands", n * c, shift.len())?;
        }
        Ok(())
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Factors and summands of batch item `n` from channel `c0` of `c`, and whether SiLU follows.
    pub(crate) fn at(&self, n: usize, c: usize, c0: usize) -> Pointwise {
        match *self {
            Self::None => {
                Pointwise { scale: std::ptr::null(), shift: std::ptr::null(), silu: false }
            }
            Self::Silu => {
                Pointwise { scale: std::ptr::null(), shift: std::ptr::null(), silu: true }
            }
            Self::Affine { scale, shift } => {
                Pointwise { scale: &scale[n * c + c0], shift: &shift[n * c + c0], silu: false }
            }
            Self::AffineSilu { scale, shift } => {
                Pointwise { scale: &scale[n * c + c0], shift: &shift[n * c + c0], silu: true }
            }
        }
    }
}

/// A prologue as the kernels take it.
#[derive(Clone, Copy)]
pub(crate) struct Pointwise {
    /// Factors by channel, or null for none.
    pub scale: *const f32,
    /// Summands by channel; null together with `scale`.
    pub shift: *const f32,
    pub silu: bool,
}

/// A row of pixels to map.
pub(crate) struct Activate {
    pub src: *const f32,
    pub src_pixel: usize,
    pub dst: *mut f32,
    pub dst_pixel: usize,
    pub pixels: usize,
    pub channels: usize,
    pub map: Pointwise,
    /// Whether `dst` has room for whole vectors after each pixel's channels (they are filled up
    /// with zeros or the map of zeros).
    pub whole: bool,
}

/// Runs `a`.
///
/// # Safety
///
/// `S` is available, and the pointers are valid for the pixels and channels that `a` names.
#[inline(always)]
pub(crate) unsafe fn activate<S: Simd>(a: &Activate) {
    // SAFETY: the contract is passed on.
    unsafe {
        match (a.map.scale.is_null(), a.map.silu) {
            (true, false) => activate_as::<S, false, false>(a),
            (true, true) => activate_as::<S, false, true>(a),
            (false, false) => activate_as::<S, true, false>(a),
            (false, true) => activate_as::<S, true, true>(a),
        }
    }
}

#[inline(always)]
unsafe fn activate_as<S: Simd, const AFFINE: bool, const SILU: bool>(a: &Activate) {
    // SAFETY: the accesses stay within `channels` of each pixel, rounded up to whole vectors on the
    // side of `dst` where `whole` allows it.
    unsafe {
        for pixel in 0..a.pixels {
            let src = a.src.add(pixel * a.src_pixel);
            let dst = a.dst.add(pixel * a.dst_pixel);
            let mut c = 0;
            while c + S::LANES <= a.channels {
                let mut x = S::load(src.add(c));
                if AFFINE {
                    x = S::fma(x, S::load(a.map.scale.add(c)), S::load(a.map.shift.add(c)));
                }
                if SILU {
                    x = exp::silu::<S>(x);
                }
                S::store(dst.add(c), x);
                c += S::LANES;
            }
            if c < a.channels {
                let n = a.channels - c;
                let mut x = S::load_first(src.add(c), n);
                if AFFINE {
                    let scale = S::load_first(a.map.scale.add(c), n);
                    x = S::fma(x, scale, S::load_first(a.map.shift.add(c), n));
                }
                if SILU {
                    x = exp::silu::<S>(x);
                }
                if a.whole {
                    S::store(dst.add(c), x);
                } else {
                    S::store_first(dst.add(c), x, n);
                }
            }
        }
    }
}

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

/// Floats of a task: large enough to be worth waking a thread for, small enough to balance.
const TASK: usize = 1 << 15;

/// Applies `prologue` to every value of `input` (`[n][pixels][channels]`): a normalisation once its
/// statistics are known, an activation, or both.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape, [`KernelError::Level`] when the
/// machine lacks `level`.
pub fn apply(
    level: Level,
    pool: &ThreadPool,
    input: &[f32],
    [n, pixels, channels]: [usize; 3],
    prologue: Prologue,
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    check("input", n * pixels * channels, input.len())?;
    check("output", input.len(), out.len())?;
    let from = Shared(input.as_ptr().cast_mut());
    apply_to(level, pool, from, [n, pixels, channels], prologue, Shared(out.as_mut_ptr().cast()))
}

/// [`apply`] in place.
///
/// # Errors
///
/// As [`apply`].
pub fn apply_in_place(
    level: Level,
    pool: &ThreadPool,
    values: &mut [f32],
    [n, pixels, channels]: [usize; 3],
    prologue: Prologue,
) -> Result<(), KernelError> {
    check("input", n * pixels * channels, values.len())?;
    let values = Shared(values.as_mut_ptr());
    apply_to(level, pool, values, [n, pixels, channels], prologue, values)
}

fn apply_to(
    level: Level,
    pool: &ThreadPool,
    input: Shared<f32>,
    [n, pixels, channels]: [usize; 3],
    prologue: Prologue,
    out: Shared<f32>,
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    prologue.check(n, channels)?;
    if n * pixels * channels == 0 {
        return Ok(());
    }
    let rows = (TASK / channels).max(1);
    let tasks = pixels.div_ceil(rows);
    for_each(pool, n * tasks, |i, _| {
        let (item, first) = (i / tasks, i % tasks * rows);
        let offset = (item * pixels + first) * channels;
        // SAFETY: `offset` and the pixels after it are within both slices, which are the same or
        // apart, and no other task touches them.
        unsafe {
            (table.activate)(&Activate {
                src: input.get().add(offset),
                src_pixel: channels,
                dst: out.get().add(offset),
                dst_pixel: channels,
                pixels: rows.min(pixels - first),
                channels,
                map: prologue.at(item, channels, 0),
                whole: false,
            });
        }
    });
    Ok(())
}

/// `out = a + b`.
///
/// # Errors
///
/// [`KernelError::Size`] when the lengths differ, [`KernelError::Level`] when the machine lacks
/// `level`.
pub fn sum(
    level: Level,
    pool: &ThreadPool,
    a: &[f32],
    b: &[f32],
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    check("second summand", a.len(), b.len())?;
    check("output", a.len(), out.len())?;
    let out = Shared(out.as_mut_ptr().cast::<f32>());
    for_each(pool, a.len().div_ceil(TASK), |i, _| {
        let at = i * TASK;
        let len = TASK.min(a.len() - at);
        // SAFETY: `at + len` is within all three slices, and no other task writes there.
        unsafe { (table.add)(a.as_ptr().add(at), b.as_ptr().add(at), out.get().add(at), len) };
    });
    Ok(())
}

/// `a += b`.
///
/// # Errors
///
/// [`KernelError::Size`] when the lengths differ, [`KernelError::Level`] when the machine lacks
/// `level`.
pub fn add_assign(
    level: Level,
    pool: &ThreadPool,
    a: &mut [f32],
    b: &[f32],
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    check("second summand", a.len(), b.len())?;
    let len = a.len();
    let a = Shared(a.as_mut_ptr());
    for_each(pool, len.div_ceil(TASK), |i, _| {
        let at = i * TASK;
        let n = TASK.min(len - at);
        // SAFETY: `at + n` is within both slices, and no other task touches that part of `a`.
        unsafe { (table.add)(a.get().add(at), b.as_ptr().add(at), a.get().add(at), n) };
    });
    Ok(())
}

/// Nearest upsampling of `input` (`[n][h][w][c]`) by whole factors `[fh, fw]`.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape.
pub fn upsample(
    pool: &ThreadPool,
    input: &[f32],
    [n, h, w, c]: [usize; 4],
    [fh, fw]: [usize; 2],
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    check("input", n * h * w * c, input.len())?;
    check("output", input.len() * fh * fw, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let row = w * fw * c;
    let out = Shared(out.as_mut_ptr());
    for_each(pool, n * h, |i, _| {
        let src = &input[i * w * c..][..w * c];
        // SAFETY: the `fh` output rows of input row `i`, which no other task writes.
        let rows = unsafe { std::slice::from_raw_parts_mut(out.get().add(i * fh * row), fh * row) };
        let (first, rest) = rows.split_at_mut(row);
        for (pixels, value) in first.chunks_exact_mut(fw * c).zip(src.chunks_exact(c)) {
            for pixel in pixels.chunks_exact_mut(c) {
                write_copy(pixel, value);
            }
        }
        for other in rest.chunks_exact_mut(row) {
            other.copy_from_slice(first);
        }
    });
    Ok(())
}
