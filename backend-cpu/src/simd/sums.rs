//! Sums of a chunk of pixels.

use super::Simd;

/// A chunk of pixels.
pub(crate) struct Chunk {
    pub src: *const f32,
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// What is subtracted from each value, by channel (second pass).
    pub center: *const f32,
    /// Sums by channel.
    pub sums: *mut f32,
    /// Sums of squares by channel (second pass).
    pub squares: *mut f32,
}

/// Sums by channel.
///
/// # Safety
///
/// `S` is available; `src` and `sums` are valid as described.
#[inline(always)]
pub(crate) unsafe fn chunk_sums<S: Simd>(c: &Chunk) {
    // SAFETY: all accesses are below `channels` of a pixel.
    unsafe {
        c.sums.write_bytes(0, c.channels);
        for pixel in 0..c.pixels {
            let src = c.src.add(pixel * c.channels);
            let mut i = 0;
            while i + S::LANES <= c.channels {
                let at = c.sums.add(i);
                S::store(at, S::add(S::load(at), S::load(src.add(i))));
                i += S::LANES;
            }
            if i < c.channels {
                let n = c.channels - i;
                let at = c.sums.add(i);
                S::store_first(at, S::add(S::load_first(at, n), S::load_first(src.add(i), n)), n);
            }
        }
    }
}

/// Sums of deviations from `center`, and of their squares, by channel.
///
/// # Safety
///
/// `S` is available; the pointers are valid as described.
#[inline(always)]
pub(crate) unsafe fn chunk_squares<S: Simd>(c: &Chunk) {
    // SAFETY: all accesses are below `channels` of a pixel.
    unsafe {
        c.sums.write_bytes(0, c.channels);
        c.squares.write_bytes(0, c.channels);
        for pixel in 0..c.pixels {
            let src = c.src.add(pixel * c.channels);
            let mut i = 0;
            while i + S::LANES <= c.channels {
                let (sum, square) = (c.sums.add(i), c.squares.add(i));
                let d = S::sub(S::load(src.add(i)), S::load(c.center.add(i)));
                S::store(sum, S::add(S::load(sum), d));
                S::store(square, S::fma(d, d, S::load(square)));
                i += S::LANES;
            }
            if i < c.channels {
                let n = c.channels - i;
                let (sum, square) = (c.sums.add(i), c.squares.add(i));
                let d = S::sub(S::load_first(src.add(i), n), S::load_first(c.center.add(i), n));
                S::store_first(sum, S::add(S::load_first(sum, n), d), n);
                S::store_first(square, S::fma(d, d, S::load_first(square, n)), n);
            }
        }
    }
}
