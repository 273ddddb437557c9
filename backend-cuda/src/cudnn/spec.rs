//! What is multiplied: everything of a product but its addresses.

use cudarc::driver::sys::CUdeviceptr;

use crate::kernels::Element;
use crate::params::Product;
use crate::product::Right;

/// A product, as it is told to cuDNN: extents in elements and positions, and what is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(super) element: Element,
    pub(super) right: Right,
    pub(super) samples: u32,
    /// Elements from one sample of the input to the next; 0 for one sample.
    pub(super) left_sample: u64,
    /// Cells of the input that are read, and those of a row that is there.
    pub(super) cells: [u32; 2],
    pub(super) in_width: u32,
    /// Channels of a cell, and how many of them are multiplied.
    pub(super) channels: u32,
    pub(super) inner: u32,
    pub(super) taps: [u32; 2],
    pub(super) stride: [u32; 2],
    /// Zeros before and behind the cells.
    pub(super) before: [u32; 2],
    pub(super) behind: [u32; 2],
    /// Outputs of a sample.
    pub(super) outputs: [u32; 2],
    /// Positions from one sample (0 for one), row and output to the next.
    pub(super) out_sample: u64,
    pub(super) out_row: u32,
    pub(super) out_step: u32,
    pub(super) columns: u32,
    pub(super) out_f32: bool,
    pub(super) bias: bool,
    pub(super) residual: bool,
    pub(super) decay: bool,
}

/// Where a [`Spec`]'s tensors are; 0 for what it does not have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pointers {
    pub(crate) left: CUdeviceptr,
    pub(crate) right: CUdeviceptr,
    pub(crate) out: CUdeviceptr,
    pub(crate) bias: CUdeviceptr,
    pub(crate) residual: CUdeviceptr,
    pub(crate) decay: CUdeviceptr,
}

/// Along an axis: cells that are skipped and read, zeros before and behind them.
fn axis(cells: u32, offset: i32, taps: u32, stride: u32, outputs: u32) -> Option<[u32; 4]> {
    let skipped = offset.max(0).unsigned_abs();
    let before = offset.min(0).unsigned_abs();
    let present = cells.checked_sub(skipped).filter(|&present| present > 0)?;
    let inside = ((outputs.checked_sub(1)?) * stride + taps).checked_sub(before)?;
    // More zeros than taps are no conv to cuDNN.
    let is_conv = inside > 0 && before < taps && inside < present + taps;
    is_conv.then(|| [skipped, inside.min(present), before, inside.saturating_sub(present)])
}

impl Spec {
    /// `None` for what cuDNN is not asked: f32, since it would multiply in TF32, and sides that are not
    /// there as a whole.
    pub(crate) fn of(
        product: &Product,
        right: Right,
        element: Element,
    ) -> Option<(Self, Pointers)> {
        let p = product;
        let is_whole = right == Right::Values || p.right_valid == p.columns;
        if element == Element::F32 || p.rows == 0 || !is_whole {
            return None;
        }
        let (taps, outputs) = ([p.taps / p.taps_x, p.taps_x], [p.sample_rows / p.width, p.width]);
        let [skipped_y, rows, above, below] =
            axis(p.in_rows, p.offset_y, taps[0], p.stride_y, outputs[0])?;
        let [skipped_x, width, left, right_of] =
            axis(p.in_width, p.offset_x, taps[1], p.stride_x, outputs[1])?;
        let skipped = u64::from(skipped_y) * u64::from(p.in_width) + u64::from(skipped_x);
        let samples = p.rows / p.sample_rows;
        let spec = Self {
            element,
            right,
            samples,
            left_sample: if samples > 1 { p.left_sample } else { 0 },
            cells: [rows, width],
            in_width: p.in_width,
            channels: p.channels,
            inner: if right == Right::Values { p.right_valid } else { p.channels },
            taps,
            stride: [p.stride_y, p.stride_x],
            before: [above, left],
            behind: [below, right_of],
            outputs,
            out_sample: if samples > 1 { p.out_sample } else { 0 },
            out_row: p.out_row,
            out_step: p.out_step,
            columns: p.columns,
            out_f32: p.out_f32 != 0,
            bias: p.bias != 0,
            residual: p.residual != 0,
            decay: p.decay != 0,
        };
        let pointers = Pointers {
            left: p.left + skipped * u64::from(p.channels) * element.bytes(),
            right: p.right,
            out: p.out,
            bias: p.bias,
            residual: p.residual,
            decay: p.decay,
        };
        Some((spec, pointers))
    }

    /// Whether it is rows, one after the other, times a matrix, as attention's products are.
    pub(super) fn is_matmul(&self) -> bool {
        let is_one_row = self.samples == 1 && self.cells[0] == 1 && self.outputs[0] == 1;
        let is_plain = self.taps == [1, 1] && self.stride == [1, 1] && self.out_step == 1;
        is_one_row && is_plain && self.before == [0, 0] && self.behind == [0, 0]
    }

    /// What it has in common with those of other extents, which the same engine is taken for.
    pub(super) fn kind(&self) -> Self {
        let mut kind = Self {
            samples: 0,
            left_sample: 0,
            cells: [0, 0],
            in_width: 0,
            before: [0, 0],
            behind: [0, 0],
            outputs: [0, 0],
            out_sample: 0,
            out_row: 0,
            ..*self
        };
        match (self.is_matmul(), self.right) {
            // As many columns, or channels, as there are keys.
            (true, Right::ByColumn) => kind.columns = 0,
            (_, Right::Values) => [kind.channels, kind.inner] = [0, 0],
            (false, Right::ByColumn) => {}
        }
        kind
    }

    /// Multiplications.
    pub(crate) fn multiplications(&self) -> u64 {
        let [rows, width] = self.outputs.map(u64::from);
        let taps = u64::from(self.taps[0] * self.taps[1]);
        u64::from(self.samples)
            * rows
            * width
            * taps
            * u64::from(self.inner)
            * u64::from(self.columns)
    }

    /// Elements from the first to the last one of the right side and of the result.
    pub(super) fn extents(&self) -> [u64; 2] {
        let last = |extent: u32| u64::from(extent.saturating_sub(1));
        let taps = u64::from(self.taps[0] * self.taps[1]);
        let right = taps * u64::from(self.inner) * u64::from(self.columns);
        let [rows, width] = self.outputs;
        let positions = last(self.samples) * self.out_sample
            + last(rows) * u64::from(self.out_row)
            + last(width) * u64::from(self.out_step)
            + 1;
        [right, positions * u64::from(self.columns)]
    }

    /// Bytes of an element of the result.
    pub(super) fn out_bytes(&self) -> u64 {
        if self.out_f32 { 4 } else { self.element.bytes() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A conv of 3x3 taps, whose staged input has a border of one cell.
    pub(crate) fn conv(channels: [u32; 2], outputs: [u32; 2]) -> Product {
        let [channels, columns] = channels;
        Product {
            left: 1 << 20,
            right: 2 << 20,
            out: 3 << 20,
            bias: 4 << 20,
            out_sample: u64::from(outputs[0] * outputs[1]),
            rows: outputs[0] * outputs[1],
            sample_rows: outputs[0] * outputs[1],
            width: outputs[1],
            out_row: outputs[1],
            out_step: 1,
            columns,
            channels,
            right_valid: columns,
            taps: 9,
            taps_x: 3,
            in_rows: outputs[0] + 2,
            in_width: outputs[1] + 2,
            stride_y: 1,
            stride_x: 1,
            ..Product::default()
        }
    }

    #[test]
    fn an_axis_reads_what_its_taps_do() {
        for cells in 1..6 {
            for offset in -3..4 {
                for taps in 1..4 {
                    for stride in 1..3 {
                        for outputs in 1..6 {
                            check_axis(cells, offset, taps, stride, outputs);
                        }
                    }
                }
            }
        }
    }

    fn check_axis(cells: u32, offset: i32, taps: u32, stride: u32, outputs: u32) {
        let Some([skipped, read, before, behind]) = axis(cells, offset, taps, stride, outputs)
        else {
            return;
        };
        assert!(skipped + read <= cells && read > 0);
        assert_eq!((before + read + behind - taps) / stride + 1, outputs);
        for output in 0..outputs {
            for tap in 0..taps {
                let cell = (output * stride + tap) as i32 + offset;
                let padded = (output * stride + tap) as i32 - before as i32;
                let is_read = (0..read as i32).contains(&padded);
                assert_eq!(
                    is_read,
                    (0..cells as i32).contains(&cell),
                    "output {output}, tap {tap}"
                );
                assert!(!is_read || padded + skipped as i32 == cell);
            }
        }
    }

    #[test]
    fn a_spec_is_the_product_that_it_is_of() {
        let mut product = conv([32, 64], [10, 12]);
        let (spec, at) = Spec::of(&product, Right::ByColumn, Element::Bf16).unwrap();
        assert_eq!((spec.cells, spec.before, spec.behind), ([12, 14], [0, 0], [0, 0]));
        assert_eq!(at.left, product.left);
        assert_eq!(spec.multiplications(), 10 * 12 * 9 * 32 * 64);
        assert_eq!(spec.extents(), [9 * 32 * 64, 10 * 12 * 64]);
        // A band is the same in any picture.
        let taller = Product { out_sample: 4000, left_sample: 7, ..product };
        assert_eq!(Spec::of(&taller, Right::ByColumn, Element::Bf16).unwrap().0, spec);
        // One cell further on, with one column less to read.
        product.offset_x = 1;
        product.width = 11;
        product.rows = 110;
        product.sample_rows = 110;
        let (spec, at) = Spec::of(&product, Right::ByColumn, Element::Bf16).unwrap();
        assert_eq!((spec.cells, at.left), ([12, 13], product.left + 64));
        assert_eq!(
            spec.kind(),
            Spec::of(&conv([32, 64], [7, 9]), Right::ByColumn, Element::Bf16).unwrap().0.kind()
        );
        assert!(Spec::of(&product, Right::ByColumn, Element::F32).is_none());
        product.right_valid = 56;
        assert!(Spec::of(&product, Right::ByColumn, Element::F16).is_none());
    }
}
