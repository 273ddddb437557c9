//! What a conv reads for some of its outputs.

use std::ops::Range;

use halovae_core::Axis;

use super::Conv;

/// What some outputs of one axis read, in cells of the conv's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The first cell; before 0 lies padding or a halo.
    pub low: i64,
    /// Cells.
    pub len: usize,
    /// Where in that cell, upsampled, the first tap of the first output lies.
    pub offset: u32,
}

impl Reach {
    /// What `outputs` read along `axis`.
    pub fn new(conv: &Conv, axis: Axis, outputs: &Range<usize>) -> Self {
        let window = &conv.windows[axis];
        let cells = window.cells(&(outputs.start as u64..outputs.end as u64));
        let first = window.first(outputs.start as i64);
        Self {
            low: cells.start,
            len: (cells.end - cells.start) as usize,
            offset: (first - cells.start * i64::from(window.repeat)) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use halovae_core::Window;

    use super::*;
    use crate::program::{Op, ProgramBuilder};

    #[test]
    fn reach_of_taps_strides_and_upsampling() {
        let mut config = ProgramBuilder::new(4).unwrap();
        let latents = config.latents();
        let out = config.conv("conv", latents, 8, 3).unwrap();
        let program = config.finish(out).unwrap();
        let Op::Conv(mut conv) = program.ops()[0] else { panic!() };
        assert_eq!(Reach::new(&conv, Axis::Height, &(0..4)), Reach { low: -1, len: 6, offset: 0 });
        conv.windows = conv.windows.map(|window| Window { repeat: 2, ..window });
        // Rows -1..=4 of the upsampled image lie in rows -1..=2.
        assert_eq!(Reach::new(&conv, Axis::Height, &(0..4)), Reach { low: -1, len: 4, offset: 1 });
        assert_eq!(Reach::new(&conv, Axis::Height, &(1..2)), Reach { low: 0, len: 2, offset: 0 });
        conv.windows = conv.windows.map(|window| Window { repeat: 1, stride: 2, ..window });
        assert_eq!(Reach::new(&conv, Axis::Width, &(1..3)), Reach { low: 1, len: 5, offset: 0 });
    }
}
