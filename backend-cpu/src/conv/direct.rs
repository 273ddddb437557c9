//! The plain sum, for any kernel, stride, padding and upsampling.
//!
//! A task is a block of output pixels and a group of output channels. Its input is brought into
//! scratch with the prologue applied and the padding in place, so that a pixel's values for one row
//! of the kernel are one stretch of memory; where there is nothing to apply or to pad, the input is
//! read where it lies.

use rayon::ThreadPool;

use super::gemm::{Ahead, Gemm};
use super::halo::touches;
use super::pack::panel_width;
use super::patch::{self, Patch};
use super::{Conv, ConvInput, LateStrips, Margins, RunPlan, Target, run_tasks};
use crate::error::KernelError;
use crate::pool::{Layout, Workspace};
use crate::simd::Table;

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
    batch: usize,
    group: usize,
    groups: usize,
    /// Pixels of the patch.
    patch: [usize; 2],
    channels: usize,
}

impl Blocks {
    pub(super) fn new(table: &Table, plan: &RunPlan, out: [usize; 2], threads: usize) -> Self {
        let (shape, pad, batch) = (plan.shape, plan.padding, plan.size[0]);
        let padded = pad.top + pad.bottom + pad.left + pad.right > 0;
        let across = out[1].min(if shape.kernel == [1, 1] { PIXELS } else { 16 });
        let mut count = [0, out[1].div_ceil(across)];
        let mut block = [0, out[1].div_ceil(count[1])];
        let down = out[0].min((PIXELS / block[1]).max(1));
        count[0] = out[0].div_ceil(down);
        block[0] = out[0].div_ceil(count[0]);
        let panels = shape.out_channels.div_ceil(table.panel);
        let groups = (4 * threads).div_ceil(batch * count[0] * count[1]).clamp(1, panels);
        let group = panels.div_ceil(groups);
        Self {
            copies: plan.prologue || padded || shape.upsample > 1,
            block,
            count,
            batch,
            group,
            groups: panels.div_ceil(group),
            patch: [0, 1].map(|a| (block[a] - 1) * shape.stride[a] + shape.kernel[a]),
            channels: shape.in_channels,
        }
    }

    pub(super) fn layout(&self) -> Layout {
        let patch = self.patch[0] * self.patch[1] * self.channels;
        Layout { shared: 0, thread: if self.copies { patch } else { 0 } }
    }
}

pub(super) fn run(
    conv: &Conv,
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
    let blocks = Blocks::new(conv.table, &plan, size, threads);
    let scratch = workspace.reserve(blocks.layout(), threads)?;
    let (shape, table) = (&conv.shape, conv.table);
    let packed = &conv.packed;
    let [_, h, w] = input.size;
    let tasks = blocks.batch * blocks.count[0] * blocks.count[1] * blocks.groups;
    let row_len = if blocks.copies { blocks.patch[1] } else { w } * shape.in_channels;
    let depths = depths(shape.kernel, shape.in_channels, row_len);
    let corner = |first: [usize; 2]| {
        let [top, left] = [0, 1].map(|a| first[a] * shape.stride[a]);
        let origin = [
            top as isize - input.padding.top as isize,
            left as isize - input.padding.left as isize,
        ];
        ([top, left], origin)
    };
    let needs_halo = |i: usize, margins: &Margins| {
        let place = i / blocks.groups;
        let first = [
            place / blocks.count[1] % blocks.count[0] * blocks.block[0],
            place % blocks.count[1] * blocks.block[1],
        ];
        touches(margins, [h, w], shape.upsample, corner(first).1, blocks.patch)
    };
    run_tasks(pool, tasks, input, shape.in_channels, halo, needs_halo, |i, thread, strips| {
        let (rest, group) = (i / blocks.groups, i % blocks.groups);
        let (rest, across) = (rest / blocks.count[1], rest % blocks.count[1]);
        let (item, down) = (rest / blocks.count[0], rest % blocks.count[0]);
        let first = [down * blocks.block[0], across * blocks.block[1]];
        let extent = [0, 1].map(|a| blocks.block[a].min(size[a] - first[a]));
        let pixels = extent[0] * extent[1];
        let ([top, left], origin) = corner(first);
        let image = input.values.as_ptr().wrapping_add(item * h * w * shape.in_channels);
        let a = if blocks.copies {
            let patch = scratch.thread(thread);
            // SAFETY: the patch fits the scratch of this thread, and the image has `h * w` pixels.
            unsafe {
                patch::fill(
                    table,
                    &Patch {
                        src: image,
                        size: [h, w],
                        src_channels: shape.in_channels,
                        scale: shape.upsample,
                        around: strips.map(|strips| (strips, [item, 0])),
                        origin,
                        extent: blocks.patch,
                        channels: shape.in_channels,
                        map: input.prologue.at(item, shape.in_channels, 0),
                        dst: patch,
                        dst_pixel: shape.in_channels,
                        whole: false,
                    },
                );
            }
            patch.cast_const()
        } else {
            image.wrapping_add(top * row_len + left * shape.in_channels)
        };
        let a_rows: Vec<usize> = (0..pixels)
            .map(|p| {
                let (y, x) = (p / extent[1] * shape.stride[0], p % extent[1] * shape.stride[1]);
                y * row_len + x * shape.in_channels
            })
            .collect();
        let c_rows: Vec<usize> = (0..pixels)
            .map(|p| {
                let (y, x) = (first[0] + p / extent[1], first[1] + p % extent[1]);
                ((item * size[0] + y) * size[1] + x) * shape.out_channels
            })
            .collect();
        let panels = shape.out_channels.div_ceil(table.panel);
        for panel in group * blocks.group..((group + 1) * blocks.group).min(panels) {
            let oc = panel * table.panel;
            let width = panel_width(table, shape.out_channels, oc);
            for (step, depth) in depths.iter().enumerate() {
                let last = step + 1 == depths.len();
                let initial = if step > 0 { Some(out) } else { residual };
                let initial = initial.map_or(std::ptr::null(), |p| p.get().wrapping_add(oc));
                // SAFETY: the rows lie within the patch or the image, the panel has `packed.rows`
                // rows of `width` floats, and these pixels and channels are this task's alone.
                unsafe {
                    (table.gemm)(&Gemm {
                        a,
                        a_rows: &a_rows,
                        runs: &depth.runs,
                        run_len: depth.len,
                        b: packed.data.const_ptr().add(oc * packed.rows + depth.row * width),
                        ldb: width,
                        c: out.get().add(oc),
                        c_rows: &c_rows,
                        columns: width.min(shape.out_channels - oc),
                        initial,
                        bias: if last { conv.bias_at(oc) } else { std::ptr::null() },
                        ahead: [Ahead::NONE; 2],
                    });
                }
            }
        }
    })
}

/// A part of the sum: stretches of equal length, and the panel row where they begin.
struct Depth {
    runs: Vec<usize>,
    len: usize,
    row: usize,
}

/// Cuts the sum over the kernel's rows (each one stretch of `kw * channels` values) into parts of
/// about `DEPTH`: several rows together where they are short, a row in pieces where it is long.
fn depths([kh, kw]: [usize; 2], channels: usize, row_len: usize) -> Vec<Depth> {
    let stretch = kw * channels;
    let mut all = Vec::new();
    if stretch <= DEPTH {
        let together = DEPTH / stretch;
        for y in (0..kh).step_by(together) {
            let runs = (y..kh.min(y + together)).map(|y| y * row_len).collect();
            all.push(Depth { runs, len: stretch, row: y * stretch });
        }
        return all;
    }
    for y in 0..kh {
        for start in (0..stretch).step_by(DEPTH) {
            let len = DEPTH.min(stretch - start);
            all.push(Depth { runs: vec![y * row_len + start], len, row: y * stretch + start });
        }
    }
    all
}
