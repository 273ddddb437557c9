//! Convs: from an op and its operands to a kernel's input, with what is fused into it.

use halovae_engine::backend::{BackendError, Halo, Operands};
use halovae_engine::program::{self, Op, Program};

use super::store::Value;
use super::weights::CpuWeights;
use super::{CpuBackend, norm_prologue};
use crate::conv::{ConvInput, LateStrips, Margins, Resume, Strips};
use crate::elementwise::Prologue;
use crate::error::KernelError;

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
            resume(&strips(margins, &halo));
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
        let affine = conv.norm.map(|n| self.norm(&n, weights, operands.get(1))).transpose()?;
        let onto = residual_at.and_then(|at| operands.take_owned(at));
        let input = operands.get(0);
        let shape = input.shape();
        let padding = padding_of(conv);
        let input = ConvInput {
            values: input.data(),
            size: [shape.images(), shape.height, shape.width],
            padding,
            prologue: match (&affine, conv.norm) {
                (Some((scale, shift)), Some(norm)) => norm_prologue(&norm, scale, shift),
                _ => Prologue::None,
            },
            residual: match residual_at {
                Some(at) if onto.is_none() => Some(operands.get(at).data()),
                _ => None,
            },
        };
        let normed = !input.prologue.is_none();
        let bytes = prepared.workspace_bytes(input.size, &padding, normed, self.threads());
        match onto {
            Some(mut onto) => {
                self.store.with_workspace(bytes, |workspace| {
                    prepared.run_onto(&self.pool, workspace, input, halo, onto.data_mut())
                })?;
                Ok(onto)
            }
            None => {
                let mut out = self.store.value(conv.output_shape(shape))?;
                self.store.with_workspace(bytes, |workspace| {
                    prepared.run(&self.pool, workspace, input, halo, out.uninit())
                })?;
                Ok(out)
            }
        }
    }
}

pub(super) fn padding_of(conv: &program::Conv) -> Margins {
    conv.padding().map(|cells| cells as usize)
}

fn strips<'a>(margins: Margins, halo: &'a Halo<Value>) -> Strips<'a> {
    let data = |strip: &'a Option<Value>| strip.as_ref().map_or(&[][..], Value::data);
    Strips { margins, values: halo.each_ref().map(data) }
}
