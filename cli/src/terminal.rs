//! Whether a person sees what is written to stdout and stderr.

use std::io::{self, IsTerminal};

use crate::launcher;

/// Whether stdout is a terminal, as far as can be told: `mpirun` gives its processes one of its own, and
/// passes on what they write to it.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal() && !launcher::passes_output_on()
}

/// Whether a person sees what is written to stderr.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal() && !launcher::passes_output_on()
}
