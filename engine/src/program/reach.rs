//! What a conv reads for some of its outputs.

use std::ops::Range;

use super::Conv2d;

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
    /// What `outputs` read along `axis`: 0 for rows, 1 for columns.
    pub fn new(conv: &Conv2d, axis: usize, outputs: &Range<usize>) -> Self {
        let before = [conv.padding.top, conv.padding.left][axis];
        let stride = i64::from(conv.stride[axis]);
        let factor = i64::from(conv.upsample);
        let first = outputs.start as i64 * stride - i64::from(before);
        let last = (outputs.end as i64 - 1) * stride - i64::from(before)
            + i64::from(conv.kernel[axis] - 1);
        let low = first.div_euclid(factor);
        let len = (last.div_euclid(factor) - low + 1) as usize;
        Self { low, len, offset: (first - low * factor) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Op, ProgramBuilder};

    #[test]
    fn reach_of_taps_strides_and_upsampling() {
        let mut config = ProgramBuilder::new(4).unwrap();
        let latents = config.latents();
        let out = config.conv("conv", latents, 8, 3).unwrap();
        let program = config.finish(out).unwrap();
        let Op::Conv2d(mut conv) = program.ops()[0] else { panic!() };
        assert_eq!(Reach::new(&conv, 0, &(0..4)), Reach { low: -1, len: 6, offset: 0 });
        conv.upsample = 2;
        // Rows -1..=4 of the upsampled image lie in rows -1..=2.
        assert_eq!(Reach::new(&conv, 0, &(0..4)), Reach { low: -1, len: 4, offset: 1 });
        assert_eq!(Reach::new(&conv, 0, &(1..2)), Reach { low: 0, len: 2, offset: 0 });
        conv.upsample = 1;
        conv.stride = [2, 2];
        assert_eq!(Reach::new(&conv, 1, &(1..3)), Reach { low: 1, len: 5, offset: 0 });
    }
}
