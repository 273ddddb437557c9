//! What ops need besides their values, so that peaks can be estimated.

use halovae_engine::program::{MemoryModel, Op, Program, ValueId};
use halovae_engine::tensor::Shape;

use super::{WgpuBackend, norm, weights};
use crate::layout::Element;
use crate::options::Precision;
use crate::store::block_bytes;

impl WgpuBackend {
    /// What values and kernels are stored as.
    pub(super) fn element(&self) -> Element {
        match self.shared.options.precision {
            Precision::F32 => Element::F32,
            Precision::F16 => Element::F16,
        }
    }
}

impl MemoryModel for WgpuBackend {
    fn in_place(&self, _program: &Program, op: &Op) -> Option<ValueId> {
        match *op {
            Op::Conv(conv) => conv.residual,
            Op::NormApply { input, .. } | Op::Silu { input, .. } | Op::Add { a: input, .. } => {
                Some(input)
            }
            _ => None,
        }
    }

    fn value_bytes(&self, shape: Shape) -> u64 {
        // Channels that fill up to fours count where there are so few that they matter.
        self.store.layout(shape).checked_bytes().unwrap_or(u64::MAX)
    }

    fn workspace_bytes(
        &self,
        _program: &Program,
        op: &Op,
        shapes: &dyn Fn(ValueId) -> Shape,
    ) -> u64 {
        match *op {
            Op::Conv(conv) => self.conv_workspace(&conv, shapes(conv.input)),
            Op::NormStats { input, .. } => {
                let layout = self.store.layout(shapes(input));
                norm::stats_bytes(&layout).into_iter().map(block_bytes).sum()
            }
            Op::NormApply { input, .. } => {
                let shape = shapes(input);
                block_bytes(norm::affine_bytes(shape.batch, shape.channels))
            }
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
