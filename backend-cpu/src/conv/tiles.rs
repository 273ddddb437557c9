//! The small linear maps of the two fast convolutions, 16 (or 8) channels at a time.
//!
//! **F(4x4, 3x3)** (Winograd 1980; Lavin and Gray 2016) at the points 0, ±1/√2, ±√2, ∞. These
//! points, and not the usual 0, ±1, ±2, ∞, because their transforms are the best conditioned: at
//! 512 input channels the largest error is a quarter of that of the usual points.
//!
//! **Doubled**: a nearest 2x upsampling followed by a 3x3 convolution. A tile of 4x4 outputs reads
//! 4x4 rows r0..r3 of the small image. With s = w0 + w1 + w2 its four outputs are, per axis,
//! `s r1 + w0 (r0 - r1)`, `s r1 + w2 (r2 - r1)`, `s r2 - w0 (r2 - r1)`, `s r2 + w2 (r3 - r2)`: six
//! products where twelve are written, with the three weights s, w0, w2. Sums and differences only,
//! so it is as exact as the plain convolution.

#![expect(
    clippy::needless_range_loop,
    reason = "the loops run over constant numbers of registers, which indices make plain"
)]

use crate::simd::Simd;

/// 1/√2 and √2.
const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

/// Where a tile is read and its transform is written.
pub(crate) struct TileIn {
    /// Top left value of the tile's first channel.
    pub src: *const f32,
    /// Floats from one row, and from one pixel, to the next.
    pub src_row: usize,
    pub src_pixel: usize,
    /// The first position's row, and the distance to the next position's.
    pub dst: *mut f32,
    pub dst_position: usize,
    /// Vectors (of the level's lanes) of channels; both sides have room for whole vectors.
    pub vectors: usize,
}

/// Where a tile's products are read and its outputs are written.
pub(crate) struct TileOut {
    /// The first position's products, and the distance to the next position's.
    pub src: *const f32,
    pub src_position: usize,
    /// Output at row 0, column 0 of the tile (perhaps outside of the image).
    pub dst: *mut f32,
    /// Floats from one output row, and from one pixel, to the next.
    pub dst_row: isize,
    pub dst_pixel: isize,
    /// The rows and columns of the tile that are inside the image.
    pub rows: [usize; 2],
    pub columns: [usize; 2],
    /// Channels to write.
    pub channels: usize,
    /// `channels` values, or null.
    pub bias: *const f32,
    /// Like `dst`, or null.
    pub residual: *const f32,
}

#[inline(always)]
unsafe fn f43_in<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: `S` is available by the caller's contract.
    unsafe {
        let m25 = S::splat(2.5);
        let even_a = S::fnma(S::splat(2.0), d[2], d[4]);
        let odd_a = S::fnma(S::splat(2.0), d[1], d[3]);
        let even_b = S::fnma(S::splat(0.5), d[2], d[4]);
        let odd_b = S::fnma(S::splat(0.5), d[1], d[3]);
        let (a, b) = (S::splat(A), S::splat(B));
        [
            S::add(S::fnma(m25, d[2], d[0]), d[4]),
            S::fma(a, odd_a, even_a),
            S::fnma(a, odd_a, even_a),
            S::fma(b, odd_b, even_b),
            S::fnma(b, odd_b, even_b),
            S::add(S::fnma(m25, d[3], d[1]), d[5]),
        ]
    }
}

#[inline(always)]
unsafe fn f43_out<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: `S` is available by the caller's contract.
    unsafe {
        let (sum_a, dif_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_b, dif_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], sum_a), sum_b),
            S::fma(S::splat(A), dif_a, S::mul(S::splat(B), dif_b)),
            S::fma(S::splat(0.5), sum_a, S::mul(S::splat(2.0), sum_b)),
            S::fma(S::splat(0.5 * A), dif_a, S::fma(S::splat(2.0 * B), dif_b, m[5])),
        ]
    }
}

#[inline(always)]
unsafe fn f43_weight<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: `S` is available by the caller's contract.
    unsafe {
        let even_a = S::fma(S::splat(0.5), g[2], g[0]);
        let even_b = S::fma(S::splat(2.0), g[2], g[0]);
        let odd_a = S::mul(S::splat(A), g[1]);
        let odd_b = S::mul(S::splat(B), g[1]);
        let (ca, cb) = (S::splat(-2.0 / 3.0), S::splat(1.0 / 6.0));
        [
            g[0],
            S::mul(ca, S::add(even_a, odd_a)),
            S::mul(ca, S::sub(even_a, odd_a)),
            S::mul(cb, S::add(even_b, odd_b)),
            S::mul(cb, S::sub(even_b, odd_b)),
            g[2],
        ]
    }
}

/// F(4x4, 3x3): 6x6 values to 36 positions.
///
/// # Safety
///
/// `S` is available, and `t` is valid as its fields describe.
#[inline(always)]
pub(crate) unsafe fn f43_input<S: Simd>(t: &TileIn) {
    // SAFETY: offsets stay within the tile and the positions by the contract.
    unsafe {
        for v in 0..t.vectors {
            let src = t.src.add(v * S::LANES);
            let dst = t.dst.add(v * S::LANES);
            let mut half = [[S::splat(0.0); 6]; 6];
            for x in 0..6 {
                let mut d = [S::splat(0.0); 6];
                for y in 0..6 {
                    d[y] = S::load(src.add(y * t.src_row + x * t.src_pixel));
                }
                let r = f43_in::<S>(d);
                for y in 0..6 {
                    half[y][x] = r[y];
                }
            }
            for y in 0..6 {
                let r = f43_in::<S>(half[y]);
                for x in 0..6 {
                    S::store(dst.add((y * 6 + x) * t.dst_position), r[x]);
                }
            }
        }
    }
}

/// F(4x4, 3x3): 36 products to 4x4 outputs.
///
/// # Safety
///
/// `S` is available, and `t` is valid as its fields describe.
#[inline(always)]
pub(crate) unsafe fn f43_output<S: Simd>(t: &TileOut) {
    // SAFETY: offsets stay within the positions by the contract.
    unsafe {
        let mut done = 0;
        while done < t.channels {
            let src = t.src.add(done);
            let mut half = [[S::splat(0.0); 6]; 4];
            for x in 0..6 {
                let mut m = [S::splat(0.0); 6];
                for y in 0..6 {
                    m[y] = S::load(src.add((y * 6 + x) * t.src_position));
                }
                let r = f43_out::<S>(m);
                for y in 0..4 {
                    half[y][x] = r[y];
                }
            }
            let mut out = [[S::splat(0.0); 4]; 4];
            for y in 0..4 {
                out[y] = f43_out::<S>(half[y]);
            }
            finish::<S>(t, done, &out);
            done += S::LANES;
        }
    }
}

/// Bias, residual, and the store of what is inside the image.
#[inline(always)]
unsafe fn finish<S: Simd>(t: &TileOut, done: usize, out: &[[S::V; 4]; 4]) {
    // SAFETY: only rows and columns inside the image are touched, only `channels` channels.
    unsafe {
        let n = (t.channels - done).min(S::LANES);
        let whole = n == S::LANES;
        let bias =
            if t.bias.is_null() { S::splat(0.0) } else { S::load_first(t.bias.add(done), n) };
        for y in 0..4 {
            if y < t.rows[0] || y >= t.rows[1] {
                continue;
            }
            for x in 0..4 {
                if x < t.columns[0] || x >= t.columns[1] {
                    continue;
                }
                let offset = y as isize * t.dst_row + x as isize * t.dst_pixel + done as isize;
                let mut v = S::add(out[y][x], bias);
                let dst = t.dst.wrapping_offset(offset);
                if !t.residual.is_null() {
                    let r = t.residual.wrapping_offset(offset);
                    v = S::add(v, if whole { S::load(r) } else { S::load_first(r, n) });
                }
                if whole {
                    S::store(dst, v);
                } else {
                    S::store_first(dst, v, n);
                }
            }
        }
    }
}

/// F(4x4, 3x3): nine weights to 36, `vectors` vectors of them. `src` holds the nine taps, `dst` takes
/// the 36 positions; `strides` are the floats from one to the next on each side.
///
/// # Safety
///
/// `S` is available; nine and 36 stretches of `vectors` vectors are valid.
#[inline(always)]
pub(crate) unsafe fn f43_weights<S: Simd>(
    src: *const f32,
    dst: *mut f32,
    strides: [usize; 2],
    vectors: usize,
) {
    // SAFETY: offsets stay within the stretches by the contract.
    unsafe {
        for v in 0..vectors {
            let at = v * S::LANES;
            let mut half = [[S::splat(0.0); 3]; 6];
            for x in 0..3 {
                let mut g = [S::splat(0.0); 3];
                for y in 0..3 {
                    g[y] = S::load(src.add((y * 3 + x) * strides[0] + at));
                }
                let r = f43_weight::<S>(g);
                for y in 0..6 {
                    half[y][x] = r[y];
                }
            }
            for y in 0..6 {
                let r = f43_weight::<S>(half[y]);
                for x in 0..6 {
                    S::store(dst.add((y * 6 + x) * strides[1] + at), r[x]);
                }
            }
        }
    }
}

/// Positions of a doubled tile's input: r0 - r1, r1, r2 - r1, r2, r3 - r2 on each axis.
pub(crate) const DOUBLED_INPUTS: usize = 5;

/// The inputs that each of the three weights s, w0, w2 of an axis is multiplied with.
pub(crate) const DOUBLED_PAIRS: [[usize; 2]; 3] = [[1, 3], [0, 2], [2, 4]];

#[inline(always)]
unsafe fn doubled_in<S: Simd>(r: [S::V; 4]) -> [S::V; 5] {
    // SAFETY: `S` is available by the caller's contract.
    unsafe { [S::sub(r[0], r[1]), r[1], S::sub(r[2], r[1]), r[2], S::sub(r[3], r[2])] }
}

#[inline(always)]
unsafe fn doubled_out<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: `S` is available by the caller's contract.
    unsafe { [S::add(m[0], m[2]), S::add(m[0], m[4]), S::sub(m[1], m[3]), S::add(m[1], m[5])] }
}

/// Doubled: 4x4 values of the small image to 25 positions.
///
/// # Safety
///
/// `S` is available, and `t` is valid as its fields describe.
#[inline(always)]
pub(crate) unsafe fn doubled_input<S: Simd>(t: &TileIn) {
    // SAFETY: offsets stay within the tile and the positions by the contract.
    unsafe {
        for v in 0..t.vectors {
            let src = t.src.add(v * S::LANES);
            let dst = t.dst.add(v * S::LANES);
            let mut half = [[S::splat(0.0); 4]; 5];
            for x in 0..4 {
                let mut d = [S::splat(0.0); 4];
                for y in 0..4 {
                    d[y] = S::load(src.add(y * t.src_row + x * t.src_pixel));
                }
                let r = doubled_in::<S>(d);
                for y in 0..5 {
                    half[y][x] = r[y];
                }
            }
            for y in 0..5 {
                let r = doubled_in::<S>(half[y]);
                for x in 0..5 {
                    S::store(dst.add((y * 5 + x) * t.dst_position), r[x]);
                }
            }
        }
    }
}

/// Doubled: 36 products to 4x4 outputs; position `2 * weight + pair` on each axis.
///
/// # Safety
///
/// `S` is available, and `t` is valid as its fields describe.
#[inline(always)]
pub(crate) unsafe fn doubled_output<S: Simd>(t: &TileOut) {
    // SAFETY: offsets stay within the positions by the contract.
    unsafe {
        let mut done = 0;
        while done < t.channels {
            let src = t.src.add(done);
            let mut half = [[S::splat(0.0); 6]; 4];
            for x in 0..6 {
                let mut m = [S::splat(0.0); 6];
                for y in 0..6 {
                    m[y] = S::load(src.add((y * 6 + x) * t.src_position));
                }
                let r = doubled_out::<S>(m);
                for y in 0..4 {
                    half[y][x] = r[y];
                }
            }
            let mut out = [[S::splat(0.0); 4]; 4];
            for y in 0..4 {
                out[y] = doubled_out::<S>(half[y]);
            }
            finish::<S>(t, done, &out);
            done += S::LANES;
        }
    }
}
