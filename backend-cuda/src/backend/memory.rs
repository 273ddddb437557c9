//! What ops need besides their values, so that peaks can be estimated.

use halovae_engine::program::{MemoryModel, Op, Program, ValueId};
use halovae_engine::tensor::Shape;

use super::shrink::shrinks;
use super::{CudaBackend, norm, weights};
use crate::store::counted_bytes;
use crate::value::value_bytes;

impl MemoryModel for CudaBackend {
    fn in_place(&self, _program: &Program, op: &Op) -> Option<ValueId> {
        match *op {
            Op::Conv(conv) => conv.residual.or_else(|| shrinks(&conv).then_some(conv.input)),
            Op::NormApply { input, .. } | Op::Silu { input, .. } | Op::Add { a: input, .. } => {
                Some(input)
            }
            _ => None,
        }
    }

    fn value_bytes(&self, shape: Shape) -> u64 {
        counted_bytes(value_bytes(shape, self.store.element()))
    }

    fn workspace_bytes(
        &self,
        _program: &Program,
        op: &Op,
        shapes: &dyn Fn(ValueId) -> Shape,
    ) -> u64 {
        match *op {
            Op::Conv(conv) => self.conv_workspace(&conv, shapes(conv.input)),
            Op::NormStats { input, .. } => counted_bytes(norm::stats_bytes(shapes(input))),
            Op::NormApply { input, .. } => counted_bytes(norm::affine_bytes(shapes(input))),
            Op::Attention { q, k, v, .. } => {
                self.attention_workspace(shapes(q), shapes(k), shapes(v))
            }
            _ => 0,
        }
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        weights::bytes(self, program)
    }
}
