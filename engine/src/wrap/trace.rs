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
    /// Seconds until its result was there, the wait for a halo included.
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

impl<B: Backend> Traced<B> {
    /// Work of an attention; operands are given away to the op, so it is asked before.
    fn attention_flops(&self, operands: &Operands<'_, B::Tensor>) -> u128 {
        let [q, k, v] = [0, 1, 2].map(|slot| self.inner.shape(operands.get(slot)));
        attention_flops(q, k, v)
    }

    /// Waits for what `op` began at `start` and keeps a record of it.
    fn record(
        &self,
        program: &Program,
        op: &Op,
        output: Shape,
        flops: u128,
        start: Instant,
    ) -> Result<(), BackendError> {
        self.inner.synchronize()?;
        let seconds = start.elapsed().as_secs_f64();
        let name = program.op_name(op).to_owned();
        let record = OpRecord { name, kind: op.kind(), output, flops, seconds };
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(())
    }
}

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
        let attention = match op {
            Op::Attention { .. } => self.attention_flops(&operands),
            _ => 0,
        };
        let start = Instant::now();
        let tensor = self.inner.run(program, op, weights, operands)?;
        let output = self.inner.shape(&tensor);
        let flops = match op {
            Op::Conv2d(conv) => conv.flops(output),
            _ => attention,
        };
        self.record(program, op, output, flops, start)?;
        Ok(tensor)
    }

    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Self::Tensor>,
        so_far: Option<Self::Attention>,
    ) -> Result<Self::Attention, BackendError> {
        if !self.enabled {
            return self.inner.attend(program, op, operands, so_far);
        }
        let flops = self.attention_flops(&operands);
        let output = self.inner.shape(operands.get(0));
        let start = Instant::now();
        let attention = self.inner.attend(program, op, operands, so_far)?;
        self.record(program, op, output, flops, start)?;
        Ok(attention)
    }
}
