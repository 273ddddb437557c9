//! Convolutions.
//!
//! Three ways, chosen by the shapes alone: F(4x4, 3x3) for 3x3 at stride 1, a transform of its own
//! for 3x3 after a nearest doubling (see [`tiles`]), and the plain sum for all else. A kernel that
//! also has an extent in time is a sum of such ones over the frames that an output frame reads; its
//! order is that of the taps, so that an output frame does not depend on which others a call makes.

mod beside;
mod direct;
pub(crate) mod gemm;
mod halo;
mod input;
mod pack;
mod patch;
mod shape;
mod tiled;
pub(crate) mod tiles;

use std::mem::MaybeUninit;

use rayon::ThreadPool;

use crate::error::{KernelError, check};
use crate::pool::{Shared, Workspace};
use crate::simd::Level;
use crate::table::Table;
pub use halo::{LateStrips, Resume, Strips};
pub use input::ConvInput;
pub use shape::{Algorithm, ConvShape};

use input::{Residual, Target};
use pack::Packed;

/// Cells on each side of an image.
pub type Margins = halovae_core::Margins<usize>;

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

impl std::fmt::Debug for Conv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (level, shape, packing) = (self.level, &self.shape, self.packing);
        write!(f, "Conv({shape:?} for {level:?}, {packing:?})")
    }
}

impl Conv {
    /// Packs `weight` (`[out_channels][in_channels]` and then the kernel's time, height and width).
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
        let [time, kh, kw] = shape.kernel;
        let [sh, sw] = shape.stride;
        if [shape.in_channels, shape.out_channels, time, kh, kw, sh, sw, shape.upsample]
            .contains(&0)
        {
            return Err(KernelError::Shape {
                reason: "a convolution's channels, kernel, stride and upsampling must be at least 1",
            });
        }
        let channels = [shape.out_channels, shape.in_channels];
        check("convolution weights", channels[0] * channels[1] * time * kh * kw, weight.len())?;
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
            Algorithm::Winograd43 => pack::pack(table, weight, channels, positions, |taps, out| {
                pack::planes(taps, out, pack::f43);
            }),
            Algorithm::Doubled => pack::pack(table, weight, channels, positions, |taps, out| {
                pack::planes(taps, out, pack::doubled);
            }),
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

    /// Scratch memory of a run, `size` being the number of output frames and height and width of the
    /// input, in bytes.
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

    /// Computes `out` (`[outputs][out height][out width][out_channels]`), all of it. If the frames
    /// are parts of larger ones, `halo` is read where there would be padding.
    ///
    /// # Errors
    ///
    /// [`KernelError::Size`] for slices that do not fit the shapes, [`KernelError::Shape`] when the
    /// kernel is larger than the padded input or a tap reads a frame that is not there,
    /// [`KernelError::OutOfMemory`].
    pub fn run(
        &self,
        pool: &ThreadPool,
        workspace: &mut Workspace,
        input: ConvInput,
        halo: Option<LateStrips>,
        out: &mut [MaybeUninit<f32>],
    ) -> Result<(), KernelError> {
        let residual = input.residual.map_or(Residual::None, Residual::Frames);
        let to = Shared(out.as_mut_ptr().cast());
        self.run_to(pool, workspace, &input, halo, residual, (to, out.len()))
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
        self.run_to(pool, workspace, &input, halo, Residual::Output, (to, out.len()))
    }

    fn run_to(
        &self,
        pool: &ThreadPool,
        workspace: &mut Workspace,
        input: &ConvInput,
        halo: Option<LateStrips>,
        residual: Residual,
        (out, out_len): (Shared<f32>, usize),
    ) -> Result<(), KernelError> {
        let size = input.check(&self.shape, out_len)?;
        if out_len == 0 {
            return Ok(());
        }
        let frame_len = size[0] * size[1] * self.shape.out_channels;
        let target = Target { size, residual, out, frame_len };
        match self.algorithm(input.size, &input.padding) {
            Algorithm::Direct => direct::run(self, pool, workspace, input, halo, target),
            kind => tiled::run(self, kind, pool, workspace, input, halo, target),
        }
    }

    /// How a run on `input` is cut.
    fn plan<'a>(&'a self, input: &'a ConvInput) -> RunPlan<'a> {
        let [h, w] = input.size;
        RunPlan {
            shape: &self.shape,
            packing: self.packing,
            size: [input.outputs(&self.shape), h, w],
            padding: &input.padding,
            prologue: !input.prologue.is_none(),
        }
    }

    fn bias_at(&self, oc: usize) -> *const f32 {
        self.bias.as_ref().map_or(std::ptr::null(), |b| &b[oc])
    }
}

/// What decides how a run is cut.
#[derive(Clone, Copy)]
struct RunPlan<'a> {
    shape: &'a ConvShape,
    packing: Algorithm,
    /// Output frames, and height and width of the input.
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
