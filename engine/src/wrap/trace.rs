//! A backend that measures another's ops.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{delegate_backend, delegate_memory_model};
use crate::backend::{Backend, BackendError, Operands, Timer};
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

/// Measures each op of the backend inside. It waits for each op to finish where the backend has no
/// [`Timer`]: one that queues its work runs slower then.
pub struct Traced<B> {
    inner: B,
    enabled: bool,
    timer: Option<Box<dyn Timer>>,
    records: Mutex<Vec<OpRecord>>,
}

impl<B> std::fmt::Debug for Traced<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traced").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl<B: Backend> Traced<B> {
    /// Wraps `inner`. If not `enabled` it only passes calls on.
    ///
    /// # Errors
    /// That the device has no timer to give.
    pub fn new(inner: B, enabled: bool) -> Result<Self, BackendError> {
        let timer = if enabled { inner.timer()? } else { None };
        Ok(Self { inner, enabled, timer, records: Mutex::default() })
    }

    /// Takes what was recorded, in the order in which it ran.
    ///
    /// # Errors
    /// What the device says of what it measured.
    pub fn take_records(&self) -> Result<Vec<OpRecord>, BackendError> {
        let mut records =
            std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(timer) = &self.timer {
            let seconds = timer.take()?;
            records.iter_mut().zip(seconds).for_each(|(record, took)| record.seconds = took);
        }
        Ok(records)
    }
}

delegate_memory_model!(Traced);

impl<B: Backend> Traced<B> {
    /// Work of an attention; operands are given away to the op, so it is asked before.
    fn attention_flops(&self, operands: &Operands<'_, B::Tensor>) -> u128 {
        let [q, k, v] = [0, 1, 2].map(|slot| self.inner.shape(operands.get(slot)));
        attention_flops(q, k, v)
    }

    /// Measures an op, which gives its result and what is to be recorded of that.
    fn measure<T>(
        &self,
        program: &Program,
        op: &Op,
        run: impl FnOnce() -> Result<(T, Shape, u128), BackendError>,
    ) -> Result<T, BackendError> {
        let start = Instant::now();
        if let Some(timer) = &self.timer {
            timer.begin()?;
        }
        let (result, output, flops) = run()?;
        match &self.timer {
            Some(timer) => timer.end()?,
            None => self.inner.synchronize()?,
        }
        // Of what is only queued the timer knows better.
        let seconds = start.elapsed().as_secs_f64();
        let name = program.op_name(op).to_owned();
        let record = OpRecord { name, kind: op.kind(), output, flops, seconds };
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(result)
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
        self.measure(program, op, || {
            let tensor = self.inner.run(program, op, weights, operands)?;
            let output = self.inner.shape(&tensor);
            let flops = match op {
                Op::Conv(conv) => conv.flops(output),
                _ => attention,
            };
            Ok((tensor, output, flops))
        })
    }

    fn repeat<E: From<BackendError>>(
        &self,
        weights: &Self::Weights,
        input: Self::Tensor,
        once: &mut dyn FnMut(Self::Tensor) -> Result<Self::Tensor, E>,
    ) -> Result<Self::Tensor, E> {
        match self.enabled {
            // Ops are only measured where they run.
            true => once(input),
            false => self.inner.repeat(weights, input, once),
        }
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
        self.measure(program, op, || {
            Ok((self.inner.attend(program, op, operands, so_far)?, output, flops))
        })
    }
}
