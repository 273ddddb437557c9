//! Attention in blocks, without ever holding the whole matrix of scores.
//!
//! The scores of a block of queries and a block of keys live in scratch; their softmax is kept as a
//! running maximum and a running sum for each query (Milakov and Gimelshein 2018; Dao 2022). The
//! blocks are cut by the shapes alone and are taken in order.

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::conv::gemm::{Ahead, Gemm, Run};
use crate::error::{KernelError, check};
use crate::pool::{Layout, Shared, Workspace, for_each};
use crate::simd::Level;
use crate::simd::softmax::{Rescale, Softmax};
use crate::table::Table;

/// Keys of a block: a multiple of every level's panel.
const KEYS: usize = 256;

/// Queries of a task.
const QUERIES: usize = 96;

/// Values that the weights are multiplied with at a time, in keys.
const _: () = assert!(KEYS.is_multiple_of(64));

/// Sizes of an attention with one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Batch: samples, or the frames of a video if each attends to itself.
    pub n: usize,
    /// Queries of a batch item.
    pub queries: usize,
    /// Keys (and values) of a batch item.
    pub keys: usize,
    /// Channels of all three.
    pub channels: usize,
}

impl AttentionShape {
    fn layout(&self, table: &Table) -> Layout {
        Layout {
            // Keys of all panels, transposed.
            // Saturating: estimates are also made for sizes that no machine could decode.
            shared: self
                .keys
                .checked_next_multiple_of(table.panel)
                .unwrap_or(usize::MAX)
                .saturating_mul(self.n)
                .saturating_mul(self.channels),
            thread: QUERIES.min(self.queries) * KEYS,
        }
    }

    /// Scratch memory of [`attention`], in bytes.
    pub fn workspace_bytes(&self, level: Level, threads: usize) -> usize {
        level.table().map_or(0, |table| self.layout(table).bytes(threads))
    }
}

/// How much of an attention a call is.
pub enum Part<'a> {
    /// All of it: the output need not have been written.
    All,
    /// Some of the keys: for each query the largest score and the sum of weights so far, minus
    /// infinity and 0 in the beginning. The output holds the weighted sums so far, 0 in the
    /// beginning; [`finish`] makes the result of them.
    More(&'a mut [f32]),
}

/// `softmax(q k^T * scale) v` for one head: `q` is `[n][queries][channels]`, `k` and `v` are
/// `[n][keys][channels]`, `out` is like `q`.
///
/// # Errors
///
/// [`KernelError::Size`] when a slice does not fit the shape, [`KernelError::Shape`] when there are
/// no keys, [`KernelError::OutOfMemory`], [`KernelError::Level`].
#[expect(clippy::too_many_arguments, reason = "what runs it, and what it is run on")]
pub fn attention(
    level: Level,
    pool: &ThreadPool,
    workspace: &mut Workspace,
    shape: AttentionShape,
    [q, k, v]: [&[f32]; 3],
    scale: f32,
    part: Part,
    out: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    let AttentionShape { n, queries, keys, channels } = shape;
    check("attention queries", n * queries * channels, q.len())?;
    check("attention keys", n * keys * channels, k.len())?;
    check("attention values", n * keys * channels, v.len())?;
    check("attention output", q.len(), out.len())?;
    let state = match part {
        Part::All => None,
        Part::More(state) => {
            check("attention state", n * queries * 2, state.len())?;
            Some(Shared(state.as_mut_ptr()))
        }
    };
    if out.is_empty() {
        return Ok(());
    }
    if keys == 0 {
        return Err(KernelError::Shape { reason: "attention needs at least one key" });
    }
    let scratch = workspace.reserve(shape.layout(table), pool.current_num_threads())?;
    let packed = Shared(scratch.shared());
    transpose(table, pool, &shape, k, packed);
    let out = Shared(out.as_mut_ptr().cast::<f32>());
    let blocks = queries.div_ceil(QUERIES);
    for_each(pool, n * blocks, |i, thread| {
        let (item, first) = (i / blocks, i % blocks * QUERIES);
        let rows = QUERIES.min(queries - first);
        let query = item * queries + first;
        let start = query * channels;
        let block = Block {
            table,
            shape: &shape,
            rows,
            q: &q[start..start + rows * channels],
            v: &v[item * keys * channels..][..keys * channels],
            packed: packed.get().wrapping_add(item * keys.next_multiple_of(table.panel) * channels),
            scale,
            goes_on: state.is_some(),
        };
        let mut running = vec![(f32::NEG_INFINITY, 0.0f32); rows];
        // SAFETY: the scratch is this thread's; the rows of output and state are this task's, and
        // with a state the output has been written.
        unsafe {
            let out = out.get().add(start);
            let state = state.map(|state| state.get().add(2 * query));
            if let Some(state) = state {
                for (row, running) in running.iter_mut().enumerate() {
                    *running = (*state.add(2 * row), *state.add(2 * row + 1));
                }
            }
            block.run(scratch.thread(thread), out, &mut running);
            match state {
                Some(state) => {
                    for (row, (max, sum)) in running.iter().enumerate() {
                        *state.add(2 * row) = *max;
                        *state.add(2 * row + 1) = *sum;
                    }
                }
                None => {
                    for (row, (_, sum)) in running.iter().enumerate() {
                        divide(table, out.add(row * channels), channels, *sum);
                    }
                }
            }
        }
    });
    Ok(())
}

/// Divides the weighted sums (`[rows][channels]`) by the sums of weights (the second of each
/// row's two values in `state`).
///
/// # Errors
///
/// [`KernelError::Size`] when the slices do not fit each other, [`KernelError::Level`].
pub fn finish(
    level: Level,
    pool: &ThreadPool,
    state: &[f32],
    channels: usize,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
    let rows = state.len() / 2;
    check("attention output", rows * channels, out.len())?;
    let out = Shared(out.as_mut_ptr());
    for_each(pool, rows.div_ceil(QUERIES), |i, _| {
        for row in i * QUERIES..rows.min((i + 1) * QUERIES) {
            // SAFETY: a row of the output, which is this task's.
            unsafe { divide(table, out.get().add(row * channels), channels, state[2 * row + 1]) };
        }
    });
    Ok(())
}

/// Divides a row.
///
/// # Safety
///
/// `row` is valid for `channels` floats.
unsafe fn divide(table: &Table, row: *mut f32, channels: usize, sum: f32) {
    // SAFETY: the caller's contract.
    unsafe { (table.rescale)(&Rescale { row, len: channels, factor: 1.0 / sum }) };
}

/// Keys in panels, `[panel][channel][key]`, zero beyond the last key.
fn transpose(
    table: &Table,
    pool: &ThreadPool,
    shape: &AttentionShape,
    k: &[f32],
    packed: Shared<f32>,
) {
    let AttentionShape { n, keys, channels, .. } = *shape;
    let width = table.panel;
    let panels = keys.div_ceil(width);
    for_each(pool, n * panels, |i, _| {
        let (item, first) = (i / panels, i % panels * width);
        let filled = width.min(keys - first);
        // SAFETY: `width * channels` floats belong to this panel and this task.
        let panel = unsafe {
            let at = packed.get().add(i * width * channels);
            at.write_bytes(0, width * channels);
            std::slice::from_raw_parts_mut(at, width * channels)
        };
        let rows = &k[(item * keys + first) * channels..][..filled * channels];
        for (key, row) in rows.chunks_exact(channels).enumerate() {
            for (c, value) in row.iter().enumerate() {
                panel[c * width + key] = *value;
            }
        }
    });
}

/// A block of queries of one batch item.
struct Block<'a> {
    table: &'a Table,
    shape: &'a AttentionShape,
    rows: usize,
    q: &'a [f32],
    v: &'a [f32],
    packed: *const f32,
    scale: f32,
    /// Whether the output holds sums of earlier keys.
    goes_on: bool,
}

impl Block<'_> {
    /// Adds the weighted values to the block's rows of the output, and to `running` (largest score
    /// and sum of weights of each row) what their weights are relative to.
    ///
    /// # Safety
    ///
    /// `scores` holds `rows * KEYS` floats and `out` holds the rows; both are this caller's alone.
    unsafe fn run(&self, scores: *mut f32, out: *mut f32, running: &mut [(f32, f32)]) {
        let AttentionShape { keys, channels, .. } = *self.shape;
        let (table, panel) = (self.table, self.table.panel);
        let q_rows: Vec<usize> = (0..self.rows).map(|r| r * channels).collect();
        let s_rows: Vec<usize> = (0..self.rows).map(|r| r * KEYS).collect();
        for first in (0..keys).step_by(KEYS) {
            let len = KEYS.min(keys - first);
            // SAFETY: panels cover the keys; `len <= KEYS` columns of scores; channels in steps of
            // a panel; all within the slices that the caller vouches for.
            unsafe {
                for key in (0..len).step_by(panel) {
                    let b = self.packed.add((first + key) * channels);
                    (table.gemm)(&Gemm {
                        a_rows: &q_rows,
                        runs: &[Run { a: self.q.as_ptr(), b }],
                        run_len: channels,
                        ldb: panel,
                        c: scores.add(key),
                        c_rows: &s_rows,
                        columns: panel.min(len - key),
                        initial: std::ptr::null(),
                        bias: std::ptr::null(),
                        ahead: [Ahead::NONE; 2],
                    });
                }
                for (row, (max, sum)) in running.iter_mut().enumerate() {
                    let mut step = Softmax {
                        scores: scores.add(row * KEYS),
                        len,
                        scale: self.scale,
                        max: *max,
                        sum: *sum,
                        correction: 1.0,
                    };
                    (table.softmax)(&mut step);
                    (*max, *sum) = (step.max, step.sum);
                    if self.adds(first) && step.correction != 1.0 {
                        let row = out.add(row * channels);
                        let factor = step.correction;
                        (table.rescale)(&Rescale { row, len: channels, factor });
                    }
                }
                self.values(first, len, scores, &s_rows, &q_rows, out);
            }
        }
    }

    /// Whether the keys from `first` on are added to what the output holds.
    fn adds(&self, first: usize) -> bool {
        self.goes_on || first > 0
    }

    /// Adds the weighted values of `len` keys from `first`.
    unsafe fn values(
        &self,
        first: usize,
        len: usize,
        weights: *const f32,
        weight_rows: &[usize],
        out_rows: &[usize],
        out: *mut f32,
    ) {
        let channels = self.shape.channels;
        let (lanes, panel) = (self.table.lanes, self.table.panel);
        let mut c = 0;
        while c < channels {
            // A panel's rows are read in whole vectors, so the last channels of the last key would
            // be read beyond the end: channels that do not fill a vector go one vector back.
            let columns = panel.min(channels - c);
            let columns = if columns < lanes { columns } else { columns / lanes * lanes };
            // SAFETY: `len` keys from `first` exist; see above for the columns.
            unsafe {
                let b = self.v.as_ptr().add(first * channels + c);
                if columns >= lanes {
                    (self.table.gemm)(&Gemm {
                        a_rows: weight_rows,
                        runs: &[Run { a: weights, b }],
                        run_len: len,
                        ldb: channels,
                        c: out.add(c),
                        c_rows: out_rows,
                        columns,
                        initial: if self.adds(first) { out.add(c) } else { std::ptr::null_mut() },
                        bias: std::ptr::null(),
                        ahead: [Ahead::NONE; 2],
                    });
                } else {
                    for (w, o) in weight_rows.iter().zip(out_rows) {
                        for x in 0..columns {
                            let at = out.add(o + c + x);
                            let mut sum = if self.adds(first) { *at } else { 0.0 };
                            for key in 0..len {
                                sum += *weights.add(w + key) * *b.add(key * channels + x);
                            }
                            *at = sum;
                        }
                    }
                }
            }
            c += columns;
        }
    }
}
