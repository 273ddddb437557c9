//! Statistics of a group norm, apart from its application.
//!
//! The image is cut into chunks of a size that depends on the channels alone. A chunk's mean and
//! sum of squared deviations take two passes while it is in the cache; chunks are merged in order,
//! in double precision, by the formula of Chan, Golub and LeVeque (1979). So nothing cancels, and
//! neither the number of threads nor their timing shows in the result.

use rayon::ThreadPool;

use crate::error::{KernelError, check};
use crate::pool::{Layout, Shared, Workspace, for_each};
use crate::simd::Level;
use crate::simd::sums::Chunk;

/// Count, mean and sum of squared deviations from the mean of some values; two of them merge.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// Number of values.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of their squared deviations from the mean.
    pub m2: f64,
}

impl Moments {
    /// The moments of both sets of values together.
    pub fn merge(self, other: Self) -> Self {
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            m2: self.m2 + other.m2 + delta * delta * self.count * other.count / count,
        }
    }

    /// The variance over the count (biased).
    pub fn variance(self) -> f64 {
        if self.count == 0.0 { 0.0 } else { self.m2 / self.count }
    }
}

/// Floats of a chunk: 64 KiB, so that the second pass finds it in the cache.
const CHUNK: usize = 1 << 14;

fn chunk_pixels(channels: usize) -> usize {
    (CHUNK / channels).max(1)
}

fn layout(channels: usize) -> Layout {
    Layout { shared: 0, thread: 3 * channels.next_multiple_of(16) }
}

/// Scratch memory of [`group_moments`], in bytes.
pub fn workspace_bytes(channels: usize, threads: usize) -> usize {
    layout(channels).bytes(threads)
}

/// Moments of each batch item and group (`[n][groups]`) of `input` (`[n][pixels][channels]`).
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape, [`KernelError::Shape`] when the groups
/// do not divide the channels, [`KernelError::OutOfMemory`], [`KernelError::Level`].
pub fn group_moments(
    level: Level,
    pool: &ThreadPool,
    workspace: &mut Workspace,
    input: &[f32],
    [n, pixels, channels]: [usize; 3],
    groups: usize,
) -> Result<Vec<Moments>, KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    check("group norm input", n * pixels * channels, input.len())?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(KernelError::Shape {
            reason: "a group norm's number of groups must divide its channels",
        });
    }
    if input.is_empty() {
        return Ok(vec![Moments::default(); n * groups]);
    }
    let scratch = workspace.reserve(layout(channels), pool.current_num_threads())?;
    let step = chunk_pixels(channels);
    let chunks = pixels.div_ceil(step);
    let of_group = channels / groups;
    let mut parts = Vec::new();
    let len = n * chunks * groups;
    parts
        .try_reserve_exact(len)
        .map_err(|_| KernelError::OutOfMemory { bytes: len * size_of::<Moments>() })?;
    parts.resize(len, Moments::default());
    let out = Shared(parts.as_mut_ptr());
    for_each(pool, n * chunks, |i, thread| {
        let (item, first) = (i / chunks, i % chunks * step);
        let sums = scratch.thread(thread);
        let squares = sums.wrapping_add(channels.next_multiple_of(16));
        let center = squares.wrapping_add(channels.next_multiple_of(16));
        let pixels = step.min(pixels - first);
        let chunk = Chunk {
            src: &raw const input[item * (input.len() / n) + first * channels],
            pixels,
            channels,
            center,
            sums,
            squares,
        };
        // SAFETY: the three arrays of `channels` are this thread's scratch; the chunk lies within
        // the input; `groups` parts belong to this chunk alone.
        unsafe {
            (table.chunk_sums)(&chunk);
            let count = (pixels * of_group) as f64;
            for group in 0..groups {
                let sum: f64 =
                    (0..of_group).map(|c| f64::from(*sums.add(group * of_group + c))).sum();
                let mean = (sum / count) as f32;
                for c in 0..of_group {
                    *center.add(group * of_group + c) = mean;
                }
            }
            (table.chunk_squares)(&chunk);
            for group in 0..groups {
                let at = group * of_group;
                let (mut sum, mut square) = (0.0, 0.0);
                for c in at..at + of_group {
                    sum += f64::from(*sums.add(c));
                    square += f64::from(*squares.add(c));
                }
                // The rounded mean is a little off; the deviations' own mean corrects it.
                let off = sum / count;
                *out.get().add(i * groups + group) = Moments {
                    count,
                    mean: f64::from(*center.add(at)) + off,
                    m2: (square - sum * off).max(0.0),
                };
            }
        }
    });
    Ok((0..n * groups)
        .map(|i| {
            let (item, group) = (i / groups, i % groups);
            (0..chunks).fold(Moments::default(), |all, chunk| {
                all.merge(parts[(item * chunks + chunk) * groups + group])
            })
        })
        .collect())
}

/// Factors and summands (`[n][channels]` each) that apply a group norm: `x * scale + shift` equals
/// `(x - mean) / sqrt(variance + eps) * gamma + beta`.
///
/// # Errors
///
/// [`KernelError::Size`] when the slices do not fit each other.
pub fn affine(
    moments: &[Moments],
    groups: usize,
    gamma: &[f32],
    beta: &[f32],
    eps: f64,
) -> Result<(Vec<f32>, Vec<f32>), KernelError> {
    check("group norm beta", gamma.len(), beta.len())?;
    if groups == 0 || !gamma.len().is_multiple_of(groups) || !moments.len().is_multiple_of(groups) {
        return Err(KernelError::Shape {
            reason: "a group norm's number of groups must divide its channels and its moments",
        });
    }
    let of_group = gamma.len() / groups;
    let (mut scale, mut shift) = (Vec::new(), Vec::new());
    for item in moments.chunks_exact(groups) {
        for (c, (gamma, beta)) in gamma.iter().zip(beta).enumerate() {
            let m = item[c / of_group];
            let factor = f64::from(*gamma) / (m.variance() + eps).sqrt();
            scale.push(factor as f32);
            shift.push((f64::from(*beta) - m.mean * factor) as f32);
        }
    }
    Ok((scale, shift))
}
