//! Our own kernel for products: which tile it runs in, and how it is called.

use halovae_engine::backend::BackendError;

use crate::kernels::{Kernel, PRODUCT_COLUMNS, PRODUCT_ROWS};
use crate::params::Product;
use crate::store::Store;

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
