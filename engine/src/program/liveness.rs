//! When values die, and how much memory a decode needs at its worst moment.

use super::{Geometry, Op, Program, ValueId};
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

    /// Whether nothing reads `value` after the op at place `op`.
    pub fn dies_at(&self, value: ValueId, op: usize) -> bool {
        self.last_reader[value.index()] == op
    }

    /// The most bytes of values and workspace that are held at once, weights not counted.
    pub fn peak_bytes(
        &self,
        program: &Program,
        geometry: &Geometry,
        model: &dyn MemoryModel,
    ) -> u64 {
        // Bytes of a value stop at u64::MAX; their sums must not, or freeing one would underflow.
        let bytes = |id: ValueId| u128::from(model.value_bytes(geometry.shape(id)));
        // Of the memory that each value lies in.
        let mut held = vec![0; program.values.len()];
        held[program.input.index()] = bytes(program.input);
        let mut live = bytes(program.input);
        let mut peak = live;
        for (index, op) in program.ops.iter().enumerate() {
            let reused = model
                .in_place(program, op)
                .filter(|&id| self.dies_at(id, index) && op.count_reads(id) == 1);
            let workspace = model.workspace_bytes(program, op, &|id| geometry.shape(id));
            held[op.output().index()] = match reused {
                Some(id) => held[id.index()],
                None => bytes(op.output()),
            };
            if reused.is_none() {
                live += held[op.output().index()];
            }
            peak = peak.max(live + u128::from(workspace));
            let mut freed = [None; 3];
            for (slot, id) in op.inputs().enumerate() {
                let again = freed.contains(&Some(id));
                if self.dies_at(id, index) && Some(id) != reused && !again {
                    live -= held[id.index()];
                    freed[slot] = Some(id);
                }
            }
        }
        u64::try_from(peak).unwrap_or(u64::MAX)
    }
}
