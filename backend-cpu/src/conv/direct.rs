//! The plain sum, for any kernel, stride, padding and upsampling.
//!
//! A task is a block of pixels of one output frame and a group of output channels. The frames that
//! it reads are brought into scratch with the prologue applied and the padding in place, so that a
//! pixel's values for one row of the kernel are one stretch of memory; where there is nothing to
//! apply or to pad, they are read where they lie.

use halovae_engine::program::Edge;
use rayon::ThreadPool;

use super::gemm::{Ahead, Gemm, Run};
use super::halo::{run_tasks, touches};
use super::pack::panel_width;
use super::patch::{self, Patch};
use super::{Algorithm, Conv, ConvInput, ConvShape, LateStrips, Margins, RunPlan, Strips, Target};
use crate::error::KernelError;
use crate::pool::{Layout, Workspace};
use crate::table::Table;

/// Output pixels of a task.
const PIXELS: usize = 96;

/// Rows of a panel that are multiplied before the next pixels: 512 rows of 64 floats are 128 KiB
/// that stay in the second-level cache while all pixels of the task pass.
const DEPTH: usize = 512;

/// How the work is cut. Nothing here has an influence on any result.
pub(super) struct Blocks {
    /// Whether the input is copied into scratch.
    copies: bool,
    /// Output pixels of a task.
    block: [usize; 2],
    count: [usize; 2],
    group: usize,
    groups: usize,
    /// Pixels of the patch of one frame.
    patch: [usize; 2],
    /// Taps in time.
    time: usize,
    channels: usize,
}

impl Blocks {
    pub(super) fn new(table: &Table, plan: &RunPlan, out: [usize; 2], threads: usize) -> Self {
        let (shape, pad, outputs) = (plan.shape, plan.padding, plan.size[0]);
        let padded = pad.top + pad.bottom + pad.left + pad.right > 0;
        let across = out[1].min(if shape.kernel[1..] == [1, 1] { PIXELS } else { 16 });
        let mut count = [0, out[1].div_ceil(across)];
        let mut block = [0, out[1].div_ceil(count[1])];
        let down = out[0].min((PIXELS / block[1]).max(1));
        count[0] = out[0].div_ceil(down);
        block[0] = out[0].div_ceil(count[0]);
        let panels = shape.out_channels.div_ceil(table.panel);
        let groups = (4 * threads).div_ceil(outputs * count[0] * count[1]).clamp(1, panels);
        let group = panels.div_ceil(groups);
        Self {
            copies: plan.prologue || padded || shape.upsample > 1,
            block,
            count,
            group,
            groups: panels.div_ceil(group),
            patch: [0, 1].map(|a| (block[a] - 1) * shape.stride[a] + shape.kernel[1 + a]),
            time: shape.kernel[0],
            channels: shape.in_channels,
        }
    }

    pub(super) fn layout(&self) -> Layout {
        let patches = if self.copies { self.time * self.patch_len() } else { 0 };
        Layout { shared: 0, thread: patches }
    }

    fn patch_len(&self) -> usize {
        self.patch[0] * self.patch[1] * self.channels
    }

    /// What task `i` computes.
    fn place(&self, i: usize) -> Place {
        let (rest, group) = (i / self.groups, i % self.groups);
        let (rest, across) = (rest / self.count[1], rest % self.count[1]);
        let (output, down) = (rest / self.count[0], rest % self.count[0]);
        Place { output, first: [down * self.block[0], across * self.block[1]], group }
    }
}

/// What a task computes: a block of pixels of an output frame, and a group of output channels.
struct Place {
    output: usize,
    first: [usize; 2],
    group: usize,
}

pub(super) fn run(
    conv: &Conv,
    pool: &ThreadPool,
    workspace: &mut Workspace,
    input: &ConvInput,
    halo: Option<LateStrips>,
    target: Target,
) -> Result<(), KernelError> {
    let threads = pool.current_num_threads();
    let blocks = Blocks::new(conv.table, &conv.plan(input), target.size, threads);
    let scratch = workspace.reserve(blocks.layout(), threads)?;
    let shape = &conv.shape;
    let row_len = if blocks.copies { blocks.patch[1] } else { input.size[1] } * shape.in_channels;
    let outputs = input.outputs(shape);
    let depths =
        (0..outputs).map(|o| depths(shape, input.taps_of(shape, o), row_len)).collect::<Vec<_>>();
    let edges = input.edges_for(Algorithm::Direct)?;
    let task = Task { conv, blocks: &blocks, input, edges, target, row_len, depths: &depths };
    let needs_halo = |i: usize, margins: &Margins| {
        let origin = task.corner(&blocks.place(i)).1;
        touches(margins, edges, input.size, shape.upsample, (origin, blocks.patch))
    };
    let tasks = outputs * blocks.count[0] * blocks.count[1] * blocks.groups;
    run_tasks(pool, tasks, input, shape.in_channels, halo, needs_halo, |i, thread, strips| {
        let patches = scratch.thread(thread);
        // SAFETY: the scratch is this thread's, and each task has its own part of the output.
        unsafe { task.run(&blocks.place(i), strips, patches) }
    })
}

struct Task<'a> {
    conv: &'a Conv,
    blocks: &'a Blocks,
    input: &'a ConvInput<'a>,
    edges: [Edge; 2],
    target: Target<'a>,
    /// Floats of a row of what is read.
    row_len: usize,
    /// For each output frame the parts of its sum.
    depths: &'a [Vec<Depth>],
}

impl Task<'_> {
    /// The first row and column that a task reads, in the (upsampled) frame with its padding and in
    /// the frame.
    fn corner(&self, place: &Place) -> ([usize; 2], [isize; 2]) {
        let padding = &self.input.padding;
        let [top, left] = [0, 1].map(|a| place.first[a] * self.conv.shape.stride[a]);
        let origin = [top as isize - padding.top as isize, left as isize - padding.left as isize];
        ([top, left], origin)
    }

    /// Where the input of each tap in time begins, null for those that read nothing.
    ///
    /// # Safety
    ///
    /// As [`Task::run`].
    unsafe fn inputs(
        &self,
        place: &Place,
        strips: Option<&Strips>,
        patches: *mut f32,
    ) -> Vec<*const f32> {
        let (blocks, input, shape) = (self.blocks, self.input, &self.conv.shape);
        let ([top, left], origin) = self.corner(place);
        let taps = input.taps_of(shape, place.output);
        let mut all: Vec<*const f32> = Vec::with_capacity(taps.len());
        for (tap, frame) in taps.iter().enumerate() {
            let Some(frame) = *frame else {
                all.push(std::ptr::null());
                continue;
            };
            let image = input.frames[frame].as_ptr();
            if !blocks.copies {
                all.push(image.wrapping_add(top * self.row_len + left * shape.in_channels));
                continue;
            }
            if let Some(earlier) = taps[..tap].iter().position(|&other| other == Some(frame)) {
                all.push(all[earlier]);
                continue;
            }
            let patch = patches.wrapping_add(tap * blocks.patch_len());
            let part = Patch {
                src: image,
                size: input.size,
                src_channels: shape.in_channels,
                edges: self.edges,
                scale: shape.upsample,
                around: strips.map(|strips| (strips, [frame, 0])),
                origin,
                extent: blocks.patch,
                channels: shape.in_channels,
                map: input.prologue.at([frame, input.frames.len()], [0, shape.in_channels]),
                dst: patch,
                dst_pixel: shape.in_channels,
                whole: false,
            };
            // SAFETY: the scratch has a patch for each tap, and the frame has `size` pixels.
            unsafe { patch::fill(self.conv.table, &part) };
            all.push(patch.cast_const());
        }
        all
    }

    /// Computes a task.
    ///
    /// # Safety
    ///
    /// `patches` holds [`Blocks::layout`]'s thread part and is used by no other task meanwhile; the
    /// slices of the input, its strips and the output fit the shapes.
    unsafe fn run(&self, place: &Place, strips: Option<&Strips>, patches: *mut f32) {
        let (blocks, shape, table) = (self.blocks, &self.conv.shape, self.conv.table);
        let (packed, size) = (&self.conv.packed, self.target.size);
        let Place { output, first, group } = *place;
        let extent = [0, 1].map(|a| blocks.block[a].min(size[a] - first[a]));
        let pixels = extent[0] * extent[1];
        // SAFETY: the caller's contract.
        let inputs = unsafe { self.inputs(place, strips, patches) };
        let a_rows: Vec<usize> = (0..pixels)
            .map(|p| {
                let (y, x) = (p / extent[1] * shape.stride[0], p % extent[1] * shape.stride[1]);
                y * self.row_len + x * shape.in_channels
            })
            .collect();
        let c_rows: Vec<usize> = (0..pixels)
            .map(|p| {
                let (y, x) = (first[0] + p / extent[1], first[1] + p % extent[1]);
                (y * size[1] + x) * shape.out_channels
            })
            .collect();
        let (out, residual) = (self.target.frame(output), self.target.residual(output));
        let depths = &self.depths[output];
        let panels = shape.out_channels.div_ceil(table.panel);
        let mut runs = Vec::new();
        for panel in group * blocks.group..((group + 1) * blocks.group).min(panels) {
            let oc = panel * table.panel;
            let width = panel_width(table, shape.out_channels, oc);
            let weights = packed.data.const_ptr().wrapping_add(oc * packed.rows);
            let c = out.wrapping_add(oc);
            for (step, depth) in depths.iter().enumerate() {
                let initial = match step {
                    0 if residual.is_null() => residual,
                    0 => residual.wrapping_add(oc),
                    _ => c.cast_const(),
                };
                runs.clear();
                runs.extend(depth.stretches.iter().map(|s| Run {
                    a: inputs[s.tap].wrapping_add(s.offset),
                    b: weights.wrapping_add(s.row * width),
                }));
                let last = step + 1 == depths.len();
                // SAFETY: the rows lie within the patches or the frames, the panel has
                // `packed.rows` rows of `width` floats, and these pixels and channels are this
                // task's alone.
                unsafe {
                    (table.gemm)(&Gemm {
                        a_rows: &a_rows,
                        runs: &runs,
                        run_len: depth.len,
                        ldb: width,
                        c,
                        c_rows: &c_rows,
                        columns: width.min(shape.out_channels - oc),
                        initial,
                        bias: if last { self.conv.bias_at(oc) } else { std::ptr::null() },
                        ahead: [Ahead::NONE; 2],
                    });
                }
            }
        }
    }
}

/// Values beside each other that a pixel is summed over.
struct Stretch {
    tap: usize,
    /// From the first value of the tap's input.
    offset: usize,
    /// The row of the panel that the first is multiplied with.
    row: usize,
}

/// A part of the sum: stretches of equal length.
struct Depth {
    stretches: Vec<Stretch>,
    len: usize,
}

/// Cuts the sum of an output frame over the taps that read something and the kernel's rows (each one
/// stretch of `kw * channels` values) into parts of about `DEPTH`: several rows together where they
/// are short, a row in pieces where it is long. There is at least one part.
fn depths(shape: &ConvShape, taps: &[Option<usize>], row_len: usize) -> Vec<Depth> {
    let [_, kh, kw] = shape.kernel;
    let stretch = kw * shape.in_channels;
    let rows = (0..taps.len()).filter(|&tap| taps[tap].is_some()).flat_map(|tap| {
        (0..kh).map(move |y| Stretch { tap, offset: y * row_len, row: (tap * kh + y) * stretch })
    });
    let mut all = Vec::new();
    if stretch > DEPTH {
        for row in rows {
            for start in (0..stretch).step_by(DEPTH) {
                let (offset, row_at) = (row.offset + start, row.row + start);
                let stretches = vec![Stretch { tap: row.tap, offset, row: row_at }];
                all.push(Depth { stretches, len: DEPTH.min(stretch - start) });
            }
        }
    } else {
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let stretches = rows.by_ref().take(DEPTH / stretch).collect();
            all.push(Depth { stretches, len: stretch });
        }
    }
    if all.is_empty() {
        all.push(Depth { stretches: Vec::new(), len: stretch });
    }
    all
}
