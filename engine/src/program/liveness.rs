//! When values die, and what a backend needs besides them.

use std::ops::Range;

use super::{Op, Program, ValueId};
use crate::tensor::Shape;

/// What a backend needs besides the values themselves; estimates are made with it.
pub trait MemoryModel {
    /// The operand whose memory the output of `op` takes when `op` is its last reader. If the output is
    /// smaller, the memory stays as large as it was.
    fn in_place(&self, program: &Program, op: &Op) -> Option<ValueId>;

    /// Bytes of a value of `shape` on the device: f32, unless the backend stores something else.
    fn value_bytes(&self, shape: Shape) -> u64 {
        shape.bytes()
    }

    /// Bytes that `op` needs only while it runs. `shapes` gives the extents of every value.
    fn workspace_bytes(&self, program: &Program, op: &Op, shapes: &dyn Fn(ValueId) -> Shape)
    -> u64;

    /// Whether workspace stays for the ops that follow, so that each of them holds as much as the
    /// most that one before it needed.
    fn keeps_workspace(&self) -> bool {
        false
    }

    /// Bytes of the prepared weights on the device.
    fn prepared_weight_bytes(&self, program: &Program) -> u64;
}

/// For each op, which values it is the last to read.
#[derive(Clone, Debug)]
pub struct Liveness {
    last_reader: Vec<usize>,
}

impl Liveness {
    /// Finds the last reader of every value. The output is never freed.
    pub fn new(program: &Program) -> Self {
        let mut last_reader = vec![usize::MAX; program.values.len()];
        for (index, op) in program.ops.iter().enumerate() {
            for value in op.inputs() {
                last_reader[value.index()] = index;
            }
        }
        last_reader[program.output.index()] = usize::MAX;
        Self { last_reader }
    }

    /// Whether the last op that reads `value` is one of `ops`.
    pub fn dies_within(&self, value: ValueId, ops: &Range<usize>) -> bool {
        ops.contains(&self.last_reader[value.index()])
    }
}
