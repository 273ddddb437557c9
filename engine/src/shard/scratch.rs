//! A file for tensors that do not fit memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytemuck::{cast_slice, cast_slice_mut};

/// Where a tensor lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    start: u64,
    bytes: u64,
}

/// A file without a name: the system deletes it when it is closed, however the process ends.
#[derive(Debug)]
pub(super) struct ScratchFile {
    file: File,
    end: u64,
    /// Stretches that were given back, none beside another, by their start.
    free: Vec<Extent>,
}

impl ScratchFile {
    /// A new file in `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, end: 0, free: Vec::new() })
    }

    /// Stores values.
    pub(super) fn write(&mut self, values: &[f32]) -> io::Result<Extent> {
        let extent = self.allocate(4 * values.len() as u64);
        self.file.seek(SeekFrom::Start(extent.start))?;
        self.file.write_all(cast_slice(values))?;
        Ok(extent)
    }

    /// Reads `out.len()` values, the first of them `from` values behind the beginning of what was
    /// stored.
    pub(super) fn read(&mut self, extent: Extent, from: u64, out: &mut [f32]) -> io::Result<()> {
        let bytes = cast_slice_mut(out);
        assert!(4 * from + bytes.len() as u64 <= extent.bytes, "read beyond what was stored");
        self.file.seek(SeekFrom::Start(extent.start + 4 * from))?;
        self.file.read_exact(bytes)
    }

    /// Gives the place back.
    pub(super) fn free(&mut self, extent: Extent) {
        let at = self.free.partition_point(|other| other.start < extent.start);
        self.free.insert(at, extent);
        // With the one behind, then with the one before.
        for at in [at, at.wrapping_sub(1)] {
            if let (Some(&a), Some(&b)) = (self.free.get(at), self.free.get(at.wrapping_add(1)))
                && a.start + a.bytes == b.start
            {
                self.free[at].bytes += b.bytes;
                self.free.remove(at + 1);
            }
        }
    }

    /// The smallest free stretch that is large enough, else new room at the end.
    fn allocate(&mut self, bytes: u64) -> Extent {
        let fits = |extent: &Extent| extent.bytes >= bytes;
        let best = (0..self.free.len())
            .filter(|&at| fits(&self.free[at]))
            .min_by_key(|&at| self.free[at].bytes);
        if let Some(at) = best {
            let found = &mut self.free[at];
            let extent = Extent { start: found.start, bytes };
            found.start += bytes;
            found.bytes -= bytes;
            if found.bytes == 0 {
                self.free.remove(at);
            }
            return extent;
        }
        let extent = Extent { start: self.end, bytes };
        self.end += bytes;
        extent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is stored and given back in whatever order: what is stored stays as it was, and
        /// once everything is given back, the room is one piece again.
        #[test]
        fn what_is_stored_stays(
            steps in prop::collection::vec((any::<bool>(), 1usize..40, any::<u16>()), 1..60),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut scratch = ScratchFile::new(folder.path()).unwrap();
            let mut held: Vec<(Extent, Vec<f32>)> = Vec::new();
            for (add, len, pick) in steps {
                if add || held.is_empty() {
                    let values: Vec<f32> = (0..len).map(|i| f32::from(pick) + i as f32).collect();
                    held.push((scratch.write(&values).unwrap(), values));
                } else {
                    let (extent, _) = held.swap_remove(usize::from(pick) % held.len());
                    scratch.free(extent);
                }
                for (extent, values) in &held {
                    let from = values.len() / 2;
                    let mut read = vec![0.0; values.len() - from];
                    scratch.read(*extent, from as u64, &mut read).unwrap();
                    prop_assert_eq!(&read, &values[from..]);
                }
            }
            for (extent, _) in held.drain(..) {
                scratch.free(extent);
            }
            let all = Extent { start: 0, bytes: scratch.end };
            prop_assert_eq!(scratch.free, [all]);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
