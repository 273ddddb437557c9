//! A backend that fails on purpose, so that what happens then is tested.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{delegate_backend, delegate_memory_model};
use crate::backend::{Backend, BackendError, Operands};
use crate::program::{Op, Program};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device reports an error.
    Error,
    /// An allocation fails.
    OutOfMemory,
    /// The backend has a bug and panics.
    Panic,
    /// The op takes that much longer.
    Stall(Duration),
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

delegate_memory_model!(Faulty);

impl<B: Backend> Faulty<B> {
    /// Counts an op, and fails if it is the one that does.
    fn count(&self, program: &Program, op: &Op) -> Result<(), BackendError> {
        let ran = self.ran.fetch_add(1, Ordering::SeqCst);
        let due = self.fault.filter(|fault| fault.after_ops == ran);
        let device = self.inner.description();
        match due.map(|fault| fault.kind) {
            Some(FaultKind::Error) => {
                Err(BackendError::Device { device, message: "injected error".into() })
            }
            Some(FaultKind::OutOfMemory) => {
                let what = format!("`{}` (injected)", program.op_name(op));
                Err(BackendError::OutOfMemory { device, what, requested: 1 << 40 })
            }
            Some(FaultKind::Panic) => panic!("injected panic"),
            Some(FaultKind::Stall(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
            None => Ok(()),
        }
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
        self.count(program, op)?;
        self.inner.run(program, op, weights, operands)
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
