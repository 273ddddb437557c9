//! Copies of pixels and frames: nearest upsampling, and pixels and frames that come out of channels.

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::buffer::write_copy;
use crate::elementwise::TASK;
use crate::error::{KernelError, check};
use crate::pool::{Shared, for_each};

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

/// Blocks of `space` rows and columns of pixels that lie in the channels of those of `input`
/// (`[h][w][c]`). `channels` gives, for a row and a column of a block, the channels of the input's pixel
/// that are the values of the block's.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape.
pub fn shuffle(
    pool: &ThreadPool,
    input: &[f32],
    [h, w, c]: [usize; 3],
    space: usize,
    channels: impl Fn(usize, usize) -> Vec<usize>,
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    check("input of a shuffle", h * w * c, input.len())?;
    let orders: Vec<Vec<usize>> =
        (0..space * space).map(|at| channels(at / space, at % space)).collect();
    let of_pixel = orders.first().map_or(0, Vec::len);
    check("shuffled pixels", h * w * space * space * of_pixel, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let row = w * space * of_pixel;
    let out = Shared(out.as_mut_ptr());
    for_each(pool, h * space, |y, _| {
        let from = &input[y / space * w * c..][..w * c];
        // SAFETY: row `y` of the output, which no other task writes.
        let to = unsafe { std::slice::from_raw_parts_mut(out.get().add(y * row), row) };
        let of_row = &orders[y % space * space..][..space];
        for (block, pixel) in to.chunks_exact_mut(space * of_pixel).zip(from.chunks_exact(c)) {
            for (values, order) in block.chunks_exact_mut(of_pixel).zip(of_row) {
                for (value, &channel) in values.iter_mut().zip(order) {
                    value.write(pixel[channel]);
                }
            }
        }
    });
    Ok(())
}

/// Frames one after the other (each `[pixels][channels]`): those of `first`, and then of each frame of
/// `rest` (`[pixels][factor * channels]`) its first channels as one frame, the next channels as the
/// next, and so on.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape.
pub fn join_frames(
    pool: &ThreadPool,
    first: &[&[f32]],
    rest: &[&[f32]],
    factor: usize,
    [pixels, channels]: [usize; 2],
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    let len = pixels * channels;
    for frame in first {
        check("frame to be joined", len, frame.len())?;
    }
    for frame in rest {
        check("frame to be joined and split", factor * len, frame.len())?;
    }
    check("joined frames", (first.len() + factor * rest.len()) * len, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let rows = (TASK / channels).max(1);
    let tasks = pixels.div_ceil(rows);
    let frames = out.len() / len;
    let out = Shared(out.as_mut_ptr());
    for_each(pool, frames * tasks, |i, _| {
        let (frame, pixel) = (i / tasks, i % tasks * rows);
        let count = rows.min(pixels - pixel);
        // SAFETY: `count` pixels of this frame, which no other task writes.
        let to = unsafe {
            let at = out.get().add(frame * len + pixel * channels);
            std::slice::from_raw_parts_mut(at, count * channels)
        };
        let Some(split) = frame.checked_sub(first.len()) else {
            return write_copy(to, &first[frame][pixel * channels..][..count * channels]);
        };
        let row = factor * channels;
        let from = &rest[split / factor][pixel * row..][..count * row];
        for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(row)) {
            write_copy(to, &from[split % factor * channels..][..channels]);
        }
    });
    Ok(())
}
