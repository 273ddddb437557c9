//! The inner product that everything is made of: rows of stretches that lie anywhere in memory, times
//! one packed panel.

#![expect(
    clippy::needless_range_loop,
    reason = "the loops run over constant numbers of registers, which indices make plain"
)]

use crate::simd::Simd;

/// A stretch of each left row, and the rows of the panel that it is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The stretch of a row whose offset is 0.
    pub a: *const f32,
    /// The first of the panel's rows.
    pub b: *const f32,
}

/// One panel's product: `c[row] = sum over runs and k of run.a[row][k] * run.b[k]`.
///
/// Each sum is one chain of (fused) multiply-adds in the order of `runs` and `k`, whatever row
/// block a row falls in, so a row's result does not depend on how the rows were divided among
/// calls. A chain may also be cut into several calls that start from what is in `c`.
pub(crate) struct Gemm<'a> {
    /// Offset of each row from a stretch's `a`, in floats.
    pub a_rows: &'a [usize],
    /// The stretches that make up the rows; there may be none.
    pub runs: &'a [Run],
    /// Length of each stretch.
    pub run_len: usize,
    /// Distance between the panel's rows.
    pub ldb: usize,
    /// Base of the result's rows.
    pub c: *mut f32,
    /// Offset of each result row from `c`.
    pub c_rows: &'a [usize],
    /// Columns of the result, 1 to `LANES * NV`; the panel's rows are readable up to the next
    /// multiple of `LANES`.
    pub columns: usize,
    /// What the sums start from, rows like those of `c` (perhaps `c` itself), or null for zero.
    pub initial: *const f32,
    /// Added at the end: `columns` values, or null.
    pub bias: *const f32,
    /// What the next call will read: brought closer, spread over this call. A call takes long
    /// enough to hide it, while the start of a panel that comes from afar has nothing to hide behind.
    pub ahead: [Ahead; 2],
}

/// A stretch of memory that will be needed soon.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub start: *const f32,
    pub floats: usize,
}

impl Ahead {
    pub(crate) const NONE: Self = Self { start: std::ptr::null(), floats: 0 };

    /// One of `parts` equal parts.
    pub(crate) fn part(self, part: usize, parts: usize) -> Self {
        let floats = self.floats / parts;
        Self { start: self.start.wrapping_add(part * floats), floats }
    }
}

/// Runs `g`.
///
/// # Safety
///
/// The instructions of `S` are available; every pointer and offset of `g` is valid as described
/// there, `a_rows` and `c_rows` have the same length, and `c` overlaps nothing that is read, except
/// that `initial` may be `c`.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd>(g: &Gemm) {
    debug_assert_eq!(g.a_rows.len(), g.c_rows.len());
    debug_assert!(g.columns > 0 && g.columns <= S::LANES * S::NV);
    // SAFETY: the contract is passed on.
    unsafe {
        match g.columns.div_ceil(S::LANES) {
            1 => rows::<S, 1>(g),
            2 => rows::<S, 2>(g),
            3 => rows::<S, 3>(g),
            _ => rows::<S, 4>(g),
        }
    }
}

#[inline(always)]
unsafe fn rows<S: Simd, const NV: usize>(g: &Gemm) {
    if NV > S::NV {
        return;
    }
    let total = g.a_rows.len();
    // Blocks as even as possible: 32 rows are 6 6 5 5 5 5 and not 6 6 6 6 6 2.
    let blocks = total.div_ceil(S::MR);
    let steps = (g.runs.len() * g.run_len * blocks).max(1);
    let mut fetch = g.ahead.map(|a| Fetch { next: a.start, step: a.floats.div_ceil(steps) });
    let mut row = 0;
    for i in 0..blocks {
        let take = (total - row).div_ceil(blocks - i);
        // SAFETY: `row + take <= total`; the rest is the caller's contract.
        unsafe {
            match take {
                1 => block::<S, 1, NV>(g, row, &mut fetch),
                2 => block::<S, 2, NV>(g, row, &mut fetch),
                3 => block::<S, 3, NV>(g, row, &mut fetch),
                4 => block::<S, 4, NV>(g, row, &mut fetch),
                5 => block::<S, 5, NV>(g, row, &mut fetch),
                _ => block::<S, 6, NV>(g, row, &mut fetch),
            }
        }
        row += take;
    }
}

/// Where an [`Ahead`] has got to, and how far it goes with each k.
#[derive(Clone, Copy)]
struct Fetch {
    next: *const f32,
    step: usize,
}

#[inline(always)]
unsafe fn block<S: Simd, const MR: usize, const NV: usize>(
    g: &Gemm,
    row: usize,
    fetch: &mut [Fetch; 2],
) {
    if MR > S::MR {
        return;
    }
    // SAFETY: `row + MR` rows exist, and the pointers are valid by `gemm`'s contract.
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; MR];
        let tail = g.columns - (NV - 1) * S::LANES;
        if !g.initial.is_null() {
            for i in 0..MR {
                let c = g.initial.add(*g.c_rows.get_unchecked(row + i));
                for j in 0..NV - 1 {
                    acc[i][j] = S::load(c.add(j * S::LANES));
                }
                acc[i][NV - 1] = S::load_first(c.add((NV - 1) * S::LANES), tail);
            }
        }
        let (mut next, step) = (fetch.map(|f| f.next), fetch.map(|f| f.step));
        for run in g.runs {
            let mut b = run.b;
            let mut a = [run.a; MR];
            for i in 0..MR {
                a[i] = run.a.add(*g.a_rows.get_unchecked(row + i));
            }
            for k in 0..g.run_len {
                let mut panel = [S::splat(0.0); NV];
                for j in 0..NV {
                    panel[j] = S::load(b.add(j * S::LANES));
                }
                for i in 0..MR {
                    let x = S::splat(*a[i].add(k));
                    for j in 0..NV {
                        acc[i][j] = S::fma(x, panel[j], acc[i][j]);
                    }
                }
                b = b.add(g.ldb);
                S::prefetch(next[0]);
                S::prefetch(next[1]);
                next = [next[0].wrapping_add(step[0]), next[1].wrapping_add(step[1])];
            }
        }
        fetch[0].next = next[0];
        fetch[1].next = next[1];
        if !g.bias.is_null() {
            for j in 0..NV {
                let n = if j + 1 < NV { S::LANES } else { tail };
                let bias = S::load_first(g.bias.add(j * S::LANES), n);
                for i in 0..MR {
                    acc[i][j] = S::add(acc[i][j], bias);
                }
            }
        }
        for i in 0..MR {
            let c = g.c.add(*g.c_rows.get_unchecked(row + i));
            for j in 0..NV - 1 {
                S::store(c.add(j * S::LANES), acc[i][j]);
            }
            S::store_first(c.add((NV - 1) * S::LANES), acc[i][NV - 1], tail);
        }
    }
}
