//! A norm over the channels of each position (root mean square), apart from its application.
//!
//! The factors of the positions are computed here; [`Prologue::Positions`] applies them.
//!
//! [`Prologue::Positions`]: crate::kernels::Prologue::Positions

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::elementwise::TASK;
use crate::error::{KernelError, check};
use crate::pool::{Shared, for_each};
use crate::simd::Level;
use crate::simd::positions::Positions;

/// `sqrt(channels) / max(norm, floor)` for each pixel of each frame (`[pixels][channels]`), where
/// `norm` is the root of the sum of the squares of the pixel's channels. `out` has one value for each
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
    floor: f32,
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
                floor,
                out: out.get().add(first),
            });
        }
    });
    Ok(())
}
