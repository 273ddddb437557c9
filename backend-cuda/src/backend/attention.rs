//! Attention, at once or over blocks of keys and values, never with all scores at a time.
//!
//! For a block of keys and one of queries: scores as a product, weights relative to the largest score
//! so far, and a product of these with the values, added to the sums so far. Products do the work, so
//! they are the same kernel as that of convs.

use halovae_engine::backend::{BackendError, Operands};
use halovae_engine::tensor::Shape;

use super::CudaBackend;
use crate::kernels::{Element, Kernel};
use crate::params::{Attended, Product, Softmax};
use crate::product::{Right, plain};
use crate::store::{Block, counted_bytes};
use crate::value::{Value, value_bytes, wide};

/// An attention that has seen some of its keys.
#[derive(Debug)]
pub struct Attending {
    name: String,
    /// Weighted sums of values in f32, as the result lies.
    sums: Value,
    /// For each query the largest score and the sum of weights.
    state: Block,
}

/// Scores, weights, and what the sums are worth, for so many queries and keys.
struct Scratch {
    scores: Block,
    weights: Block,
    decay: Block,
}

/// A block of queries and one of keys.
#[derive(Clone, Copy, Debug)]
struct At {
    /// Of the first query and the first key, counted over all samples.
    query: usize,
    key: usize,
    queries: usize,
    keys: usize,
    /// Whether these queries have seen no keys yet.
    fresh: bool,
}

fn positions(shape: Shape) -> usize {
    shape.height * shape.width
}

impl CudaBackend {
    fn scratch_bytes(&self, queries: usize, keys: usize) -> [u64; 3] {
        let [most_queries, most_keys] = self.shared.options.limits.attention;
        let queries = queries.min(most_queries) as u64;
        let keys = wide(keys.min(most_keys)) as u64;
        let bytes = self.store.element().bytes();
        [queries * keys * 4, queries * keys * bytes, queries * 4]
    }

    /// Bytes that an attention needs beside its operands and its output.
    pub(super) fn attention_workspace(&self, q: Shape, k: Shape, v: Shape) -> u64 {
        let scratch = self.scratch_bytes(positions(q), positions(k));
        let sums = value_bytes(Shape { channels: v.channels, ..q }, Element::F32);
        let state = (q.batch * positions(q) * 8) as u64;
        // The output is made when the scratch is gone, but that is counted apart.
        scratch.into_iter().chain([sums, state]).map(counted_bytes).sum()
    }

    pub(super) fn attend_more(
        &self,
        name: &str,
        scale: f32,
        operands: &Operands<'_, Value>,
        so_far: Option<Attending>,
    ) -> Result<Attending, BackendError> {
        let features = [0, 1, 2].map(|slot| self.feature(name, operands.get(slot)));
        let [q, k, v] = features;
        let (q, k, v) = (q?, k?, v?);
        let fresh = so_far.is_none();
        let [queries, keys] = [q.positions(), k.positions()];
        let attending = match so_far {
            Some(attending) => attending,
            None => {
                let shape = Shape { channels: v.shape.channels, ..q.shape };
                let sums = self.store.value_of(name, shape, Element::F32)?;
                let state = self.store.block(name, (q.shape.batch * queries * 8) as u64)?;
                Attending { name: name.to_owned(), sums, state }
            }
        };
        let bytes = self.scratch_bytes(queries, keys);
        let [scores, weights, decay] = bytes.map(|bytes| self.store.block(name, bytes));
        let scratch = Scratch { scores: scores?, weights: weights?, decay: decay? };
        let [most_queries, most_keys] = self.shared.options.limits.attention;
        for sample in 0..q.shape.batch {
            for key in (0..keys).step_by(most_keys) {
                for query in (0..queries).step_by(most_queries) {
                    let at = At {
                        query: sample * queries + query,
                        key: sample * keys + key,
                        queries: most_queries.min(queries - query),
                        keys: most_keys.min(keys - key),
                        fresh: fresh && key == 0,
                    };
                    self.attend_block(scale, [&q, &k, &v], &attending, &scratch, at)?;
                }
            }
        }
        Ok(attending)
    }

    fn attend_block(
        &self,
        scale: f32,
        [q, k, v]: [&Value; 3],
        attending: &Attending,
        scratch: &Scratch,
        at: At,
    ) -> Result<(), BackendError> {
        let columns = wide(at.keys);
        let scores = Product {
            left: q.at(at.query),
            right: k.at(at.key),
            right_there: at.keys as u32,
            out: scratch.scores.pointer(),
            out_f32: 1,
            ..plain(at.queries, q.wide(), columns)
        };
        self.product(scores, Right::ByColumn)?;
        let softmax = Softmax {
            scores: scratch.scores.pointer(),
            weights: scratch.weights.pointer(),
            state: attending.state.at(at.query as u64 * 8),
            decay: scratch.decay.pointer(),
            keys: at.keys as u32,
            columns: columns as u32,
            scale,
            fresh: at.fresh.into(),
        };
        self.store.launch(Kernel::Softmax, &softmax, at.queries as u64)?;
        let sums = attending.sums.at(at.query);
        let [there, decay] = match at.fresh {
            true => [0, 0],
            false => [sums, scratch.decay.pointer()],
        };
        let summed = Product {
            left: scratch.weights.pointer(),
            right: v.at(at.key),
            // Weights of keys that only fill up are zero, but beyond the values lies anything.
            right_there: at.keys as u32,
            out: sums,
            out_f32: 1,
            there,
            decay,
            ..plain(at.queries, columns, v.wide())
        };
        self.product(summed, Right::Values)
    }

    pub(super) fn finish_attention(&self, attending: Attending) -> Result<Value, BackendError> {
        let Attending { name, sums, state } = attending;
        let out = self.store.value(&name, sums.shape)?;
        let count = (out.shape.batch * out.positions()) as u64 * u64::from(out.eights());
        let params = Attended {
            sums: sums.pointer(),
            state: state.pointer(),
            out: out.pointer(),
            count: count as u32,
            eights: out.eights(),
        };
        self.store.over(Kernel::Attended, &params, count)?;
        Ok(out)
    }
}
