//! A backend that measures another's ops.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{delegate_backend, delegate_memory_model};
use crate::backend::{Backend, BackendError, Operands};
use crate::program::{Op, Program, attention_flops};
use crate::tensor::Shape;

/// One op that ran.
#[derive(Clone, Debug, PartialEq)]
pub struct OpRecord {
    /// Its name, as in the checkpoint.
    pub name: String,
    /// Its kind, fused parts included.
    pub kind: &'static str,
    /// The extents of what it wrote.
    pub output: Shape,
    /// Multiplications and additions of convs and attention, 0 for the rest.
    pub flops: u128,
    /// Seconds until its result was there.
    pub seconds: f64,
}

/// Measures each op of the backend inside. It waits for each op to finish, so a backend that
/// queues its work runs slower under it.
#[derive(Debug)]
pub struct Traced<B> {
    inner: B,
    enabled: bool,
    records: Mutex<Vec<OpRecord>>,
}

impl<B> Traced<B> {
    /// Wraps `inner`. If not `enabled` it only passes calls on.
    pub fn new(inner: B, enabled: bool) -> Self {
        Self { inner, enabled, records: Mutex::default() }
    }

    /// Takes what was recorded, in the order in which it ran.
    pub fn take_records(&self) -> Vec<OpRecord> {
        std::mem::take(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

delegate_memory_model!(Traced);

impl<B: Backend> Backend for Traced<B> {
    delegate_backend!();

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &Self::Weights,
        operands: Operands<'_, Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError> {
        if !self.enabled {
            return self.inner.run(program, op, weights, operands);
        }
        // Operands are given away to the op, so what is known of them is asked before.
        let attention = match op {
            Op::Attention { .. } => {
                let [q, k, v] = [0, 1, 2].map(|slot| self.inner.shape(operands.get(slot)));
                attention_flops(q, k, v)
            }
            _ => 0,
        };
        let start = Instant::now();
        let tensor = self.inner.run(program, op, weights, operands)?;
        self.inner.synchronize()?;
        let seconds = start.elapsed().as_secs_f64();
        let output = self.inner.shape(&tensor);
        let flops = match op {
            Op::Conv2d(conv) => conv.flops(output),
            _ => attention,
        };
        let name = program.op_name(op).to_owned();
        let record = OpRecord { name, kind: op.kind(), output, flops, seconds };
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(tensor)
    }
}
