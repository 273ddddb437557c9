//! What a backend may say of its memory.

use halovae_engine::program::{MemoryModel, Op, Program, ValueId};
use halovae_engine::tensor::Shape;

use crate::input::Input;

/// A memory model that takes the memory of any operand that is as large, and any workspace.
pub(crate) struct Model<'a>(pub(crate) &'a Input);

impl MemoryModel for Model<'_> {
    fn in_place(&self, program: &Program, op: &Op) -> Option<ValueId> {
        let pick = (self.0.reused >> (op.output().index() % 61)) as usize % 4;
        let kind = |id| program.value(id).kind;
        op.inputs().nth(pick).filter(|&id| kind(id) == kind(op.output()))
    }

    fn workspace_bytes(&self, _: &Program, _: &Op, _: &dyn Fn(ValueId) -> Shape) -> u64 {
        self.0.workspace
    }

    fn keeps_workspace(&self) -> bool {
        self.0.time.keeps_workspace
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        program.weight_bytes()
    }
}
