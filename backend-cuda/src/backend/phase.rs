//! Convs over an upsampled input, as convs over the input itself.
//!
//! Of an input whose cells are repeated `u` times along an axis, outputs that begin at the same place of
//! a cell read the same cells with the same taps, and taps that read the same cell can be added
//! beforehand. A 3x3 conv over twice as many rows and columns so becomes four of 2x2 taps: 4 / 9 of the
//! multiplications, and nothing is repeated in memory.

use halovae_engine::program::Conv;

/// Rows and columns of taps that a conv has for one phase of its outputs: all of them without an
/// upsampling.
pub(super) fn taps(conv: &Conv) -> [u32; 2] {
    // The last tap of the last phase.
    conv.kernel().map(|kernel| (conv.upsample() - 1 + kernel - 1) / conv.upsample() + 1)
}

/// Outputs along an axis that begin at the same place of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    /// The place.
    pub(super) at: u32,
    /// The first of the outputs, and how many there are, each `upsample` behind the last one.
    pub(super) first: usize,
    pub(super) count: usize,
    /// The cell that the first one's first tap reads.
    pub(super) cell: i32,
}

/// The phases of so many outputs, the first of which begins at `offset`, counted in repeated cells.
pub(super) fn phases(upsample: u32, offset: i64, outputs: usize) -> impl Iterator<Item = Phase> {
    let up = i64::from(upsample);
    (0..upsample).map(move |at| {
        let first = (i64::from(at) - offset).rem_euclid(up) as usize;
        let count = outputs.saturating_sub(first).div_ceil(upsample as usize);
        let cell = (offset + first as i64).div_euclid(up) as i32;
        Phase { at, first, count, cell }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tap of every output reads the cell that it reads of an input that is repeated.
    #[test]
    fn phases_read_what_the_repeated_input_has() {
        for upsample in 1..=4 {
            for offset in -5..=5 {
                for outputs in 0..=9 {
                    let mut seen = vec![0; outputs];
                    for Phase { at, first, count, cell } in phases(upsample, offset, outputs) {
                        for i in 0..count {
                            let output = first + i * upsample as usize;
                            seen[output] += 1;
                            for tap in 0..3 {
                                let repeated = offset + output as i64 + tap;
                                let read = i64::from(cell)
                                    + i as i64
                                    + (i64::from(at) + tap) / i64::from(upsample);
                                assert_eq!(read, repeated.div_euclid(upsample.into()));
                            }
                        }
                    }
                    assert!(seen.iter().all(|&times| times == 1), "{upsample}, {offset}, {seen:?}");
                }
            }
        }
    }
}
