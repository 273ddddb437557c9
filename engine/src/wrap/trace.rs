//! A backend that measures another's ops.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{delegate_backend, delegate_memory_model};
use crate::backend::{Backend, BackendError, Operands, Timer};
use crate::program::{Op, Program, attention_flops};

/// An op that ran; on a device without a [`Timer`] all ops of a kind, since shards that take turns run
/// millions of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OpRecord {
    /// Its kind, fused parts included.
    pub kind: &'static str,
    /// How often it ran.
    pub count: u64,
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

    /// Takes what was recorded, in the order in which it first ran.
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
        op: &Op,
        run: impl FnOnce() -> Result<(T, u128), BackendError>,
    ) -> Result<T, BackendError> {
        let start = Instant::now();
        if let Some(timer) = &self.timer {
            timer.begin()?;
        }
        let (result, flops) = run()?;
        match &self.timer {
            Some(timer) => timer.end()?,
            None => self.inner.synchronize()?,
        }
        // Of what is only queued the timer knows better.
        let seconds = start.elapsed().as_secs_f64();
        let record = OpRecord { kind: op.kind(), count: 1, flops, seconds };
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let is_alike = |known: &&mut OpRecord| self.timer.is_none() && known.kind == record.kind;
        match records.iter_mut().find(is_alike) {
            Some(known) => {
                known.count += 1;
                known.flops += flops;
                known.seconds += seconds;
            }
            None => records.push(record),
        }
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
        self.measure(op, || {
            let tensor = self.inner.run(program, op, weights, operands)?;
            let flops = match op {
                Op::Conv(conv) => conv.flops(self.inner.shape(&tensor)),
                _ => attention,
            };
            Ok((tensor, flops))
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
        self.measure(op, || Ok((self.inner.attend(program, op, operands, so_far)?, flops)))
    }
}
