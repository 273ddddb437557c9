//! Operations on each value by itself.

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::error::{KernelError, check};
use crate::pool::{Shared, for_each};
use crate::prologue::{Activate, Prologue};
use crate::simd::Level;

/// Floats of a task: large enough to be worth waking a thread for, small enough to balance.
pub(crate) const TASK: usize = 1 << 15;

/// Applies `prologue` to every value of `input` (`[n][pixels][channels]`, `n` frames): a
/// normalisation once its statistics are known, an activation, or both.
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
    prologue.check([n, pixels, channels])?;
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
                map: prologue.at([item, n], [0, channels]).at_pixel(first),
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

/// Brings every value to the nearest one from `low` to `high`; NaN stays NaN.
///
/// # Errors
///
/// [`KernelError::Shape`] when there is nothing from `low` to `high`, [`KernelError::Level`] when the
/// machine lacks `level`.
pub fn clamp(
    level: Level,
    pool: &ThreadPool,
    values: &mut [f32],
    [low, high]: [f32; 2],
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    if low.is_nan() || high.is_nan() || low > high {
        return Err(KernelError::Shape {
            reason: "a clamp's lower bound must not exceed the upper",
        });
    }
    let len = values.len();
    let values = Shared(values.as_mut_ptr());
    for_each(pool, len.div_ceil(TASK), |i, _| {
        let at = i * TASK;
        // SAFETY: these values are within the slice, and no other task touches them.
        unsafe { (table.clamp)(values.get().add(at), TASK.min(len - at), [low, high]) };
    });
    Ok(())
}
