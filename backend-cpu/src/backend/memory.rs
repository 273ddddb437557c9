//! What ops need besides their values, so that peaks can be estimated.

use halovae_engine::program::{MemoryModel, NormOver, Op, Program, ValueId};
use halovae_engine::tensor::Shape;

use super::attention::attention_shape;
use super::conv::padding_of;
use super::{CpuBackend, conv, weights};
use crate::norm;
use crate::simd::Level;

/// What a [`CpuBackend`] runs and what that takes, known without its threads.
#[derive(Clone, Copy, Debug)]
pub struct CpuModel {
    pub(super) level: Level,
    pub(super) threads: usize,
}

impl CpuModel {
    /// Of a backend with so many threads (at least one) and the best instructions of the machine.
    pub fn new(threads: usize) -> Self {
        Self { level: Level::detect(), threads: threads.max(1) }
    }

    /// Whether it runs an op; [`Backend::supports`](halovae_engine::backend::Backend::supports) says
    /// the same.
    pub fn supports(&self, op: &Op) -> bool {
        match op {
            Op::Conv(conv) => conv::supports(conv),
            _ => true,
        }
    }
}

impl MemoryModel for CpuModel {
    fn in_place(&self, _program: &Program, op: &Op) -> Option<ValueId> {
        match *op {
            Op::Conv(conv) => conv.residual,
            Op::NormApply { norm, .. } if matches!(norm.over, NormOver::Layer { .. }) => None,
            Op::NormApply { input, .. }
            | Op::Silu { input, .. }
            | Op::Clamp { input, .. }
            | Op::Add { a: input, .. } => Some(input),
            Op::NormStats { .. }
            | Op::Upsample { .. }
            | Op::Join { .. }
            | Op::Shuffle(_)
            | Op::Attention { .. } => None,
        }
    }

    fn workspace_bytes(
        &self,
        _program: &Program,
        op: &Op,
        shapes: &dyn Fn(ValueId) -> Shape,
    ) -> u64 {
        let threads = self.threads;
        let bytes = match op {
            Op::Conv(conv) => {
                let (read, written) = (shapes(conv.input), shapes(conv.output));
                let size = [written.images(), read.height, read.width];
                let (shape, padding) = (weights::shape_of(conv), padding_of(conv));
                let normed = conv.norm.is_some();
                shape.workspace_bytes(self.level, size, &padding, normed, threads)
            }
            Op::NormStats { input, .. } => norm::workspace_bytes(shapes(*input).channels, threads),
            Op::Attention { q, k, .. } => {
                attention_shape(shapes(*q), shapes(*k)).workspace_bytes(self.level, threads)
            }
            _ => 0,
        };
        bytes as u64
    }

    fn keeps_workspace(&self) -> bool {
        true
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        weights::bytes(self.level, program)
    }
}

impl MemoryModel for CpuBackend {
    fn in_place(&self, program: &Program, op: &Op) -> Option<ValueId> {
        self.model().in_place(program, op)
    }

    fn workspace_bytes(
        &self,
        program: &Program,
        op: &Op,
        shapes: &dyn Fn(ValueId) -> Shape,
    ) -> u64 {
        self.model().workspace_bytes(program, op, shapes)
    }

    fn keeps_workspace(&self) -> bool {
        self.model().keeps_workspace()
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        self.model().prepared_weight_bytes(program)
    }
}
