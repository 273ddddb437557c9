//! Attention, at once or over blocks of keys and values, never with all scores at a time.
//!
//! For a block of keys and one of queries: scores as a product, weights relative to the largest score
//! so far, and a product of these with the values, added to the sums so far. Products do the work, so
//! they are the same kernel as that of convs.

use halovae_engine::backend::{BackendError, Operands};
use halovae_engine::tensor::Shape;
use wgpu::Buffer;

use super::WgpuBackend;
use super::product::{After, Product};
use crate::kernels::Shader;
use crate::layout::{Element, Layout};
use crate::record::{Dispatch, spread};
use crate::store::{Block, Value, block_bytes};
use crate::template::names;

/// The most queries and keys whose scores are held at once.
const BLOCK: usize = 1024;

/// An attention that has seen some of its keys.
#[derive(Debug)]
pub struct Attending {
    name: String,
    /// The extents of the result.
    shape: Shape,
    layout: Layout,
    /// Weighted sums of values in f32, as the result lies.
    sums: Vec<Block>,
    /// For each query the largest score and the sum of weights.
    state: Block,
}

/// Where a position of a sample lies: its chunk, its place there, and how many of the sample follow
/// in the same chunk, itself included.
fn place(layout: &Layout, sample: usize, position: usize) -> (usize, usize, usize) {
    let (row, column) = (position / layout.width, position % layout.width);
    let run = layout.runs(sample, row..layout.height).next().expect("a position of the value");
    let rest = run.rows.len() * layout.width - column;
    (run.chunk, run.at * layout.width + column, rest)
}

/// Scores, weights, keys as a matrix, and what the sums are worth, for so many queries and keys.
struct Scratch {
    scores: Block,
    weights: Block,
    keys: Block,
    decay: Block,
}

fn scratch_bytes(queries: usize, keys: usize, channels: usize, element: Element) -> [u64; 4] {
    let (queries, keys) = (queries.min(BLOCK) as u64, keys.min(BLOCK).next_multiple_of(4) as u64);
    let channels = channels.next_multiple_of(4) as u64;
    let bytes = element.bytes();
    [queries * keys * 4, queries * keys * bytes, keys * channels * bytes, queries * 4]
}

fn positions(shape: Shape) -> usize {
    shape.height * shape.width
}

impl WgpuBackend {
    /// Bytes that an attention needs beside its operands and its output.
    pub(super) fn attention_workspace(&self, q: Shape, k: Shape, v: Shape) -> u64 {
        let scratch = scratch_bytes(positions(q), positions(k), k.channels, self.element());
        let sums = self.sums_layout(Shape { channels: v.channels, ..q });
        let sums = (0..sums.chunks()).map(|at| block_bytes(sums.chunk_bytes(at)));
        let state = block_bytes((q.batch * positions(q) * 8) as u64);
        // The output is made when the scratch is gone, but that is counted apart.
        sums.sum::<u64>() + state + scratch.into_iter().map(block_bytes).sum::<u64>()
    }

    fn sums_layout(&self, shape: Shape) -> Layout {
        Layout::new(shape, Element::F32, self.shared.chunk_bytes())
    }

    pub(super) fn attend_more(
        &self,
        name: &str,
        scale: f32,
        operands: &Operands<'_, Value>,
        so_far: Option<Attending>,
    ) -> Result<Attending, BackendError> {
        let [q, k, v] = [0, 1, 2].map(|slot| operands.get(slot));
        let fresh = so_far.is_none();
        let attending = match so_far {
            Some(attending) => attending,
            None => {
                let shape = Shape { channels: v.shape.channels, ..q.shape };
                let layout = self.sums_layout(shape);
                let chunk = |at| self.store.block(name, layout.chunk_bytes(at));
                let sums = (0..layout.chunks()).map(chunk).collect::<Result<_, _>>()?;
                let state =
                    self.store.block(name, (q.shape.batch * positions(q.shape) * 8) as u64)?;
                Attending { name: name.to_owned(), shape, layout, sums, state }
            }
        };
        let [queries, keys] = [q, k].map(|value| positions(value.shape));
        let bytes = scratch_bytes(queries, keys, k.shape.channels, self.element());
        let [scores, weights, key_block, decay] = bytes.map(|bytes| self.store.block(name, bytes));
        let scratch =
            Scratch { scores: scores?, weights: weights?, keys: key_block?, decay: decay? };
        for sample in 0..q.shape.batch {
            let mut key = 0;
            while key < keys {
                // A block ends where one of the buffers that it lies in does.
                let [(_, _, k_rest), (_, _, v_rest)] =
                    [k, v].map(|value| place(&value.layout, sample, key));
                let block = BLOCK.min(k_rest).min(v_rest);
                self.transpose(k, sample, key, block, &scratch.keys)?;
                let mut query = 0;
                while query < queries {
                    let (_, _, q_rest) = place(&q.layout, sample, query);
                    let (_, _, s_rest) = place(&attending.layout, sample, query);
                    let rows = BLOCK.min(q_rest).min(s_rest);
                    let at = At { sample, query, rows, key, keys: block, fresh: fresh && key == 0 };
                    self.attend_block(scale, [q, v], &attending, &scratch, at)?;
                    query += rows;
                }
                key += block;
            }
        }
        Ok(attending)
    }

    fn transpose(
        &self,
        keys: &Value,
        sample: usize,
        first: usize,
        len: usize,
        out: &Block,
    ) -> Result<(), BackendError> {
        let quads = keys.layout.quads;
        let fours = len.div_ceil(4);
        let (chunk, at, _) = place(&keys.layout, sample, first);
        let immediates = [len, fours, quads, at * quads].map(|n| n as u32);
        let buffers: [&Buffer; 2] = [&keys.chunks[chunk], out];
        self.over(Shader::Transpose, names([]), &buffers, &immediates, (fours * quads) as u64)
    }

    /// One block of keys and one of queries.
    fn attend_block(
        &self,
        scale: f32,
        [q, v]: [&Value; 2],
        attending: &Attending,
        scratch: &Scratch,
        at: At,
    ) -> Result<(), BackendError> {
        let fours = at.keys.div_ceil(4);
        let (chunk, position, _) = place(&q.layout, at.sample, at.query);
        let scores = Product {
            rows: at.rows,
            columns: fours,
            channels: q.layout.quads,
            left: position * q.layout.quads,
            left_row: q.layout.quads,
            out_f32: true,
            ..Product::default()
        };
        let buffers: [&Buffer; 3] = [&q.chunks[chunk], &scratch.keys, &scratch.scores];
        self.product(scores, buffers, After::Nothing)?;

        let first = at.sample * positions(q.shape) + at.query;
        let immediates = [
            at.rows as u32,
            at.keys as u32,
            fours as u32,
            first as u32,
            scale.to_bits(),
            at.fresh.into(),
        ];
        let buffers: [&Buffer; 4] =
            [&scratch.scores, &scratch.weights, &attending.state, &scratch.decay];
        self.dispatch(&Dispatch {
            shader: Shader::Softmax,
            names: names([]),
            buffers: &buffers,
            immediates: &immediates,
            groups: spread(at.rows as u64),
            work: (at.rows * at.keys) as u64 * 50,
        })?;

        let (chunk, position, _) = place(&v.layout, at.sample, at.key);
        let (sums, row, _) = place(&attending.layout, at.sample, at.query);
        let quads = attending.layout.quads;
        let weighted = Product {
            rows: at.rows,
            columns: quads,
            channels: fours,
            left_row: fours,
            right: position * quads,
            last: (!at.keys.is_multiple_of(4)).then(|| at.keys - 1),
            out: row * quads,
            out_f32: true,
            ..Product::default()
        };
        let buffers: [&Buffer; 3] = [&scratch.weights, &v.chunks[chunk], &attending.sums[sums]];
        let after = if at.fresh { After::Nothing } else { After::Decay(&scratch.decay) };
        self.product(weighted, buffers, after)
    }

    pub(super) fn finish_attention(&self, attending: Attending) -> Result<Value, BackendError> {
        let Attending { name, shape, layout, sums, state } = attending;
        let out = self.store.value(&name, shape)?;
        for sample in 0..shape.batch {
            let mut position = 0;
            while position < positions(shape) {
                let (from, at, rest) = place(&layout, sample, position);
                let (to, out_at, out_rest) = place(&out.layout, sample, position);
                let len = rest.min(out_rest);
                let first = sample * positions(shape) + position;
                let count = len * layout.quads;
                let immediates =
                    [count, layout.quads, first, out_at * layout.quads, at * layout.quads];
                let buffers: [&Buffer; 3] = [&sums[from], &state, &out.chunks[to]];
                let immediates = immediates.map(|n| n as u32);
                self.over(Shader::Attended, names([]), &buffers, &immediates, count as u64)?;
                position += len;
            }
        }
        Ok(out)
    }
}

/// A block of queries and one of keys.
#[derive(Clone, Copy, Debug)]
struct At {
    sample: usize,
    query: usize,
    rows: usize,
    key: usize,
    keys: usize,
    /// Whether these queries have seen no keys yet.
    fresh: bool,
}
