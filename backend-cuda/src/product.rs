//! Our own kernel for products: which tile it runs in, and how it is called.

use cudarc::driver::sys::CUdeviceptr;
use halovae_engine::backend::BackendError;

use crate::kernels::{
    HOPPER_COLUMNS, HOPPER_ROWS, Kernel, PRODUCT_COLUMNS, PRODUCT_ROWS, hopper_cells,
};
use crate::params::{HopperProduct, Product};
use crate::store::Store;
use crate::tensor_map::{Axis, tensor_map};

/// Channels that Hopper's kernel multiplies in one step.
const HOPPER_STEP: u32 = 64;

/// How the right side of a product lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    /// `[columns][taps][channels]`: kernels of convs, and attention's keys.
    ByColumn,
    /// `[channels][columns]`: attention's values.
    Values,
}

impl Store {
    /// Runs a product by our own kernel; its column tiles are chosen here.
    pub(crate) fn product(&self, product: Product, right: Right) -> Result<(), BackendError> {
        if self.shared.uses_hopper && right == Right::ByColumn && is_for_hopper(&product) {
            return self.hopper_product(product, 0);
        }
        // A tile of 128 columns would be empty for the most part.
        let (kernel, columns) = match (right, product.columns) {
            (Right::ByColumn, ..=64) => (Kernel::Product32, 32),
            (Right::ByColumn, _) => (Kernel::Product128, PRODUCT_COLUMNS as u32),
            (Right::Values, ..=64) => (Kernel::Values32, 32),
            (Right::Values, _) => (Kernel::Values128, PRODUCT_COLUMNS as u32),
        };
        let column_tiles = product.columns.div_ceil(columns);
        let row_tiles = u64::from(product.rows).div_ceil(PRODUCT_ROWS as u64);
        let product = Product { column_tiles, ..product };
        self.launch(kernel, &product, row_tiles * u64::from(column_tiles))
    }

    /// Scores of attention by Hopper's kernel: by row and tile of [`HOPPER_COLUMNS`] columns the largest one goes to
    /// `largest`, and what the others are below it goes out as f16.
    pub(crate) fn scores(
        &self,
        product: Product,
        largest: CUdeviceptr,
    ) -> Result<(), BackendError> {
        self.hopper_product(product, largest)
    }

    /// Runs a product by Hopper's kernel, sample by sample; [scores](Self::scores) if there is a place for the
    /// largest ones.
    fn hopper_product(&self, product: Product, largest: CUdeviceptr) -> Result<(), BackendError> {
        let many = HOPPER_COLUMNS as u32;
        // With blocks that fit on a multiprocessor.
        let (kernel, columns, fit) = match (product.columns, product.taps_x) {
            _ if largest != 0 => (Kernel::Scores, many, 1),
            (..=8, _) => (Kernel::Narrow3, 8, 2),
            (_, 1) => (Kernel::Hopper1, many, 1),
            (_, 2) => (Kernel::Hopper2, many, 1),
            (_, _) => (Kernel::Hopper3, many, 1),
        };
        let column_tiles = product.columns.div_ceil(columns);
        let outputs = counted_outputs(&product);
        let tiles = outputs.div_ceil(HOPPER_ROWS as u64) * u64::from(column_tiles);
        // Each makes one tile after the other.
        let blocks = tiles.min(fit * u64::from(self.shared.entry.multiprocessors));
        let stored = self.element().bytes();
        let out_bytes = if product.out_f32 != 0 { 4 } else { stored } * u64::from(product.columns);
        let channels = Axis { extent: product.channels.into(), of_box: HOPPER_STEP };
        let cells = Axis {
            extent: u64::from(product.in_rows) * u64::from(product.in_width),
            of_box: hopper_cells(product.taps_x) / 2,
        };
        let taps = Axis { extent: product.taps.into(), of_box: 1 };
        let right_columns = Axis { extent: product.right_valid.into(), of_box: columns };
        let shared = &self.shared;
        let map = |address, axes: &[Axis]| {
            tensor_map(self.element(), address, axes).map_err(|error| shared.error(error))
        };
        let right = map(product.right, &[channels, taps, right_columns])?;
        for sample in 0..u64::from(product.rows / product.sample_rows) {
            let out = sample * product.out_sample * out_bytes;
            let left = product.left + sample * product.left_sample * stored;
            let product = Product {
                left,
                out: product.out + out,
                residual: if product.residual == 0 { 0 } else { product.residual + out },
                rows: product.sample_rows,
                column_tiles,
                tiles: tiles as u32,
                ..product
            };
            let left = map(left, &[channels, cells])?;
            self.launch(kernel, &HopperProduct { left, right, product, largest }, blocks)?;
        }
        Ok(())
    }
}

/// Outputs of a sample, with those that are counted beyond the end of a row of fewer outputs than cells.
fn counted_outputs(product: &Product) -> u64 {
    let rows = u64::from(product.sample_rows / product.width);
    (rows - 1) * u64::from(product.in_width) + u64::from(product.width)
}

/// Whether Hopper's kernel can do a product, and does not waste most of it: a window of cells that are all
/// there, each of them next to the last one.
fn is_for_hopper(product: &Product) -> bool {
    let p = product;
    let fits = |offset: i32, outputs: u32, taps: u32, cells: u32| {
        u32::try_from(offset).is_ok_and(|offset| {
            u64::from(offset) + u64::from(outputs) + u64::from(taps) <= u64::from(cells) + 1
        })
    };
    let is_one_sample = p.rows == p.sample_rows || p.decay == 0;
    let cells = u64::from(p.in_rows) * u64::from(p.in_width);
    (p.columns > 64 || (p.columns <= 8 && p.taps_x == 3))
        && p.rows > 0
        && [p.stride_y, p.stride_x] == [1, 1]
        && p.taps_x <= 3
        && is_one_sample
        && fits(p.offset_y, p.sample_rows / p.width, p.taps / p.taps_x, p.in_rows)
        && fits(p.offset_x, p.width, p.taps_x, p.in_width)
        && 2 * p.width > p.in_width
        // It counts in 32 bits.
        && cells <= 1 << 31
        && u64::from(p.sample_rows / p.width) * u64::from(p.out_row) < 1 << 32
}

/// A plain product of `rows` rows of `channels` elements, one after the other. What is there of the right
/// side is still to be said.
pub(crate) fn plain(rows: usize, channels: usize, columns: usize) -> Product {
    let rows = rows as u32;
    Product {
        rows,
        sample_rows: rows,
        width: rows,
        out_row: rows,
        out_step: 1,
        columns: columns as u32,
        channels: channels as u32,
        taps: 1,
        taps_x: 1,
        in_rows: 1,
        in_width: rows,
        stride_y: 1,
        stride_x: 1,
        ..Product::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cudnn::tests_of_spec::conv;

    /// A staged input has a border, and cells without one are not all there.
    #[test]
    fn windows_of_cells_that_are_there_are_for_hopper() {
        let staged = conv([128, 256], [60, 64]);
        assert!(is_for_hopper(&staged));
        assert_eq!(counted_outputs(&staged), 59 * 66 + 64);
        assert!(is_for_hopper(&Product { columns: 8, ..staged }));
        assert!(is_for_hopper(&Product { offset_y: 1, in_rows: staged.in_rows + 1, ..staged }));
        for other in [
            Product { offset_x: -1, ..staged },
            Product { offset_y: 1, ..staged },
            Product { in_rows: staged.in_rows - 1, ..staged },
            Product { in_width: staged.in_width - 1, ..staged },
            Product { stride_x: 2, in_width: 2 * staged.in_width, ..staged },
            Product { in_width: 2 * staged.width, ..staged },
            Product { columns: 64, ..staged },
            Product { taps: 15, taps_x: 5, in_width: staged.in_width + 2, ..staged },
            Product { rows: 0, ..staged },
        ] {
            assert!(!is_for_hopper(&other), "{other:?}");
        }
        let matrix = plain(1000, 512, 72);
        assert!(is_for_hopper(&matrix));
        assert_eq!(counted_outputs(&matrix), 1000);
        assert!(!is_for_hopper(&Product { columns: 8, ..matrix }));
    }
}
