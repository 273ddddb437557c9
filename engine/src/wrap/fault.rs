//! A backend that fails on purpose, so that what happens then is tested.

use std::sync::atomic::{AtomicU64, Ordering};

use halovae_core::Region;

use super::gate::Gate;
use super::{delegate_backend, delegate_memory_model};
use crate::backend::{Backend, BackendError, Operands};
use crate::program::{Op, Program};
use crate::tensor::Shape;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum FaultKind {
    /// The device reports an error.
    Error,
    /// An allocation fails.
    OutOfMemory,
    /// The backend has a bug and panics.
    Panic,
    /// Every seventh number of the op's result is twice what it should be.
    Wrong,
    /// The op takes until the gate is opened.
    Stall(&'static Gate),
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// How many ops run before it.
    pub after_ops: u64,
    /// What goes wrong. It happens once.
    pub kind: FaultKind,
}

/// Fails once, as told; before and after it is the backend inside.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    fault: Option<Fault>,
    ran: AtomicU64,
}

impl<B> Faulty<B> {
    /// Wraps `inner`; without a fault it only passes calls on.
    pub fn new(inner: B, fault: Option<Fault>) -> Self {
        Self { inner, fault, ran: AtomicU64::new(0) }
    }

    /// How many ops have begun.
    pub fn ran(&self) -> u64 {
        self.ran.load(Ordering::SeqCst)
    }
}

delegate_memory_model!(Faulty);

impl<B: Backend> Faulty<B> {
    /// Counts an op, and fails if it is the one that does. Whether its result is to be wrong.
    fn count(&self, program: &Program, op: &Op) -> Result<bool, BackendError> {
        let ran = self.ran.fetch_add(1, Ordering::SeqCst);
        let due = self.fault.filter(|fault| fault.after_ops == ran);
        let device = self.inner.description();
        match due.map(|fault| fault.kind) {
            Some(FaultKind::Wrong) => Ok(true),
            Some(FaultKind::Error) => {
                Err(BackendError::Device { device, message: "injected error".into() })
            }
            Some(FaultKind::OutOfMemory) => {
                let what = format!("`{}` (injected)", program.op_name(op));
                Err(BackendError::OutOfMemory { device, what, requested: 1 << 40 })
            }
            Some(FaultKind::Panic) => panic!("injected panic"),
            Some(FaultKind::Stall(gate)) => {
                gate.pass();
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn spoilt(&self, tensor: &B::Tensor) -> Result<B::Tensor, BackendError> {
        let Shape { height, width, .. } = self.inner.shape(tensor);
        let all = Region::new(0, 0, height as u32, width as u32);
        let mut host = self.inner.download(tensor, all)?;
        host.data_mut().iter_mut().step_by(7).for_each(|value| *value *= 2.0);
        self.inner.upload(&host)
    }
}

impl<B: Backend> Backend for Faulty<B> {
    delegate_backend!();

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &Self::Weights,
        operands: Operands<'_, Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError> {
        let is_wrong = self.count(program, op)?;
        let output = self.inner.run(program, op, weights, operands)?;
        if is_wrong { self.spoilt(&output) } else { Ok(output) }
    }

    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Self::Tensor>,
        so_far: Option<Self::Attention>,
    ) -> Result<Self::Attention, BackendError> {
        self.count(program, op)?;
        self.inner.attend(program, op, operands, so_far)
    }
}
