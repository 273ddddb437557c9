//! What the kernels' tests share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use halovae_cpu::kernels::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) mod conv;
pub(crate) mod reference;

pub(crate) fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Values that look like activations: mean 0, a few units wide.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            let mut sum = 0.0;
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sum += (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            }
            sum * 1.7
        })
        .collect()
}

/// The contents of a buffer that a kernel has filled; kernels write all of their output.
pub(crate) fn written(buffer: &Buffer) -> &[f32] {
    // SAFETY: only called after a kernel has returned `Ok` for this buffer.
    unsafe { buffer.assume_init() }
}

pub(crate) fn max_error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).fold(0.0, |worst, (g, w)| {
        let error = (f64::from(*g) - w).abs();
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    })
}

pub(crate) fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}
