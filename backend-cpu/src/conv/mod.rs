//! Convolutions.
//!
//! Three ways, chosen by the shapes alone: F(4x4, 3x3) for 3x3 at stride 1, a transform of its own
//! for 3x3 after a nearest doubling (see [`tiles`]), and the plain sum for all else.

mod direct;
pub(crate) mod gemm;
mod halo;
mod pack;
mod patch;
mod tiled;
pub(crate) mod tiles;

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::elementwise::Prologue;
use crate::error::{KernelError, check};
use crate::pool::{Shared, Workspace, for_each};
use crate::simd::{Level, Table};
pub use halo::{LateStrips, Resume, Strips};

use pack::Packed;

/// Cells on each side of an image.
pub type Margins = halovae_core::Margins<usize>;

/// A convolution without its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// How often each row and column of the input is repeated first; 1 for none.
    pub upsample: usize,
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The sum as it is written.
    Direct,
    /// Winograd's F(4x4, 3x3): a quarter of the multiplications.
    Winograd43,
    /// 3x3 after a doubling: a quarter of the multiplications.
    Doubled,
}

/// Transformed weights are kept when there are at most this many pairs of channels; beyond it, four
/// times the memory of the plain weights is too much, and they are transformed on each call.
const RESIDENT: usize = 256 * 256;

/// From this many outputs on, transforming the weights on each call pays.
const TRANSFORM_OUTPUTS: usize = 24 * 24;

/// Fewer input channels than this leave the transforms dearer than what they save.
const WINOGRAD_CHANNELS: usize = 16;

/// A convolution with its weights, packed for one level of instructions.
pub struct Conv {
    level: Level,
    table: &'static Table,
    shape: ConvShape,
    bias: Option<Vec<f32>>,
    /// What the packed weights are for.
    packing: Algorithm,
    packed: Packed,
}

/// What a convolution is run on.
#[derive(Clone, Copy)]
pub struct ConvInput<'a> {
    /// `[n][h][w][in_channels]`
    pub values: &'a [f32],
    /// Batch, height, width of the input.
    pub size: [usize; 3],
    /// Zeros around the (upsampled) input.
    pub padding: Margins,
    /// Applied to each input value; padding stays zero.
    pub prologue: Prologue<'a>,
    /// Added to the output, whose shape it has.
    pub residual: Option<&'a [f32]>,
}

impl std::fmt::Debug for Conv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (level, shape, packing) = (self.level, &self.shape, self.packing);
        write!(f, "Conv({shape:?} for {level:?}, {packing:?})")
    }
}

impl Conv {
    /// Packs `weight` (`[out_channels][in_channels][kernel height][kernel width]`).
    ///
    /// # Errors
    ///
    /// [`KernelError::Shape`] for a shape with a zero in it, [`KernelError::Size`] for slices that
    /// do not fit it, [`KernelError::Level`] when the machine lacks `level`,
    /// [`KernelError::OutOfMemory`].
    pub fn prepare(
        level: Level,
        shape: ConvShape,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self, KernelError> {
        Self::prepare_for(level, shape, weight, bias, shape.packing())
    }

    /// Like [`Conv::prepare`], with the weights packed for the given algorithm. For measurements and
    /// tests.
    ///
    /// # Errors
    ///
    /// As [`Conv::prepare`], and [`KernelError::Shape`] for an algorithm that cannot do the shape.
    pub fn prepare_for(
        level: Level,
        shape: ConvShape,
        weight: &[f32],
        bias: Option<&[f32]>,
        algorithm: Algorithm,
    ) -> Result<Self, KernelError> {
        let table = level.table().ok_or(KernelError::Level { level: level.name() })?;
        let [kh, kw] = shape.kernel;
        let [sh, sw] = shape.stride;
        if [shape.in_channels, shape.out_channels, kh, kw, sh, sw, shape.upsample].contains(&0) {
            return Err(KernelError::Shape {
                reason: "a convolution's channels, kernel, stride and upsampling must be at least 1",
            });
        }
        let channels = [shape.out_channels, shape.in_channels];
        check("convolution weights", channels[0] * channels[1] * kh * kw, weight.len())?;
        if let Some(bias) = bias {
            check("convolution bias", shape.out_channels, bias.len())?;
        }
        if !shape.allows(algorithm) {
            return Err(KernelError::Shape {
                reason: "the transforms are for 3x3 kernels at stride 1; use Direct",
            });
        }
        let positions = shape.positions(algorithm);
        let packed = match algorithm {
            Algorithm::Direct => pack::pack(table, weight, channels, positions, |taps, out| {
                out.copy_from_slice(taps);
            }),
            Algorithm::Winograd43 => pack::pack(table, weight, channels, positions, pack::f43),
            Algorithm::Doubled => pack::pack(table, weight, channels, positions, pack::doubled),
        }?;
        Ok(Self {
            level,
            table,
            shape,
            bias: bias.map(<[f32]>::to_vec),
            packing: algorithm,
            packed,
        })
    }

    /// The shape it was prepared for.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// The level it was prepared for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes of the packed weights and the bias.
    pub fn weight_bytes(&self) -> usize {
        self.packed.data.bytes() + self.bias.as_ref().map_or(0, |b| b.len() * size_of::<f32>())
    }

    /// The way an input of `[height, width]` is computed.
    pub fn algorithm(&self, size: [usize; 2], padding: &Margins) -> Algorithm {
        self.shape.algorithm(self.packing, size, padding)
    }

    /// Scratch memory of a run on an input of `[n, height, width]`, in bytes.
    pub fn workspace_bytes(
        &self,
        size: [usize; 3],
        padding: &Margins,
        prologue: bool,
        threads: usize,
    ) -> usize {
        let plan = RunPlan { shape: &self.shape, packing: self.packing, size, padding, prologue };
        plan.workspace_bytes(self.table, threads)
    }

    /// Computes `out` (`[n][out height][out width][out_channels]`), all of it. If the image is a
    /// part of a larger one, `halo` is read where there would be padding.
    ///
    /// # Errors
    ///
    /// [`KernelError::Size`] for slices that do not fit the shapes, [`KernelError::Shape`] when the
    /// kernel is larger than the padded input, [`KernelError::OutOfMemory`].
    pub fn run(
        &self,
        pool: &ThreadPool,
        workspace: &mut Workspace,
        input: ConvInput,
        halo: Option<LateStrips>,
        out: &mut [MaybeUninit<f32>],
    ) -> Result<(), KernelError> {
        if let Some(residual) = input.residual {
            check("convolution residual", out.len(), residual.len())?;
        }
        let residual = input.residual.map(|r| Shared(r.as_ptr().cast_mut()));
        let target = Target { size: [0; 2], residual, out: Shared(out.as_mut_ptr().cast()) };
        self.run_to(pool, workspace, &input, halo, target, out.len())
    }

    /// Adds the convolution of `input` to `out`, which is the residual.
    ///
    /// # Errors
    ///
    /// As [`Conv::run`]; [`KernelError::Shape`] when the input names a residual of its own.
    pub fn run_onto(
        &self,
        pool: &ThreadPool,
        workspace: &mut Workspace,
        input: ConvInput,
        halo: Option<LateStrips>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        if input.residual.is_some() {
            return Err(KernelError::Shape {
                reason: "a convolution onto its residual has no other residual",
            });
        }
        let to = Shared(out.as_mut_ptr());
        let target = Target { size: [0; 2], residual: Some(to), out: to };
        self.run_to(pool, workspace, &input, halo, target, out.len())
    }

    fn run_to(
        &self,
        pool: &ThreadPool,
        workspace: &mut Workspace,
        input: &ConvInput,
        halo: Option<LateStrips>,
        target: Target,
        out_len: usize,
    ) -> Result<(), KernelError> {
        let [n, h, w] = input.size;
        let size = self.shape.output_size([h, w], &input.padding).ok_or(KernelError::Shape {
            reason: "the convolution's kernel is larger than its padded input",
        })?;
        check("convolution input", n * h * w * self.shape.in_channels, input.values.len())?;
        check("convolution output", n * size[0] * size[1] * self.shape.out_channels, out_len)?;
        input.prologue.check(n, self.shape.in_channels)?;
        if out_len == 0 {
            return Ok(());
        }
        let target = Target { size, ..target };
        match self.algorithm([h, w], &input.padding) {
            Algorithm::Direct => direct::run(self, pool, workspace, input, halo, target),
            kind => tiled::run(self, kind, pool, workspace, input, halo, target),
        }
    }

    fn bias_at(&self, oc: usize) -> *const f32 {
        self.bias.as_ref().map_or(std::ptr::null(), |b| &b[oc])
    }
}

/// Runs `task(i, thread, strips)` for every `i < tasks`, each once. Those of which `needs_halo` says
/// so come last, when their strips are there.
fn run_tasks(
    pool: &ThreadPool,
    tasks: usize,
    input: &ConvInput,
    channels: usize,
    halo: Option<LateStrips>,
    needs_halo: impl Fn(usize, &Margins) -> bool,
    task: impl Fn(usize, usize, Option<&Strips>) + Sync,
) -> Result<(), KernelError> {
    let Some(halo) = halo else {
        for_each(pool, tasks, |i, thread| task(i, thread, None));
        return Ok(());
    };
    let (border, inner): (Vec<usize>, Vec<usize>) =
        (0..tasks).partition(|&i| needs_halo(i, &halo.margins));
    for_each(pool, inner.len(), |i, thread| task(inner[i], thread, None));
    let mut fits = Ok(());
    (halo.fetch)(&mut |strips| {
        fits = check_margins(&halo.margins, &strips.margins)
            .and_then(|()| strips.check(input.size, channels));
        if fits.is_ok() {
            for_each(pool, border.len(), |i, thread| task(border[i], thread, Some(strips)));
        }
    })?;
    fits
}

fn check_margins(promised: &Margins, came: &Margins) -> Result<(), KernelError> {
    match promised == came {
        true => Ok(()),
        false => Err(KernelError::Shape { reason: "the halo has other margins than promised" }),
    }
}

/// Where a run's result goes.
#[derive(Clone, Copy)]
struct Target {
    /// Height and width of the output, once they are known.
    size: [usize; 2],
    /// Added to the output; may be the output.
    residual: Option<Shared<f32>>,
    out: Shared<f32>,
}

/// What decides how a run is cut.
#[derive(Clone, Copy)]
struct RunPlan<'a> {
    shape: &'a ConvShape,
    packing: Algorithm,
    size: [usize; 3],
    padding: &'a Margins,
    prologue: bool,
}

impl RunPlan<'_> {
    fn workspace_bytes(&self, table: &Table, threads: usize) -> usize {
        let [n, h, w] = self.size;
        let Some(out) = self.shape.output_size([h, w], self.padding) else { return 0 };
        if n == 0 || out.contains(&0) {
            return 0;
        }
        let layout = match self.shape.algorithm(self.packing, [h, w], self.padding) {
            Algorithm::Direct => direct::Blocks::new(table, self, out, threads).layout(),
            kind => tiled::Blocks::new(table, self, kind, out, threads).layout(),
        };
        layout.bytes(threads)
    }
}

impl ConvShape {
    /// Height and width of the output for an input of `[height, width]`; `None` where the kernel
    /// does not fit.
    pub fn output_size(&self, [h, w]: [usize; 2], p: &Margins) -> Option<[usize; 2]> {
        let along = |n: usize, before: usize, after: usize, axis: usize| {
            let padded = n.checked_mul(self.upsample)?.checked_add(before)?.checked_add(after)?;
            Some(padded.checked_sub(self.kernel[axis])? / self.stride[axis] + 1)
        };
        Some([along(h, p.top, p.bottom, 0)?, along(w, p.left, p.right, 1)?])
    }

    /// Bytes of the weights and bias as [`Conv::prepare`] packs them.
    pub fn weight_bytes(&self, level: Level, bias: bool) -> usize {
        let rows = self.positions(self.packing()) * self.in_channels;
        let packed =
            level.table().map_or(0, |table| pack::packed_len(table, rows, self.out_channels));
        let bias = if bias { self.out_channels } else { 0 };
        (packed.next_multiple_of(16) + bias) * size_of::<f32>()
    }

    /// Scratch memory of a run with weights packed by [`Conv::prepare`], in bytes.
    pub fn workspace_bytes(
        &self,
        level: Level,
        size: [usize; 3],
        padding: &Margins,
        prologue: bool,
        threads: usize,
    ) -> usize {
        let plan = RunPlan { shape: self, packing: self.packing(), size, padding, prologue };
        level.table().map_or(0, |table| plan.workspace_bytes(table, threads))
    }

    /// What weights are packed for.
    fn packing(&self) -> Algorithm {
        let fast = self.plain_3x3() && self.in_channels >= WINOGRAD_CHANNELS;
        if fast && self.upsample == 2 {
            Algorithm::Doubled
        } else if fast && self.upsample == 1 && self.in_channels * self.out_channels <= RESIDENT {
            Algorithm::Winograd43
        } else {
            Algorithm::Direct
        }
    }

    /// What a run uses: weights packed for the plain sum can be transformed on the way.
    fn algorithm(&self, packing: Algorithm, size: [usize; 2], padding: &Margins) -> Algorithm {
        let outputs = self.output_size(size, padding).map_or(0, |[h, w]| h * w);
        let transforms = packing == Algorithm::Direct
            && self.allows(Algorithm::Winograd43)
            && self.in_channels * self.out_channels > RESIDENT
            && self.in_channels >= WINOGRAD_CHANNELS
            && outputs >= TRANSFORM_OUTPUTS;
        if transforms { Algorithm::Winograd43 } else { packing }
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Direct => true,
            Algorithm::Winograd43 => self.plain_3x3() && self.upsample == 1,
            Algorithm::Doubled => self.plain_3x3() && self.upsample == 2,
        }
    }

    /// Floats of packed weights for each pair of channels.
    fn positions(&self, packing: Algorithm) -> usize {
        match packing {
            Algorithm::Direct => self.kernel[0] * self.kernel[1],
            Algorithm::Winograd43 => 36,
            Algorithm::Doubled => 9,
        }
    }

    fn plain_3x3(&self) -> bool {
        self.kernel == [3, 3] && self.stride == [1, 1]
    }
}
