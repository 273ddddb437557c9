//! Attention, at once or over blocks of keys and values, never with all scores at a time.
//!
//! For a block of keys and one of queries: scores as a product, weights relative to the largest score
//! so far, and a product of these with the values, added to the sums so far. Products do the work, so
//! they are the same kernel as that of convs.

use halovae_engine::backend::{BackendError, Operands};
use halovae_engine::tensor::Shape;

use super::CudaBackend;
use crate::kernels::{Element, HOPPER_COLUMNS, Kernel};
use crate::params::{Attended, Product, Softmax, SoftmaxHopper, Transpose};
use crate::product::{Right, plain};
use crate::store::{Block, counted_bytes};
use crate::value::{Value, padded, value_bytes};

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
    /// Weights; where Hopper's kernel does the scores, by query and tile of keys the largest one instead, and
    /// weights take the place of scores.
    second: Block,
    decay: Block,
    /// Values of a block of keys, by channel, where they have to lie so.
    transposed: Option<Block>,
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

impl Softmax {
    /// The same of scores that are related to the largest ones of their tiles, which lie where weights would.
    fn related(&self) -> SoftmaxHopper {
        let Self { scores, weights, state, decay, queries, keys, columns, scale, fresh } = *self;
        let tiles = columns.div_ceil(HOPPER_COLUMNS as u32);
        let largest = weights;
        SoftmaxHopper { scores, largest, state, decay, queries, keys, columns, tiles, scale, fresh }
    }
}

impl CudaBackend {
    fn scratch_bytes(&self, queries: usize, keys: usize) -> [u64; 3] {
        let [most_queries, most_keys] = self.shared.options.limits.attention;
        let queries = queries.min(most_queries) as u64;
        let keys = padded(keys.min(most_keys)) as u64;
        let bytes = self.store.element().bytes();
        let [score_bytes, second] = match self.shared.uses_hopper {
            true => [bytes, keys.div_ceil(HOPPER_COLUMNS as u64) * 4],
            false => [4, keys * bytes],
        };
        [queries * keys * score_bytes, queries * second, queries * 4]
    }

    /// Bytes of the values of a block of keys, if they have to lie by channel: Hopper's kernel takes a right
    /// side in no other way.
    fn transposed_bytes(&self, v: Shape) -> Option<u64> {
        let keys = padded(positions(v).min(self.shared.options.limits.attention[1]));
        let elements = (keys * padded(v.channels)) as u64;
        self.shared.uses_hopper.then(|| elements * self.store.element().bytes())
    }

    /// Bytes that an attention needs beside its operands and its output.
    pub(super) fn attention_workspace(&self, q: Shape, k: Shape, v: Shape) -> u64 {
        let scratch = self.scratch_bytes(positions(q), positions(k));
        let sums = value_bytes(Shape { channels: v.channels, ..q }, Element::F32);
        let state = (q.batch * positions(q) * 8) as u64;
        // The output is made when the scratch is gone, but that is counted apart.
        let scratch = scratch.into_iter().chain(self.transposed_bytes(v));
        scratch.chain([sums, state]).map(counted_bytes).sum()
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
        let [scores, second, decay] = bytes.map(|bytes| self.store.block(name, bytes));
        let transposed = self.transposed_bytes(v.shape).map(|bytes| self.store.block(name, bytes));
        let transposed = transposed.transpose()?;
        let scratch = Scratch { scores: scores?, second: second?, decay: decay?, transposed };
        let [most_queries, most_keys] = self.shared.options.limits.attention;
        for sample in 0..q.shape.batch {
            for key in (0..keys).step_by(most_keys) {
                if let Some(transposed) = &scratch.transposed {
                    self.transpose(&v, sample * keys + key, most_keys.min(keys - key), transposed)?;
                }
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
        let columns = padded(at.keys);
        let scores = Product {
            left: q.at(at.query),
            right: k.at(at.key),
            right_valid: at.keys as u32,
            out: scratch.scores.pointer(),
            out_f32: u32::from(!self.shared.uses_hopper),
            ..plain(at.queries, q.padded(), columns)
        };
        let softmax = Softmax {
            scores: scratch.scores.pointer(),
            weights: scratch.second.pointer(),
            state: attending.state.at(at.query as u64 * 8),
            decay: scratch.decay.pointer(),
            queries: at.queries as u32,
            keys: at.keys as u32,
            columns: columns as u32,
            scale,
            fresh: at.fresh.into(),
        };
        // A warp for each query.
        let threads = at.queries as u64 * 32;
        let weights = match self.shared.uses_hopper {
            true => {
                self.store.scores(scores, scratch.second.pointer())?;
                self.store.over(Kernel::SoftmaxHopper, &softmax.related(), threads)?;
                &scratch.scores
            }
            false => {
                self.product(scores, Right::ByColumn)?;
                self.store.over(Kernel::Softmax, &softmax, threads)?;
                &scratch.second
            }
        };
        let sums = attending.sums.at(at.query);
        let [residual, decay] = match at.fresh {
            true => [0, 0],
            false => [sums, scratch.decay.pointer()],
        };
        let summed = Product {
            left: weights.pointer(),
            out: sums,
            out_f32: 1,
            residual,
            decay,
            ..plain(at.queries, columns, v.padded())
        };
        match &scratch.transposed {
            Some(transposed) => {
                let right_valid = v.padded() as u32;
                let right = transposed.pointer();
                self.product(Product { right, right_valid, ..summed }, Right::ByColumn)
            }
            None => {
                // Weights of keys that only fill up are zero, but beyond the values lies anything.
                let right_valid = at.keys as u32;
                self.product(Product { right: v.at(at.key), right_valid, ..summed }, Right::Values)
            }
        }
    }

    /// Puts values of so many keys, from the one at `key` on, in order by channel.
    fn transpose(
        &self,
        v: &Value,
        key: usize,
        keys: usize,
        out: &Block,
    ) -> Result<(), BackendError> {
        let count = v.padded() * keys.div_ceil(8);
        let transpose = Transpose {
            input: v.at(key),
            out: out.pointer(),
            count: count as u32,
            rows: keys as u32,
            columns: v.padded() as u32,
        };
        self.store.over(Kernel::Transpose, &transpose, count as u64)
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
