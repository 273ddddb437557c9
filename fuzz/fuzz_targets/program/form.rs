//! What holds for the ops of any program.

use std::collections::HashSet;

use halovae_engine::program::Program;

/// Every value is written once, before it is read.
pub(crate) fn well_formed(program: &Program) {
    let mut written = HashSet::from([program.input()]);
    for op in program.ops() {
        assert!(op.inputs().all(|value| written.contains(&value)), "{op:?} reads too early");
        assert!(written.insert(op.output()), "{op:?} writes again");
    }
    assert!(written.contains(&program.output()));
}

/// No two weights are the same part of the same tensor.
pub(crate) fn reads_every_weight_once(program: &Program) {
    let parts: HashSet<_> = program.weights().iter().map(|spec| (&spec.name, spec.part)).collect();
    assert_eq!(parts.len(), program.weights().len(), "a weight that is read twice");
}
