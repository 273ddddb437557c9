//! The product kernel: how it is cut into register tiles, and how it is called.

use halovae_engine::backend::BackendError;
use wgpu::Buffer;

use super::WgpuBackend;
use crate::kernels::{GROUP, Shader};
use crate::record::{Dispatch, spread};
use crate::template::names;
use crate::tuning::Tile;

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
    pub(super) batch: Batch,
}

/// Several products of the same extents, one after the other in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) count: usize,
    /// Fours from one left side, right side and result to the next.
    pub(super) next: [usize; 3],
}

impl Default for Batch {
    fn default() -> Self {
        Self { count: 1, next: [0; 3] }
    }
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
        let (shader, tile) = self.tile(product.columns);
        let [tile_rows, tile_columns] = tile.extents();
        let [rows, columns] = tile.registers();
        let deep = tile.group().div_ceil(columns);
        let names = names([
            ("TM", rows),
            ("TN", columns),
            ("WG", tile.group()),
            ("LOADS", rows.div_ceil(4)),
            // Tiles of a workgroup may be cut at the end of the columns.
            ("EDGE", (tile_columns > columns).into()),
            ("MATRICES", (shader == Shader::ProductMatrices).into()),
            ("SIDE_FOURS", tile_columns),
            ("LANES", tile.group()),
            // What a read of a subgroup covers: fours of columns, channels.
            ("ACROSS", columns.min(tile.group())),
            ("WIDE", columns.div_ceil(tile.group())),
            ("DEEP", deep),
            ("READS", 4_u32.div_ceil(deep)),
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
        let tiles = (product.columns as u32).div_ceil(tile_columns);
        let Batch { count, next } = product.batch;
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
            tiles,
            next[0] as u32,
            next[1] as u32,
            next[2] as u32,
        ];
        let [x, y, _] = spread((product.rows as u64).div_ceil(tile_rows.into()));
        let groups = [x, y, tiles * count as u32];
        let sums = (product.rows * count) as u64 * product.columns as u64 * 4;
        let work = sums * product.channels as u64 * (8 * taps.taps[0] * taps.taps[1]) as u64;
        self.dispatch(&Dispatch {
            shader,
            names,
            buffers: &buffers,
            immediates: &immediates,
            groups,
            work,
        })
    }

    /// The tile for so many fours of columns.
    fn tile(&self, columns: usize) -> (Shader, Tile) {
        match self.shared.tuning().tile {
            Tile::Shared { rows, columns: wide } if columns >= 8 => {
                (Shader::ProductShared, Tile::Shared { rows, columns: wide })
            }
            Tile::Matrices if columns >= 8 => (Shader::ProductMatrices, Tile::Matrices),
            Tile::Alone { rows, columns: most, group } => {
                let columns = whole_columns(most, columns);
                (Shader::Product, Tile::Alone { rows, columns, group })
            }
            Tile::Lanes { rows, columns: most, lanes } => {
                let columns = whole_columns(most, columns);
                // With fewer, a read of a subgroup would be more than four channels.
                match lanes <= 4 * columns {
                    true => (Shader::ProductLanes, Tile::Lanes { rows, columns, lanes }),
                    false => (Shader::Product, Tile::Alone { rows, columns, group: lanes }),
                }
            }
            // A tile of a workgroup would be empty for the most part.
            Tile::Matrices | Tile::Shared { .. } => {
                let columns = whole_columns(4, columns);
                (Shader::Product, Tile::Alone { rows: 2, columns, group: GROUP })
            }
        }
    }
}

/// The most fours of columns of a tile that divide all of them, so that none is cut.
fn whole_columns(most: u32, columns: usize) -> u32 {
    let fits = |tile: &u32| columns.is_multiple_of(*tile as usize);
    let tile = [16, 8, 4, 2, 1].into_iter().filter(|&tile| tile <= most).find(fits);
    tile.expect("everything is a multiple of 1")
}
