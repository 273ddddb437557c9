//! Convs: from an op and its operands to a kernel's input, with what is fused into it.

use halovae_engine::backend::{BackendError, Halo, Operands};
use halovae_engine::program::{self, Edge, NormOver, Op, Program};
use halovae_engine::tensor::Shape;

use super::CpuBackend;
use super::norm::{Factors, Normed};
use super::store::{Value, frames_of};
use super::weights::{CpuWeights, shape_of};
use crate::channel_norm::Divisor;
use crate::conv::{ConvInput, LateStrips, Margins, Resume, Strips};
use crate::error::KernelError;

/// What a conv reads in time: the frames, and for each output frame and tap which of them.
struct Read<'a> {
    shape: Shape,
    frames: Vec<&'a [f32]>,
    taps: Vec<Option<usize>>,
    outputs: Shape,
}

impl<'a> Read<'a> {
    fn new(conv: &program::Conv, operands: &'a Operands<'_, Value>) -> Self {
        if conv.is_framewise() {
            let input = operands.get(0);
            let (shape, frames) = (input.shape(), input.frames());
            let taps = (0..frames.len()).map(Some).collect();
            return Self { shape, frames, taps, outputs: conv.output_shape(shape) };
        }
        let reads = operands.frames();
        let (shape, frames) = frames_of(reads.parts());
        let outputs = conv.output_shape(shape).over(reads.outputs());
        Self { shape, frames, taps: reads.taps().to_vec(), outputs }
    }
}

impl CpuBackend {
    pub(super) fn conv(
        &self,
        program: &Program,
        conv: &program::Conv,
        weights: &CpuWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let mut lost = None;
        let mut around = operands.take_surroundings();
        let margins = around.as_ref().map(|around| around.margins.map(|cells| cells as usize));
        let mut fetch = |resume: &mut Resume| {
            let (Some(around), Some(margins)) = (&mut around, margins) else { return Ok(()) };
            let halo = (around.fetch)().map_err(|error| {
                lost = Some(error);
                KernelError::Halo
            })?;
            let factors = self.factors_of_strips(conv, &halo)?;
            let values = halo.each_ref().map(values_of);
            resume(&Strips { margins, values, factors: factors.each_ref().map(values_of) });
            Ok(())
        };
        let halo = margins.map(|margins| LateStrips { margins, fetch: &mut fetch });
        let result = self.run_conv(conv, weights, operands, halo);
        result.map_err(|error| match lost {
            Some(lost) => lost,
            None => self.error(program.op_name(&Op::Conv(*conv)), error),
        })
    }

    fn run_conv(
        &self,
        conv: &program::Conv,
        weights: &CpuWeights,
        mut operands: Operands<'_, Value>,
        halo: Option<LateStrips>,
    ) -> Result<Value, KernelError> {
        let prepared = weights.conv(conv);
        let residual_at = conv.residual_operand();
        let onto = residual_at.and_then(|at| operands.take_owned(at));
        let read = Read::new(conv, &operands);
        let Shape { height, width, channels, .. } = read.shape;
        let factors = match conv.norm {
            Some(norm) => {
                let stats = norm.stats().map(|_| operands.get(1));
                self.factors(&norm, weights, stats, (&read.frames, channels))?
            }
            None => Factors::None,
        };
        let of_frames = factors.of_frames();
        let residual = match residual_at {
            Some(at) if onto.is_none() => Some(operands.get(at).frames()),
            _ => None,
        };
        let padding = padding_of(conv);
        let input = ConvInput {
            frames: &read.frames,
            taps: &read.taps,
            size: [height, width],
            padding,
            edges: edges_of(conv),
            prologue: match &conv.norm {
                Some(norm) => factors.prologue(&Normed { norm, weights, of_frames: &of_frames }),
                None => crate::prologue::Prologue::None,
            },
            residual: residual.as_deref(),
        };
        let normed = !input.prologue.is_none();
        let size = [read.outputs.images(), height, width];
        let bytes = prepared.workspace_bytes(size, &padding, normed, self.threads());
        match onto {
            Some(mut onto) => {
                self.store.with_workspace(bytes, |workspace| {
                    prepared.run_onto(&self.pool, workspace, input, halo, onto.data_mut())
                })?;
                Ok(onto)
            }
            None => {
                let mut out = self.store.value(read.outputs)?;
                self.store.with_workspace(bytes, |workspace| {
                    prepared.run(&self.pool, workspace, input, halo, out.uninit())
                })?;
                Ok(out)
            }
        }
    }

    /// Factors of the strips' positions, where a norm over channels is fused into the conv.
    fn factors_of_strips(
        &self,
        conv: &program::Conv,
        halo: &Halo<Value>,
    ) -> Result<Halo<Value>, KernelError> {
        let Some(NormOver::Channels { eps, floor, .. }) = conv.norm.map(|norm| norm.over) else {
            return Ok(Halo::default());
        };
        let divisor = Divisor { eps, floor };
        let of = |strip: &Option<Value>| match strip {
            Some(strip) => {
                self.position_factors(&strip.frames(), strip.shape().channels, divisor).map(Some)
            }
            None => Ok(None),
        };
        Ok(Halo::of_frame([of(&halo.top)?, of(&halo.bottom)?, of(&halo.left)?, of(&halo.right)?]))
    }
}

fn values_of(strip: &Option<Value>) -> &[f32] {
    strip.as_ref().map_or(&[][..], Value::data)
}

/// What stands beyond rows and columns.
fn edges_of(conv: &program::Conv) -> [Edge; 2] {
    [conv.edges.height, conv.edges.width]
}

/// Whether the kernels have a conv as it stands, of which a layer norm is no part. What stands beyond
/// the ends in time is among the frames that taps read.
pub(super) fn supports(conv: &program::Conv) -> bool {
    let is_by_layer = |norm: program::Norm| matches!(norm.over, NormOver::Layer { .. });
    !conv.norm.is_some_and(is_by_layer)
        && shape_of(conv).has_edges(&padding_of(conv), edges_of(conv))
}

/// Padding of rows and columns; that of frames is among the taps.
pub(super) fn padding_of(conv: &program::Conv) -> Margins {
    let padding = conv.padding().map(|cells| cells as usize);
    Margins { past: 0, future: 0, ..padding }
}
