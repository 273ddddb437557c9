//! What a convolution is, and which way it is computed.

use halovae_engine::program::Edge;

use super::{Margins, RunPlan, pack};
use crate::simd::Level;

/// A convolution without its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel extent in time (1 for images), height and width.
    pub kernel: [usize; 3],
    /// Vertical and horizontal stride. One in time is up to the caller, who lists the frames that an
    /// output reads.
    pub stride: [usize; 2],
    /// How often each row and column of the input is repeated first; 1 for none.
    pub upsample: usize,
}

/// How a convolution is computed, as far as height and width go; the taps in time are always summed
/// as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The sum as it is written.
    Direct,
    /// Winograd's F(4x4, 3x3): a quarter of the multiplications.
    Winograd43,
    /// 3x3 after a doubling: a quarter of the multiplications.
    Doubled,
}

impl Algorithm {
    /// Edges of height and width as patches of the input see them; `None` if there is no such input.
    ///
    /// Doubled tiles read the small image, one of whose cells is two of the padding's. Copies are the
    /// same in both, and so is a reflection of one cell, which is the outermost cell again. Those of
    /// more cells are out of step with the pairs.
    pub(super) fn edges(self, padding: &Margins, edges: [Edge; 2]) -> Option<[Edge; 2]> {
        if self != Self::Doubled {
            return Some(edges);
        }
        let Margins { top, bottom, left, right, .. } = *padding;
        let along = |edge: Edge, padding: usize| match edge {
            Edge::Reflect if padding > 1 => None,
            Edge::Reflect => Some(Edge::Repeat),
            Edge::Zeros | Edge::Repeat => Some(edge),
        };
        Some([along(edges[0], top.max(bottom))?, along(edges[1], left.max(right))?])
    }
}

/// Transformed weights are kept when there are at most this many kernels of 3x3; beyond it, four
/// times the memory of the plain weights is too much, and they are transformed on each call.
const RESIDENT: usize = 256 * 256;

/// From this many outputs of a frame on, transforming the weights on each call pays. The number of
/// frames has no say, so that it does not show in the result.
const TRANSFORM_OUTPUTS: usize = 24 * 24;

/// Fewer input channels than this leave the transforms dearer than what they save.
const WINOGRAD_CHANNELS: usize = 16;

impl ConvShape {
    /// Height and width of the output for an input of `[height, width]`; `None` where the kernel
    /// does not fit. Each output frame is one that the caller asks for.
    pub fn output_size(&self, [h, w]: [usize; 2], p: &Margins) -> Option<[usize; 2]> {
        let along = |n: usize, before: usize, after: usize, axis: usize| {
            let padded = n.checked_mul(self.upsample)?.checked_add(before)?.checked_add(after)?;
            Some(padded.checked_sub(self.kernel[1 + axis])? / self.stride[axis] + 1)
        };
        Some([along(h, p.top, p.bottom, 0)?, along(w, p.left, p.right, 1)?])
    }

    /// Bytes of the weights and bias as [`Conv::prepare`](super::Conv::prepare) packs them.
    pub fn weight_bytes(&self, level: Level, bias: bool) -> usize {
        let rows = self.positions(self.packing()) * self.in_channels;
        let packed =
            level.table().map_or(0, |table| pack::packed_len(table, rows, self.out_channels));
        let bias = if bias { self.out_channels } else { 0 };
        (packed.next_multiple_of(16) + bias) * size_of::<f32>()
    }

    /// Scratch memory of a run that makes frames out of frames, `size` being the number of output
    /// frames and height and width of the input, with weights packed by
    /// [`Conv::prepare`](super::Conv::prepare), in bytes.
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

    /// Whether a run with weights packed by [`Conv::prepare`](super::Conv::prepare) has that padding.
    /// It has all but reflections of more than one cell that the transform for doubled images would
    /// read: to double the image first costs less than to keep other weights for them.
    pub fn has_edges(&self, padding: &Margins, edges: [Edge; 2]) -> bool {
        self.packing().edges(padding, edges).is_some()
    }

    /// What weights are packed for.
    pub(super) fn packing(&self) -> Algorithm {
        let fast = self.plain_3x3() && self.in_channels >= WINOGRAD_CHANNELS;
        if fast && self.upsample == 2 {
            Algorithm::Doubled
        } else if fast && self.upsample == 1 && self.planes() <= RESIDENT {
            Algorithm::Winograd43
        } else {
            Algorithm::Direct
        }
    }

    /// What a run uses: weights packed for the plain sum can be transformed on the way.
    pub(super) fn algorithm(
        &self,
        packing: Algorithm,
        size: [usize; 2],
        padding: &Margins,
    ) -> Algorithm {
        let outputs = self.output_size(size, padding).map_or(0, |[h, w]| h * w);
        let transforms = packing == Algorithm::Direct
            && self.allows(Algorithm::Winograd43)
            && self.planes() > RESIDENT
            && self.in_channels >= WINOGRAD_CHANNELS
            && outputs >= TRANSFORM_OUTPUTS;
        if transforms { Algorithm::Winograd43 } else { packing }
    }

    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Direct => true,
            Algorithm::Winograd43 => self.plain_3x3() && self.upsample == 1,
            Algorithm::Doubled => self.plain_3x3() && self.upsample == 2,
        }
    }

    /// Floats of packed weights for each pair of channels.
    pub(super) fn positions(&self, packing: Algorithm) -> usize {
        let of_plane = match packing {
            Algorithm::Direct => self.kernel[1] * self.kernel[2],
            Algorithm::Winograd43 => 36,
            Algorithm::Doubled => 9,
        };
        self.kernel[0] * of_plane
    }

    /// Kernels in height and width, one for each pair of channels and tap in time.
    fn planes(&self) -> usize {
        self.kernel[0] * self.in_channels * self.out_channels
    }

    fn plain_3x3(&self) -> bool {
        self.kernel[1..] == [3, 3] && self.stride == [1, 1]
    }
}
