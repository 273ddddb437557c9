//! Runs a program on one backend.

use crate::backend::{Backend, BackendError, Operand, Operands};
use crate::program::{Liveness, Program};

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop<E> {
    /// An op failed.
    Op {
        /// Its name, as in the checkpoint.
        name: String,
        /// What the backend said.
        error: BackendError,
    },
    /// The caller asked for it between two ops.
    Asked(E),
}

/// What a device says of a decode that it repeats: of which op it is, it does not know.
impl<E> From<BackendError> for Stop<E> {
    fn from(error: BackendError) -> Self {
        Self::Op { name: "a repeated decode".into(), error }
    }
}

/// Runs `program` on `input` and gives its output.
///
/// `proceed` is called before each op with the op's place, and an error from it ends the run:
/// that is how a cancelled or failed decode stops within one op. A value is freed, or its memory
/// handed to the output, when its last reader runs.
///
/// # Errors
/// [`Stop`].
pub fn execute<B: Backend, E>(
    backend: &B,
    program: &Program,
    weights: &B::Weights,
    input: B::Tensor,
    mut proceed: impl FnMut(usize) -> Result<(), E>,
) -> Result<B::Tensor, Stop<E>> {
    let liveness = Liveness::new(program);
    let mut values: Vec<Option<B::Tensor>> = Vec::new();
    values.resize_with(program.values().len(), || None);
    values[program.input().index()] = Some(input);
    for (index, op) in program.ops().iter().enumerate() {
        proceed(index).map_err(Stop::Asked)?;
        let dying = |id| liveness.dies_at(id, index) && op.count_reads(id) == 1;
        let mut owned: [Option<B::Tensor>; 3] = [const { None }; 3];
        for (slot, id) in op.inputs().enumerate() {
            if dying(id) {
                owned[slot] = values[id.index()].take();
            }
        }
        let operands = op.inputs().zip(owned).map(|(id, owned)| match owned {
            Some(tensor) => Operand::Owned(tensor),
            None => Operand::Shared(
                values[id.index()].as_ref().expect("a value is written before it is read"),
            ),
        });
        let output = backend
            .run(program, op, weights, Operands::new(operands))
            .map_err(|error| Stop::Op { name: program.op_name(op).to_owned(), error })?;
        for id in op.inputs().filter(|&id| liveness.dies_at(id, index)) {
            values[id.index()] = None;
        }
        values[op.output().index()] = Some(output);
    }
    Ok(values[program.output().index()].take().expect("a program writes its output"))
}
