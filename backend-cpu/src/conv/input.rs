//! What a convolution is run on, and where its result goes.

use halovae_engine::program::Edge;

use super::{Algorithm, ConvShape, Margins};
use crate::error::{KernelError, check};
use crate::pool::Shared;
use crate::prologue::Prologue;

/// What a convolution is run on.
#[derive(Clone, Copy)]
pub struct ConvInput<'a> {
    /// Input frames, `[h][w][in_channels]` each, wherever they lie.
    pub frames: &'a [&'a [f32]],
    /// For each output frame and each of the kernel's taps in time (`[outputs][time]`) the index of
    /// the frame that the tap reads; `None` where zeros stand.
    pub taps: &'a [Option<usize>],
    /// Height and width of an input frame.
    pub size: [usize; 2],
    /// Cells around the (upsampled) frames.
    pub padding: Margins,
    /// What stands there along height and width.
    pub edges: [Edge; 2],
    /// Applied to each input value; zeros of the padding stay zero.
    pub prologue: Prologue<'a>,
    /// Added to the output: for each of its frames one of the same shape, wherever they lie.
    pub residual: Option<&'a [&'a [f32]]>,
}

impl ConvInput<'_> {
    /// Checks everything against the shape; gives the output's height and width.
    pub(super) fn check(&self, shape: &ConvShape, out: usize) -> Result<[usize; 2], KernelError> {
        let ([h, w], time) = (self.size, shape.kernel[0]);
        let size = shape.output_size(self.size, &self.padding).ok_or(KernelError::Shape {
            reason: "the convolution's kernel is larger than its padded input",
        })?;
        for frame in self.frames {
            check("convolution input", h * w * shape.in_channels, frame.len())?;
        }
        let outputs = self.outputs(shape);
        check("frames that a convolution's taps read", outputs * time, self.taps.len())?;
        if self.taps.iter().flatten().any(|&frame| frame >= self.frames.len()) {
            return Err(KernelError::Shape {
                reason: "a convolution's taps must read frames of its input",
            });
        }
        let frame = size[0] * size[1] * shape.out_channels;
        check("convolution output", outputs * frame, out)?;
        if let Some(residual) = self.residual {
            check("frames of a convolution's residual", outputs, residual.len())?;
            for residual in residual {
                check("convolution residual", frame, residual.len())?;
            }
        }
        self.prologue.check([self.frames.len(), h * w, shape.in_channels])?;
        Ok(size)
    }

    /// The edges as a way to compute the run sees them.
    pub(super) fn edges_for(&self, algorithm: Algorithm) -> Result<[Edge; 2], KernelError> {
        algorithm.edges(&self.padding, self.edges).ok_or(KernelError::Shape {
            reason: "reflections of more than one cell after a doubling; double the image first",
        })
    }

    /// Frames of the output.
    pub(super) fn outputs(&self, shape: &ConvShape) -> usize {
        self.taps.len() / shape.kernel[0]
    }

    /// The frames that the taps of output frame `output` read.
    pub(super) fn taps_of(&self, shape: &ConvShape, output: usize) -> &[Option<usize>] {
        &self.taps[output * shape.kernel[0]..][..shape.kernel[0]]
    }
}

/// What is added to a run's result.
#[derive(Clone, Copy)]
pub(super) enum Residual<'a> {
    None,
    /// For each output frame another.
    Frames(&'a [&'a [f32]]),
    /// What the output holds.
    Output,
}

/// Where a run's result goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// Height and width of an output frame.
    pub size: [usize; 2],
    pub residual: Residual<'a>,
    pub out: Shared<f32>,
    /// Floats of an output frame.
    pub frame_len: usize,
}

impl Target<'_> {
    pub(super) fn frame(&self, output: usize) -> *mut f32 {
        self.out.get().wrapping_add(output * self.frame_len)
    }

    /// What is added to an output frame, or null.
    pub(super) fn residual(&self, output: usize) -> *const f32 {
        match self.residual {
            Residual::None => std::ptr::null(),
            Residual::Frames(frames) => frames[output].as_ptr(),
            Residual::Output => self.frame(output).cast_const(),
        }
    }
}
