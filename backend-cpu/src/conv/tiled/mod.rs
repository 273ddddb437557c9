//! Convolutions through the transforms of [`super::tiles`].
//!
//! A task is a block of tiles of some output frames and a group of output channels. It brings the
//! frames that these read into scratch with the prologue applied, transforms them, multiplies
//! position by position, the taps in time being parts of one sum, and transforms each panel of
//! products straight into the output.

mod blocks;
mod weights;

use halovae_engine::program::Edge;
use rayon::ThreadPool;

use super::gemm::{Ahead, Gemm, Run};
use super::halo::{run_tasks, touches};
use super::pack::panel_width;
use super::patch::{self, Patch};
use super::tiles::{DOUBLED_INPUTS, DOUBLED_PAIRS, TileIn, TileOut};
use super::{Algorithm, Conv, ConvInput, LateStrips, Margins, Strips, Target};
use crate::error::KernelError;
use crate::pool::{Shared, Workspace};
pub(super) use blocks::Blocks;
use blocks::{PRODUCTS, Piece, Place, TILE, start};
use weights::Weights;

pub(super) fn run(
    conv: &Conv,
    kind: Algorithm,
    pool: &ThreadPool,
    workspace: &mut Workspace,
    input: &ConvInput,
    halo: Option<LateStrips>,
    target: Target,
) -> Result<(), KernelError> {
    let threads = pool.current_num_threads();
    let blocks = Blocks::new(conv.table, &conv.plan(input), kind, target.size, threads);
    let scratch = workspace.reserve(blocks.layout(), threads)?;
    let weights = match conv.packing == kind {
        true => Weights::packed(conv),
        false => Weights::transform(conv, pool, input.taps, Shared(scratch.shared())),
    };
    let (origin, skip) = start(&input.padding, blocks.doubled);
    let pieces = blocks.pieces(input, &conv.shape);
    let edges = input.edges_for(kind)?;
    let task = Task {
        conv,
        blocks: &blocks,
        pieces: &pieces,
        input,
        edges,
        target,
        origin,
        skip,
        weights,
    };
    let needs_halo = |i: usize, margins: &Margins| {
        let place = blocks.place(i);
        let (origin, extent) = task.patch(&place);
        touches(margins, edges, input.size, 1, (origin, extent))
    };
    let tasks = blocks.tasks(pieces.len());
    run_tasks(pool, tasks, input, conv.shape.in_channels, halo, needs_halo, |i, thread, strips| {
        // SAFETY: the scratch is this thread's, and each task has its own part of the output.
        unsafe { task.run(&blocks.place(i), strips, scratch.thread(thread)) }
    })
}

struct Task<'a> {
    conv: &'a Conv,
    blocks: &'a Blocks,
    pieces: &'a [Piece],
    input: &'a ConvInput<'a>,
    edges: [Edge; 2],
    target: Target<'a>,
    origin: [isize; 2],
    skip: [usize; 2],
    weights: Weights,
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
    /// `scratch` holds [`Blocks::layout`]'s thread part and is used by no other task meanwhile; the slices of
    /// the input, its strips and the output fit the shapes.
    unsafe fn run(&self, place: &Place, strips: Option<&Strips>, scratch: *mut f32) {
        let blocks = self.blocks;
        let Place { piece, tiles, group, .. } = *place;
        let piece = &self.pieces[piece];
        let [rows, columns] = blocks.patch();
        let patch = scratch;
        let transformed = patch.wrapping_add(rows * columns * blocks.patch_pixel());
        let products = transformed.wrapping_add(blocks.positions() * blocks.input_stride());
        // SAFETY: the three parts add up to the layout; the rest is the caller's contract.
        unsafe {
            for (slot, &frame) in piece.frames.iter().enumerate() {
                let to = transformed.add(slot * blocks.slot_stride());
                self.gather(place, frame, strips, patch, to);
            }
            let offsets: Vec<usize> = (0..tiles[0] * tiles[1]).collect();
            let inputs: Vec<usize> = offsets.iter().map(|t| t * blocks.row).collect();
            let table = self.conv.table;
            let panels = self.conv.shape.out_channels.div_ceil(table.panel);
            for panel in group * blocks.group..((group + 1) * blocks.group).min(panels) {
                let oc = panel * table.panel;
                let width = panel_width(table, self.conv.shape.out_channels, oc);
                let results: Vec<usize> = offsets.iter().map(|t| t * width).collect();
                self.multiply(piece, oc, width, &inputs, &results, transformed, products);
                for at in 0..piece.slots.len() / self.conv.shape.kernel[0] {
                    let products = products.add(at * blocks.output_stride());
                    self.scatter(piece.first + at, place, oc, width, products);
                }
            }
        }
    }

    /// Input, prologue, padding, transform of one frame.
    unsafe fn gather(
        &self,
        place: &Place,
        frame: usize,
        strips: Option<&Strips>,
        patch: *mut f32,
        transformed: *mut f32,
    ) {
        let tiles = place.tiles;
        let (blocks, table, shape) = (self.blocks, self.conv.table, &self.conv.shape);
        let frames = self.input.frames;
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
                        src: frames[frame].as_ptr().wrapping_add(channel),
                        size: self.input.size,
                        src_channels: shape.in_channels,
                        edges: self.edges,
                        scale: 1,
                        around: strips.map(|strips| (strips, [frame, channel])),
                        origin,
                        extent,
                        channels,
                        map: self
                            .input
                            .prologue
                            .at([frame, frames.len()], [channel, shape.in_channels]),
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
    #[expect(clippy::too_many_arguments, reason = "what is multiplied, and where it lies")]
    unsafe fn multiply(
        &self,
        piece: &Piece,
        oc: usize,
        width: usize,
        inputs: &[usize],
        results: &[usize],
        transformed: *const f32,
        products: *mut f32,
    ) {
        let (blocks, table, shape) = (self.blocks, self.conv.table, &self.conv.shape);
        let (input_stride, product_stride) = (blocks.input_stride(), blocks.product_stride());
        let outputs = piece.slots.chunks_exact(shape.kernel[0]);
        let frames = outputs.len();
        let mut runs = Vec::with_capacity(shape.kernel[0]);
        let mut product = |weight: usize, input: usize, position: usize, ahead: [Ahead; 2]| {
            for (output, slots) in outputs.clone().enumerate() {
                runs.clear();
                runs.extend(slots.iter().enumerate().filter_map(|(tap, slot)| {
                    let a = input * input_stride + (*slot)? * blocks.slot_stride();
                    let b = self.weights.rows(oc, width, weight, tap);
                    Some(Run { a: transformed.wrapping_add(a), b })
                }));
                // SAFETY: `weight`, `input` and `position` are below the counts that the buffers
                // were made for, slots and output frames are those of the piece, and the panel's
                // columns are whole vectors of `width`.
                unsafe {
                    (table.gemm)(&Gemm {
                        a_rows: inputs,
                        runs: &runs,
                        run_len: shape.in_channels,
                        ldb: width,
                        c: products
                            .add(position * product_stride + output * blocks.output_stride()),
                        c_rows: results,
                        columns: width,
                        initial: std::ptr::null(),
                        bias: std::ptr::null(),
                        ahead: ahead.map(|a| a.part(output, frames)),
                    });
                }
            }
        };
        // Panels follow each other in memory, so the next one is where this one ends.
        let panel_after = |weight: usize| Ahead {
            start: self.weights.rows(oc, width, weight + 1, 0),
            floats: self.weights.taps() * shape.in_channels * width,
        };
        if !blocks.doubled {
            let read = piece.frames.len().saturating_sub(1) * blocks.slot_stride()
                + inputs.len() * blocks.row;
            for position in 0..PRODUCTS {
                let input = Ahead {
                    start: transformed.wrapping_add((position + 1) % PRODUCTS * input_stride),
                    floats: read,
                };
                product(position, position, position, [panel_after(position), input]);
            }
            return;
        }
        for (wy, pairs_y) in DOUBLED_PAIRS.iter().enumerate() {
            for (wx, pairs_x) in DOUBLED_PAIRS.iter().enumerate() {
                for (py, y) in pairs_y.iter().enumerate() {
                    for (px, x) in pairs_x.iter().enumerate() {
                        let weight = 3 * wy + wx;
                        let position = (2 * wy + py) * 6 + 2 * wx + px;
                        let ahead = [panel_after(weight).part(2 * py + px, 4), Ahead::NONE];
                        product(weight, y * DOUBLED_INPUTS + x, position, ahead);
                    }
                }
            }
        }
    }

    /// Output transform, bias, residual of one output frame.
    unsafe fn scatter(
        &self,
        output: usize,
        place: &Place,
        oc: usize,
        width: usize,
        products: *const f32,
    ) {
        let (blocks, table, shape) = (self.blocks, self.conv.table, &self.conv.shape);
        let Place { first, tiles, .. } = *place;
        let size = self.target.size;
        let (out, residual) = (self.target.frame(output), self.target.residual(output));
        for tile in 0..tiles[0] * tiles[1] {
            let at = [first[0] + tile / tiles[1], first[1] + tile % tiles[1]];
            let range = [0, 1].map(|a| {
                let start = (at[a] * TILE) as isize - self.skip[a] as isize;
                let low = (-start).max(0) as usize;
                let high = (size[a] as isize - start).clamp(0, TILE as isize) as usize;
                (start, [low, high])
            });
            let pixel = range[0].0 * size[1] as isize + range[1].0;
            let offset = pixel * shape.out_channels as isize + oc as isize;
            let part = TileOut {
                src: products.wrapping_add(tile * width),
                src_position: blocks.product_stride(),
                dst: out.wrapping_offset(offset),
                dst_row: (size[1] * shape.out_channels) as isize,
                dst_pixel: shape.out_channels as isize,
                rows: range[0].1,
                columns: range[1].1,
                channels: (shape.out_channels - oc).min(table.panel),
                bias: self.conv.bias_at(oc),
                residual: match residual.is_null() {
                    true => residual,
                    false => residual.wrapping_offset(offset),
                },
            };
            // SAFETY: the rows and columns that are written are inside the frame, and these tiles
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
