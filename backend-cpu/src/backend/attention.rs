//! Attention, at once or over blocks of keys and values.

use halovae_engine::backend::Operands;
use halovae_engine::tensor::Shape;

use super::CpuBackend;
use super::store::Value;
use crate::attention::{self, AttentionShape, Part};
use crate::error::KernelError;

/// An attention that has seen some of its keys.
#[derive(Debug)]
pub struct Attending {
    /// Weighted sums of values, as the queries lie.
    sums: Value,
    /// For each query the largest score and the sum of weights, `[batch, height, width, 2]`.
    state: Value,
}

impl CpuBackend {
    pub(super) fn attention(
        &self,
        operands: &Operands<'_, Value>,
        scale: f32,
    ) -> Result<Value, KernelError> {
        let mut out = self.store.value(operands.get(0).shape())?;
        self.run_attention(operands, scale, &mut out, Part::All)?;
        Ok(out)
    }

    pub(super) fn attend_more(
        &self,
        operands: &Operands<'_, Value>,
        scale: f32,
        so_far: Option<Attending>,
    ) -> Result<Attending, KernelError> {
        let shape = operands.get(0).shape();
        let mut attending = match so_far {
            Some(attending) => attending,
            None => {
                let sums = self.store.zeros(shape)?;
                let mut state = self.store.value(Shape { channels: 2, ..shape })?;
                for query in state.uninit().chunks_exact_mut(2) {
                    query[0].write(f32::NEG_INFINITY);
                    query[1].write(0.0);
                }
                Attending { sums, state }
            }
        };
        let Attending { sums, state } = &mut attending;
        self.run_attention(operands, scale, sums, Part::More(state.data_mut()))?;
        Ok(attending)
    }

    pub(super) fn finish(&self, attention: Attending) -> Result<Value, KernelError> {
        let Attending { mut sums, state } = attention;
        let channels = sums.shape().channels;
        attention::finish(self.level, &self.pool, state.data(), channels, sums.data_mut())?;
        Ok(sums)
    }

    fn run_attention(
        &self,
        operands: &Operands<'_, Value>,
        scale: f32,
        out: &mut Value,
        part: Part<'_>,
    ) -> Result<(), KernelError> {
        let [q, k, v] = [0, 1, 2].map(|i| operands.get(i));
        let shape = attention_shape(q.shape(), k.shape());
        let bytes = shape.workspace_bytes(self.level, self.threads());
        let (level, pool) = (self.level, &self.pool);
        self.store.with_workspace(bytes, |ws| {
            let [q, k, v] = [q.data(), k.data(), v.data()];
            attention::attention(level, pool, ws, shape, [q, k, v], scale, part, out.uninit())
        })
    }
}

pub(super) fn attention_shape(q: Shape, k: Shape) -> AttentionShape {
    AttentionShape {
        n: q.images(),
        queries: q.height * q.width,
        keys: k.height * k.width,
        channels: q.channels,
    }
}
