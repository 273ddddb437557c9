//! Convs: from an op and its operands to a kernel's input, with what is fused into it.

use halovae_engine::backend::{BackendError, Halo, Operands, Surroundings};
use halovae_engine::program::{Conv2d, Op, Program};

use super::store::Value;
use super::weights::CpuWeights;
use super::{CpuBackend, norm_prologue};
use crate::conv::{ConvInput, LateStrips, Margins, Padding, Resume, Strips};
use crate::elementwise::Prologue;
use crate::error::KernelError;

impl CpuBackend {
    pub(super) fn conv(
        &self,
        program: &Program,
        conv: &Conv2d,
        weights: &CpuWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let mut lost = None;
        let mut around = operands.take_surroundings();
        let margins = around.as_ref().map(margins_of);
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
            None => self.error(program.op_name(&Op::Conv2d(*conv)), error),
        })
    }

    fn run_conv(
        &self,
        conv: &Conv2d,
        weights: &CpuWeights,
        mut operands: Operands<'_, Value>,
        halo: Option<LateStrips>,
    ) -> Result<Value, KernelError> {
        let prepared = weights.conv(conv);
        let residual_at = 1 + usize::from(conv.norm.is_some());
        let affine = conv.norm.map(|n| self.norm(&n, weights, operands.get(1))).transpose()?;
        let onto = conv.residual.and_then(|_| operands.take_owned(residual_at));
        let input = operands.get(0);
        let shape = input.shape();
        let padding = padding_of(conv);
        let input = ConvInput {
            values: input.data(),
            size: [shape.batch, shape.height, shape.width],
            padding,
            prologue: match (&affine, conv.norm) {
                (Some((scale, shift)), Some(norm)) => norm_prologue(&norm, scale, shift),
                _ => Prologue::None,
            },
            residual: match conv.residual {
                Some(_) if onto.is_none() => Some(operands.get(residual_at).data()),
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

pub(super) fn padding_of(conv: &Conv2d) -> Padding {
    let p = conv.padding;
    Padding {
        top: p.top as usize,
        bottom: p.bottom as usize,
        left: p.left as usize,
        right: p.right as usize,
    }
}

fn margins_of(around: &Surroundings<Value>) -> Margins {
    let m = around.margins;
    Margins {
        top: m.top as usize,
        bottom: m.bottom as usize,
        left: m.left as usize,
        right: m.right as usize,
    }
}

fn strips<'a>(margins: Margins, halo: &'a Halo<Value>) -> Strips<'a> {
    let data = |strip: &'a Option<Value>| strip.as_ref().map_or(&[][..], Value::data);
    Strips {
        margins,
        above: data(&halo.above),
        below: data(&halo.below),
        before: data(&halo.before),
        behind: data(&halo.behind),
    }
}
