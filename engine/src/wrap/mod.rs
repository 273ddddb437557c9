//! Backends around backends: one that measures, one that fails on purpose; and a group around a
//! group, which counts.

mod count;
mod fault;
mod gate;
mod trace;

pub use crate::group::Sent;
pub use count::Counted;
pub use fault::{Fault, FaultKind, Faulty};
pub use gate::Gate;
pub use trace::{OpRecord, Traced};

/// Implements what both wrappers leave to the backend inside.
macro_rules! delegate_memory_model {
    ($wrapper:ident) => {
        impl<B: $crate::backend::Backend> $crate::program::MemoryModel for $wrapper<B> {
            fn in_place(
                &self,
                program: &$crate::program::Program,
                op: &$crate::program::Op,
            ) -> Option<$crate::program::ValueId> {
                self.inner.in_place(program, op)
            }

            fn value_bytes(&self, shape: $crate::tensor::Shape) -> u64 {
                self.inner.value_bytes(shape)
            }

            fn workspace_bytes(
                &self,
                program: &$crate::program::Program,
                op: &$crate::program::Op,
                shapes: &dyn Fn($crate::program::ValueId) -> $crate::tensor::Shape,
            ) -> u64 {
                self.inner.workspace_bytes(program, op, shapes)
            }

            fn keeps_workspace(&self) -> bool {
                self.inner.keeps_workspace()
            }

            fn prepared_weight_bytes(&self, program: &$crate::program::Program) -> u64 {
                self.inner.prepared_weight_bytes(program)
            }
        }
    };
}

/// Implements the methods of `Backend` that a wrapper passes on, all but `run` and `attend`.
macro_rules! delegate_backend {
    () => {
        type Tensor = B::Tensor;
        type Weights = B::Weights;
        type Attention = B::Attention;

        fn name(&self) -> &'static str {
            self.inner.name()
        }

        fn device(&self) -> $crate::backend::DeviceId {
            self.inner.device()
        }

        fn description(&self) -> String {
            self.inner.description()
        }

        fn tuning(&self) -> std::time::Duration {
            self.inner.tuning()
        }

        fn supports(&self, program: &Program, op: &Op) -> bool {
            self.inner.supports(program, op)
        }

        fn prepare(
            &self,
            program: &Program,
            source: &dyn $crate::backend::WeightSource,
        ) -> Result<Self::Weights, BackendError> {
            self.inner.prepare(program, source)
        }

        fn upload(
            &self,
            tensor: &$crate::tensor::HostTensor,
        ) -> Result<Self::Tensor, BackendError> {
            self.inner.upload(tensor)
        }

        fn download(
            &self,
            tensor: &Self::Tensor,
            region: halovae_core::Region,
        ) -> Result<$crate::tensor::HostTensor, BackendError> {
            self.inner.download(tensor, region)
        }

        fn shape(&self, tensor: &Self::Tensor) -> $crate::tensor::Shape {
            self.inner.shape(tensor)
        }

        fn held_bytes(&self, tensor: &Self::Tensor) -> u64 {
            self.inner.held_bytes(tensor)
        }

        fn holds_frames(&self) -> bool {
            self.inner.holds_frames()
        }

        fn gather(
            &self,
            parts: &[(&Self::Tensor, std::ops::Range<usize>)],
        ) -> Result<Self::Tensor, BackendError> {
            self.inner.gather(parts)
        }

        fn attended(&self, attention: Self::Attention) -> Result<Self::Tensor, BackendError> {
            self.inner.attended(attention)
        }

        fn synchronize(&self) -> Result<(), BackendError> {
            self.inner.synchronize()
        }

        fn timer(&self) -> Result<Option<Box<dyn $crate::backend::Timer>>, BackendError> {
            self.inner.timer()
        }

        fn memory(&self) -> $crate::backend::Memory {
            self.inner.memory()
        }

        fn reset_peak(&self) {
            self.inner.reset_peak();
        }
    };
}

use {delegate_backend, delegate_memory_model};
