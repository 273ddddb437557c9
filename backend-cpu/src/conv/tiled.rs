//! Convolutions through the transforms of [`super::tiles`].
//!
//! A task is a block of tiles and a group of output channels. It brings the block's input into
//! scratch with the prologue applied, transforms it, multiplies position by position, and
//! transforms each panel of products straight into the output.

use rayon::ThreadPool;

use super::gemm::{Ahead, Gemm};
use super::halo::touches;
use super::pack::{packed_len, panel_width};
use super::patch::{self, Patch};
use super::tiles::{DOUBLED_INPUTS, DOUBLED_PAIRS, TileIn, TileOut};
use super::{Algorithm, Conv, ConvInput, LateStrips, Margins, RunPlan, Strips, Target, run_tasks};
use crate::error::KernelError;
use crate::pool::{Layout, Shared, Workspace, for_each};
use crate::simd::Table;

/// Outputs of a tile along an axis.
const TILE: usize = 4;

/// Channels that are brought in at a time: four cache lines of each pixel.
const CHANNELS: usize = 64;

/// Products of a tile.
const PRODUCTS: usize = 36;

/// Tiles of a block, by the floats of one tile's transform: more tiles read the weights less often,
/// fewer keep the block in the cache.
fn block_tiles(in_channels: usize) -> usize {
    match in_channels {
        0..=384 => 64,
        _ => 128,
    }
}

/// What a task computes: some tiles of a batch item, and a group of output channels.
struct Place {
    item: usize,
    /// The first tile, and how many there are, vertically and horizontally.
    first: [usize; 2],
    tiles: [usize; 2],
    group: usize,
}

/// How the work is cut. Nothing here has an influence on any result.
pub(super) struct Blocks {
    doubled: bool,
    /// Tiles of the whole output, vertically and horizontally.
    tiles: [usize; 2],
    /// Tiles of a block.
    block: [usize; 2],
    /// Blocks of an image.
    count: [usize; 2],
    batch: usize,
    /// Panels of a task.
    group: usize,
    groups: usize,
    /// Floats of a tile's input row in scratch.
    row: usize,
    lanes: usize,
    panel: usize,
    /// Weights that have to be transformed first, in floats.
    transform: usize,
}

impl Blocks {
    pub(super) fn new(
        table: &Table,
        plan: &RunPlan,
        kind: Algorithm,
        out: [usize; 2],
        threads: usize,
    ) -> Self {
        let doubled = kind == Algorithm::Doubled;
        let (shape, batch) = (plan.shape, plan.size[0]);
        let skip = start(plan.padding, doubled).1;
        let tiles = [0, 1].map(|axis| (out[axis] + skip[axis]).div_ceil(TILE));
        let panels = shape.out_channels.div_ceil(table.panel);
        let wanted = 4 * threads;
        let mut most = block_tiles(shape.in_channels);
        let (mut block, mut count);
        loop {
            let across = tiles[1].min(if most < 64 { 8 } else { 16 });
            count = [0, tiles[1].div_ceil(across)];
            block = [0, tiles[1].div_ceil(count[1])];
            let down = tiles[0].min((most / block[1]).max(1));
            count[0] = tiles[0].div_ceil(down);
            block[0] = tiles[0].div_ceil(count[0]);
            if most <= 32 || batch * count[0] * count[1] >= wanted {
                break;
            }
            most /= 2;
        }
        // Each group transforms the input anew, so a group should have work for it.
        let groups = wanted.div_ceil(batch * count[0] * count[1]).clamp(1, panels);
        let group = panels.div_ceil(groups);
        Self {
            doubled,
            tiles,
            block,
            count,
            batch,
            group,
            groups: panels.div_ceil(group),
            row: shape.in_channels.next_multiple_of(table.lanes),
            lanes: table.lanes,
            panel: shape.out_channels.min(table.panel).next_multiple_of(table.lanes),
            transform: if plan.packing == kind {
                0
            } else {
                packed_len(table, PRODUCTS * shape.in_channels, shape.out_channels)
            },
        }
    }

    fn tasks(&self) -> usize {
        self.batch * self.count[0] * self.count[1] * self.groups
    }

    /// What task `i` computes.
    fn place(&self, i: usize) -> Place {
        let (rest, group) = (i / self.groups, i % self.groups);
        let (rest, across) = (rest / self.count[1], rest % self.count[1]);
        let (item, down) = (rest / self.count[0], rest % self.count[0]);
        let first = [down * self.block[0], across * self.block[1]];
        let tiles = [0, 1].map(|axis| self.block[axis].min(self.tiles[axis] - first[axis]));
        Place { item, first, tiles, group }
    }

    /// Rows and columns of the patch that a block reads.
    fn patch(&self) -> [usize; 2] {
        self.block.map(|n| n * self.input_step() + 2)
    }

    /// Input pixels from one tile to the next.
    fn input_step(&self) -> usize {
        if self.doubled { TILE / 2 } else { TILE }
    }

    fn positions(&self) -> usize {
        if self.doubled { DOUBLED_INPUTS * DOUBLED_INPUTS } else { PRODUCTS }
    }

    fn block_len(&self) -> usize {
        self.block[0] * self.block[1]
    }

    /// Floats from a position to the next, one cache line off a round number so that the positions
    /// of one tile do not share cache sets.
    fn input_stride(&self) -> usize {
        self.block_len() * self.row + 16
    }

    fn product_stride(&self) -> usize {
        self.block_len() * self.panel + 16
    }

    fn patch_pixel(&self) -> usize {
        self.row.min(CHANNELS.max(self.lanes))
    }

    pub(super) fn layout(&self) -> Layout {
        let [rows, columns] = self.patch();
        Layout {
            shared: self.transform,
            thread: rows * columns * self.patch_pixel()
                + self.positions() * self.input_stride()
                + PRODUCTS * self.product_stride(),
        }
    }
}

/// The first row and column of the input that the first tiles read, and the rows and columns of the
/// first tiles that lie before the output.
///
/// The outputs of a doubled tile belong to pixels of the small image: the tiles are laid from the
/// even output, in the numbering of a padding of 1, at or before the first one that is wanted.
fn start(padding: &Margins, doubled: bool) -> ([isize; 2], [usize; 2]) {
    let before = [padding.top as isize, padding.left as isize];
    if !doubled {
        return (before.map(|p| -p), [0, 0]);
    }
    let even = before.map(|p| (1 - p).div_euclid(2));
    (even.map(|e| e - 1), [0, 1].map(|a| (1 - before[a] - 2 * even[a]) as usize))
}

pub(super) fn run(
    conv: &Conv,
    kind: Algorithm,
    pool: &ThreadPool,
    workspace: &mut Workspace,
    input: &ConvInput,
    halo: Option<LateStrips>,
    target: Target,
) -> Result<(), KernelError> {
    let Target { size, residual, out } = target;
    let threads = pool.current_num_threads();
    let plan = RunPlan {
        shape: &conv.shape,
        packing: conv.packing,
        size: input.size,
        padding: &input.padding,
        prologue: !input.prologue.is_none(),
    };
    let blocks = Blocks::new(conv.table, &plan, kind, size, threads);
    let scratch = workspace.reserve(blocks.layout(), threads)?;
    let packed = conv.packed.data.const_ptr();
    let weights = if conv.packing == kind {
        packed
    } else {
        transform_weights(conv, pool, packed, Shared(scratch.shared()));
        scratch.shared().cast_const()
    };
    let weights = Shared(weights.cast_mut());
    let (origin, skip) = start(&input.padding, blocks.doubled);
    let task = Task { conv, blocks: &blocks, input, size, origin, skip, weights, residual, out };
    let [_, h, w] = input.size;
    let needs_halo = |i: usize, margins: &Margins| {
        let place = blocks.place(i);
        let (origin, extent) = task.patch(&place);
        touches(margins, [h, w], 1, origin, extent)
    };
    let channels = conv.shape.in_channels;
    run_tasks(pool, blocks.tasks(), input, channels, halo, needs_halo, |i, thread, strips| {
        // SAFETY: the scratch is this thread's, and each task has its own part of the output.
        unsafe { task.run(&blocks.place(i), strips, scratch.thread(thread)) }
    })
}

/// Makes the 36 positions of each panel out of its nine taps.
fn transform_weights(conv: &Conv, pool: &ThreadPool, packed: *const f32, to: Shared<f32>) {
    let (table, shape) = (conv.table, &conv.shape);
    let from = Shared(packed.cast_mut());
    let panels = shape.out_channels.div_ceil(table.panel);
    // Input channels of a task; they are contiguous in each position.
    let step = 64;
    let steps = shape.in_channels.div_ceil(step);
    for_each(pool, panels * steps, |i, _| {
        let oc = i / steps * table.panel;
        let ic = i % steps * step;
        let width = panel_width(table, shape.out_channels, oc);
        let rows = step.min(shape.in_channels - ic);
        // SAFETY: both buffers hold this panel's positions of `in_channels * width` floats each,
        // and no other task writes these input channels of it.
        unsafe {
            (table.f43_weights)(
                from.get().add(oc * 9 * shape.in_channels + ic * width),
                to.get().add(oc * PRODUCTS * shape.in_channels + ic * width),
                shape.in_channels * width,
                rows * width / table.lanes,
            );
        }
    });
}

struct Task<'a> {
    conv: &'a Conv,
    blocks: &'a Blocks,
    input: &'a ConvInput<'a>,
    size: [usize; 2],
    origin: [isize; 2],
    skip: [usize; 2],
    weights: Shared<f32>,
    residual: Option<Shared<f32>>,
    out: Shared<f32>,
}

impl Task<'_> {
    /// Where the input of some tiles begins, and its rows and columns.
    fn patch(&self, place: &Place) -> ([isize; 2], [usize; 2]) {
        let step = self.blocks.input_step();
        let origin = [0, 1].map(|a| (place.first[a] * step) as isize + self.origin[a]);
        (origin, place.tiles.map(|n| n * step + 2))
    }

    /// Computes a task in `scratch`.
    ///
    /// # Safety
    ///
    /// `scratch` holds [`Blocks::layout`]'s thread part and is used by nobody else; the slices of
    /// the input, its strips and the output fit the shapes.
    unsafe fn run(&self, place: &Place, strips: Option<&Strips>, scratch: *mut f32) {
        let blocks = self.blocks;
        let Place { item, first, tiles, group } = *place;
        let [rows, columns] = blocks.patch();
        let patch = scratch;
        let transformed = patch.wrapping_add(rows * columns * blocks.patch_pixel());
        let products = transformed.wrapping_add(blocks.positions() * blocks.input_stride());
        // SAFETY: the three parts add up to the layout; the rest is the caller's contract.
        unsafe {
            self.gather(place, strips, patch, transformed);
            let offsets: Vec<usize> = (0..tiles[0] * tiles[1]).collect();
            let inputs: Vec<usize> = offsets.iter().map(|t| t * blocks.row).collect();
            let table = self.conv.table;
            let panels = self.conv.shape.out_channels.div_ceil(table.panel);
            for panel in group * blocks.group..((group + 1) * blocks.group).min(panels) {
                let oc = panel * table.panel;
                let width = panel_width(table, self.conv.shape.out_channels, oc);
                let results: Vec<usize> = offsets.iter().map(|t| t * width).collect();
                self.multiply(oc, width, &inputs, &results, transformed, products);
                self.scatter(item, first, tiles, oc, width, products);
            }
        }
    }

    /// Input, prologue, padding, transform.
    unsafe fn gather(
        &self,
        place: &Place,
        strips: Option<&Strips>,
        patch: *mut f32,
        transformed: *mut f32,
    ) {
        let Place { item, tiles, .. } = *place;
        let (blocks, table, shape) = (self.blocks, self.conv.table, &self.conv.shape);
        let [_, h, w] = self.input.size;
        let step = blocks.input_step();
        let pixel = blocks.patch_pixel();
        let (origin, extent) = self.patch(place);
        for channel in (0..shape.in_channels).step_by(pixel) {
            let channels = pixel.min(shape.in_channels - channel);
            // SAFETY: the patch is within the scratch by `Blocks::layout`; tiles, positions and
            // channels (rounded up to whole vectors, as `row` is) stay within their parts.
            unsafe {
                patch::fill(
                    table,
                    &Patch {
                        src: self
                            .input
                            .values
                            .as_ptr()
                            .add(item * h * w * shape.in_channels + channel),
                        size: [h, w],
                        src_channels: shape.in_channels,
                        scale: 1,
                        around: strips.map(|strips| (strips, [item, channel])),
                        origin,
                        extent,
                        channels,
                        map: self.input.prologue.at(item, shape.in_channels, channel),
                        dst: patch,
                        dst_pixel: pixel,
                        whole: true,
                    },
                );
                for tile in 0..tiles[0] * tiles[1] {
                    let (y, x) = (tile / tiles[1] * step, tile % tiles[1] * step);
                    let part = TileIn {
                        src: patch.add((y * extent[1] + x) * pixel),
                        src_row: extent[1] * pixel,
                        src_pixel: pixel,
                        dst: transformed.add(tile * blocks.row + channel),
                        dst_position: blocks.input_stride(),
                        vectors: channels.div_ceil(table.lanes),
                    };
                    if blocks.doubled {
                        (table.doubled_input)(&part);
                    } else {
                        (table.f43_input)(&part);
                    }
                }
            }
        }
    }

    /// One panel's products at all positions.
    unsafe fn multiply(
        &self,
        oc: usize,
        width: usize,
        inputs: &[usize],
        results: &[usize],
        transformed: *const f32,
        products: *mut f32,
    ) {
        let (blocks, table, shape) = (self.blocks, self.conv.table, &self.conv.shape);
        let (input_stride, product_stride) = (blocks.input_stride(), blocks.product_stride());
        let panel_len = shape.in_channels * width;
        let weights = if blocks.doubled { 9 } else { PRODUCTS };
        let base = self.weights.get().wrapping_add(oc * weights * shape.in_channels).cast_const();
        let product = |weight: usize, input: usize, position: usize, ahead: [Ahead; 2]| {
            // SAFETY: `weight`, `input` and `position` are below the counts that the buffers were
            // made for, and the panel's columns are whole vectors of `width`.
            unsafe {
                (table.gemm)(&Gemm {
                    a: transformed.add(input * input_stride),
                    a_rows: inputs,
                    runs: &[0],
                    run_len: shape.in_channels,
                    b: base.add(weight * panel_len),
                    ldb: width,
                    c: products.add(position * product_stride),
                    c_rows: results,
                    columns: width,
                    initial: std::ptr::null(),
                    bias: std::ptr::null(),
                    ahead,
                });
            }
        };
        // Panels follow each other in memory, so the next one is where this one ends.
        let panel_after = |weight: usize, part: usize, parts: usize| Ahead {
            start: base.wrapping_add((weight + 1) * panel_len + panel_len / parts * part),
            floats: panel_len / parts,
        };
        if !blocks.doubled {
            for position in 0..PRODUCTS {
                let input = Ahead {
                    start: transformed.wrapping_add((position + 1) % PRODUCTS * input_stride),
                    floats: inputs.len() * blocks.row,
                };
                product(position, position, position, [panel_after(position, 0, 1), input]);
            }
            return;
        }
        for (wy, pairs_y) in DOUBLED_PAIRS.iter().enumerate() {
            for (wx, pairs_x) in DOUBLED_PAIRS.iter().enumerate() {
                for (py, y) in pairs_y.iter().enumerate() {
                    for (px, x) in pairs_x.iter().enumerate() {
                        let weight = 3 * wy + wx;
                        let position = (2 * wy + py) * 6 + 2 * wx + px;
                        let ahead = [panel_after(weight, 2 * py + px, 4), Ahead::NONE];
                        product(weight, y * DOUBLED_INPUTS + x, position, ahead);
                    }
                }
            }
        }
    }

    /// Output transform, bias, residual.
    unsafe fn scatter(
        &self,
        item: usize,
        first: [usize; 2],
        tiles: [usize; 2],
        oc: usize,
        width: usize,
        products: *const f32,
    ) {
        let (blocks, table, shape) = (self.blocks, self.conv.table, &self.conv.shape);
        let image = item * self.size[0] * self.size[1] * shape.out_channels;
        let residual = self.residual.map(|r| r.get().wrapping_add(image).cast_const());
        for tile in 0..tiles[0] * tiles[1] {
            let at = [first[0] + tile / tiles[1], first[1] + tile % tiles[1]];
            let range = [0, 1].map(|a| {
                let start = (at[a] * TILE) as isize - self.skip[a] as isize;
                let low = (-start).max(0) as usize;
                let high = (self.size[a] as isize - start).clamp(0, TILE as isize) as usize;
                (start, [low, high])
            });
            let pixel = range[0].0 * self.size[1] as isize + range[1].0;
            let offset = pixel * shape.out_channels as isize + oc as isize;
            let part = TileOut {
                src: products.wrapping_add(tile * width),
                src_position: blocks.product_stride(),
                dst: self.out.get().wrapping_add(image).wrapping_offset(offset),
                dst_row: (self.size[1] * shape.out_channels) as isize,
                dst_pixel: shape.out_channels as isize,
                rows: range[0].1,
                columns: range[1].1,
                channels: (shape.out_channels - oc).min(table.panel),
                bias: self.conv.bias_at(oc),
                residual: residual.map_or(std::ptr::null(), |r| r.wrapping_offset(offset)),
            };
            // SAFETY: the rows and columns that are written are inside the image, and these tiles
            // and channels are this task's alone.
            unsafe {
                if blocks.doubled {
                    (table.doubled_output)(&part);
                } else {
                    (table.f43_output)(&part);
                }
            }
        }
    }
}
