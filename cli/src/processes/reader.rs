//! What a reader that has enough of the output means for the other processes.

use std::io;

use halovae::Shape;
use halovae::engine::group::{Cause, Failure, ProcessGroup};
use halovae::{RowsAt, Sink};

use super::Processes;

/// Hands rows on, and tells all processes if their reader has left: before the decode fails for
/// it, which would be a failure of this rank to the others.
pub(crate) struct ToReader<'a> {
    sink: &'a mut dyn Sink,
    group: &'a dyn ProcessGroup,
}

impl Processes {
    /// The sink of rank 0.
    pub(crate) fn to_reader<'a>(&'a self, sink: &'a mut dyn Sink) -> ToReader<'a> {
        ToReader { sink, group: self.group() }
    }
}

impl ToReader<'_> {
    fn told(&self, written: io::Result<()>) -> io::Result<()> {
        written.inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                tell(self.group);
            }
        })
    }
}

impl Sink for ToReader<'_> {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        let begun = self.sink.begin(shape);
        self.told(begun)
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let written = self.sink.write_rows(at, rows);
        self.told(written)
    }
}

/// Ends the group in peace; the first end stays.
pub(super) fn tell(group: &dyn ProcessGroup) {
    let cause = Cause::Enough;
    group.watch().fail(Failure { rank: group.rank(), piece: None, op: None, cause });
}
