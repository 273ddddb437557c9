//! Norms over the channels of each position: by the root of their mean square, apart from its
//! application, and by their mean and variance.
//!
//! The former's factors of the positions are computed here; [`Prologue::Positions`] applies them.
//!
//! [`Prologue::Positions`]: crate::kernels::Prologue::Positions

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::elementwise::TASK;
use crate::error::{KernelError, check};
use crate::pool::{Shared, for_each};
use crate::simd::Level;
use crate::simd::positions::Positions;

/// By what the channels of a pixel are divided.
#[derive(Clone, Copy, Debug)]
pub struct Divisor {
    /// Added to the mean of their squares under the root.
    pub eps: f32,
    /// The least root of the sum of their squares, once that is added.
    pub floor: f32,
}

/// `sqrt(channels) / max(norm, floor)` for each pixel of each frame (`[pixels][channels]`), where
/// `norm` is the root of `channels * eps` and the sum of the squares of the pixel's channels. `out` has one value for each
/// pixel, the frames in order.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape, [`KernelError::Level`] when the machine
/// lacks `level`.
pub fn position_factors(
    level: Level,
    pool: &ThreadPool,
    frames: &[&[f32]],
    channels: usize,
    Divisor { eps, floor }: Divisor,
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    if channels == 0 {
        return Err(KernelError::Shape { reason: "a channel norm needs at least one channel" });
    }
    let mut pixels = 0;
    let rows = (TASK / channels).max(1);
    let mut tasks = Vec::new();
    for frame in frames {
        check("channel norm input", frame.len() / channels * channels, frame.len())?;
        let parts = frame.chunks(rows * channels).enumerate();
        tasks.extend(parts.map(|(i, part)| (part, pixels + i * rows)));
        pixels += frame.len() / channels;
    }
    check("factors of a channel norm", pixels, out.len())?;
    let out = Shared(out.as_mut_ptr().cast::<f32>());
    for_each(pool, tasks.len(), |i, _| {
        let (part, first) = tasks[i];
        // SAFETY: the factors of these pixels are within `out`, and no other task writes them.
        unsafe {
            (table.positions)(&Positions {
                src: part.as_ptr(),
                pixels: part.len() / channels,
                channels,
                added: channels as f32 * eps,
                floor,
                out: out.get().add(first),
            });
        }
    });
    Ok(())
}

/// `(x - mean) / sqrt(variance + eps) * gamma + beta` of each pixel (`[pixels][channels]`), where mean
/// and biased variance are those of its channels.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape.
pub fn layer_norm(
    pool: &ThreadPool,
    input: &[f32],
    [gamma, beta]: [&[f32]; 2],
    eps: f32,
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    let channels = gamma.len();
    if channels == 0 {
        return Err(KernelError::Shape { reason: "a layer norm needs at least one channel" });
    }
    check("layer norm summands", channels, beta.len())?;
    check("layer norm input", input.len() / channels * channels, input.len())?;
    check("layer norm output", input.len(), out.len())?;
    let len = (TASK / channels).max(1) * channels;
    let to = Shared(out.as_mut_ptr());
    for_each(pool, input.len().div_ceil(len), |i, _| {
        let from = &input[i * len..][..len.min(input.len() - i * len)];
        // SAFETY: these pixels of the output, which no other task writes.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(i * len), from.len()) };
        for (pixel, values) in from.chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
            let mean = sum(pixel, |value| value) / channels as f32;
            let variance = sum(pixel, |value| (value - mean) * (value - mean)) / channels as f32;
            let factor = 1.0 / (variance + eps).sqrt();
            let parameters = gamma.iter().zip(beta);
            for ((value, x), (gamma, beta)) in values.iter_mut().zip(pixel).zip(parameters) {
                value.write((x - mean) * factor * gamma + beta);
            }
        }
    });
    Ok(())
}

/// The sum of `of` each value, in as many chains as a vector has lanes.
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let parts = values.chunks_exact(sums.len());
    let rest: f32 = parts.remainder().iter().map(|&value| of(value)).sum();
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, &value)| *sum += of(value));
    }
    sums.into_iter().sum::<f32>() + rest
}
