//! The product kernel: how it is cut into register tiles, and how it is called.

use halovae_engine::backend::BackendError;
use wgpu::Buffer;

use super::WgpuBackend;
use crate::kernels::Shader;
use crate::record::{Dispatch, spread};
use crate::template::names;

/// A call of `product.wgsl`; its head says what the numbers are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
    pub(super) left: usize,
    pub(super) left_row: usize,
    pub(super) right: usize,
    pub(super) out: usize,
    /// The last row of the right side, if there are fewer than `4 * channels`.
    pub(super) last: Option<usize>,
    pub(super) conv: Option<Taps>,
    pub(super) out_f32: bool,
    pub(super) residual: bool,
}

/// What a conv adds to a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    pub(super) taps: [usize; 2],
    pub(super) width: usize,
    pub(super) stride: [u32; 2],
    pub(super) offset: [u32; 2],
    pub(super) upsample: u32,
}

/// What is added to each result, or done to what was there.
#[derive(Clone, Copy, Debug)]
pub(super) enum After<'a> {
    Nothing,
    Bias(&'a Buffer),
    /// What is there is multiplied by its row's factor and stays.
    Decay(&'a Buffer),
}

impl WgpuBackend {
    pub(super) fn product(
        &self,
        product: Product,
        [left, right, out]: [&Buffer; 3],
        after: After<'_>,
    ) -> Result<(), BackendError> {
        let taps = product.conv.unwrap_or(Taps {
            taps: [1, 1],
            width: 1,
            stride: [1, 1],
            offset: [0, 0],
            upsample: 1,
        });
        let tile = [8, 4, 2, 1].into_iter().find(|tile| product.columns.is_multiple_of(*tile));
        let (tile_m, tile_n) = (4, tile.expect("everything is a multiple of 1"));
        let group = 64;
        let names = names([
            ("TM", tile_m),
            ("TN", tile_n as u32),
            ("WG", group),
            ("CONV", product.conv.is_some().into()),
            ("UP", taps.upsample),
            ("BIAS", matches!(after, After::Bias(_)).into()),
            ("DECAY", matches!(after, After::Decay(_)).into()),
            ("RESIDUAL", product.residual.into()),
            ("LAST", product.last.is_some().into()),
            ("OUT_F32", product.out_f32.into()),
        ]);
        let mut buffers = vec![left, right, out];
        match after {
            After::Nothing => {}
            After::Bias(buffer) | After::Decay(buffer) => buffers.push(buffer),
        }
        let immediates = [
            product.rows as u32,
            product.columns as u32,
            product.channels as u32,
            (taps.taps[0] * taps.taps[1]) as u32,
            taps.taps[1] as u32,
            product.left as u32,
            product.left_row as u32,
            product.right as u32,
            product.out as u32,
            taps.width as u32,
            taps.stride[0],
            taps.stride[1],
            taps.offset[0],
            taps.offset[1],
            product.last.unwrap_or(0) as u32,
        ];
        let [x, y, _] = spread((product.rows as u64).div_ceil(u64::from(group * tile_m)));
        let groups = [x, y, (product.columns / tile_n) as u32];
        let sums = product.rows as u64 * product.columns as u64 * 4;
        let work = sums * product.channels as u64 * (8 * taps.taps[0] * taps.taps[1]) as u64;
        let shader = Shader::Product;
        self.dispatch(&Dispatch {
            shader,
            names,
            buffers: &buffers,
            immediates: &immediates,
            groups,
            work,
        })
    }
}
