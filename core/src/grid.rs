//! What is numbered along three axes, and iterators over what has a number.

use crate::Axes;

/// Where item `index` lies among `counts` items along the axes, in the order of time, rows and
/// columns; `None` if there are fewer. Their product fits `u64`.
pub(crate) fn place(index: u64, counts: Axes<u32>) -> Option<Axes<u32>> {
    let Axes { time: slices, height: rows, width: cols } = counts.map(u64::from);
    if index >= slices * (rows * cols) {
        return None;
    }
    // Divisions are what this takes, and an image has one slice.
    let slice = if slices == 1 { 0 } else { index / (rows * cols) };
    let in_slice = index - slice * (rows * cols);
    let row = in_slice / cols;
    // Each place is below its axis' count, which is u32.
    Some(Axes::new(slice as u32, row as u32, (in_slice - row * cols) as u32))
}

/// The hint of an iterator with exactly `left` items, which may exceed `usize`.
pub(crate) fn size_hint(left: u64) -> (usize, Option<usize>) {
    match usize::try_from(left) {
        Ok(left) => (left, Some(left)),
        Err(_) => (usize::MAX, None),
    }
}

/// Implements `Iterator` for a type with an `owner` that has an item for each number below `$count`,
/// and with the `next` number.
macro_rules! iterate_by_index {
    ($iterator:ident: $item:ident, $at:ident of $count:ident) => {
        impl Iterator for $iterator {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                let item = self.owner.$at(self.next)?;
                self.next += 1;
                Some(item)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                $crate::grid::size_hint(u64::from(self.owner.$count() - self.next))
            }
        }

        impl core::iter::FusedIterator for $iterator {}
    };
}

pub(crate) use iterate_by_index;
