//! Norms of positions.

use super::Simd;

/// Pixels beside each other, and where their factors go.
pub(crate) struct Positions {
    pub src: *const f32,
    pub pixels: usize,
    pub channels: usize,
    /// Added to the sum of the squares.
    pub added: f32,
    /// Norms below this count as this.
    pub floor: f32,
    pub out: *mut f32,
}

/// `sqrt(channels) / max(sqrt(squares + added), floor)` of each pixel.
///
/// # Safety
///
/// `S` is available; `src` and `out` are valid for the pixels.
#[inline(always)]
pub(crate) unsafe fn positions<S: Simd>(p: &Positions) {
    let root = (p.channels as f32).sqrt();
    // SAFETY: all accesses are below `channels` of a pixel.
    unsafe {
        for pixel in 0..p.pixels {
            let src = p.src.add(pixel * p.channels);
            // Two chains, so that one addition does not wait for the other.
            let (mut even, mut odd) = (S::splat(0.0), S::splat(0.0));
            let mut c = 0;
            while c + 2 * S::LANES <= p.channels {
                let (a, b) = (S::load(src.add(c)), S::load(src.add(c + S::LANES)));
                even = S::fma(a, a, even);
                odd = S::fma(b, b, odd);
                c += 2 * S::LANES;
            }
            while c < p.channels {
                let x = S::load_first(src.add(c), (p.channels - c).min(S::LANES));
                even = S::fma(x, x, even);
                c += S::LANES;
            }
            let norm = (S::reduce_add(S::add(even, odd)) + p.added).sqrt();
            // A NaN is passed on, unlike by `max`.
            let norm = if norm < p.floor { p.floor } else { norm };
            p.out.add(pixel).write(root / norm);
        }
    }
}
