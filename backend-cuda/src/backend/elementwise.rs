//! SiLU, norms with known statistics, sums, nearest upsampling.

use halovae_engine::backend::{BackendError, Operands};
use halovae_engine::program::Norm;
use halovae_engine::tensor::Shape;

use super::CudaBackend;
use crate::kernels::Kernel;
use crate::params::{Elementwise, Upsample};
use crate::store::Block;
use crate::value::Value;

impl CudaBackend {
    /// An activation or a norm with known statistics, in the operand's memory if it may be taken.
    pub(super) fn map(
        &self,
        name: &str,
        norm: Option<(&Norm, &Block)>,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let params = Elementwise {
            silu: norm.is_none_or(|(norm, _)| norm.silu).into(),
            affine: norm.map_or(0, |(_, affine)| affine.pointer()),
            ..Elementwise::default()
        };
        self.elementwise(name, params, operands, None)
    }

    pub(super) fn add(
        &self,
        name: &str,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        self.elementwise(name, Elementwise::default(), operands, Some(1))
    }

    fn elementwise(
        &self,
        name: &str,
        params: Elementwise,
        operands: &mut Operands<'_, Value>,
        other: Option<usize>,
    ) -> Result<Value, BackendError> {
        let owned =
            operands.take_owned(0).map(|owned| self.owned_feature(name, owned)).transpose()?;
        let other = other.map(|at| self.feature(name, operands.get(at))).transpose()?;
        let run = |input: &Value, out: &Value| {
            let eights = u64::from(out.eights());
            let sample = out.positions() as u64 * eights;
            let count = out.shape.batch as u64 * sample;
            let params = Elementwise {
                input: input.pointer(),
                out: out.pointer(),
                other: other.as_ref().map_or(0, |other| other.pointer()),
                count: count as u32,
                sample: sample as u32,
                eights: out.eights(),
                ..params
            };
            self.store.over(Kernel::Elementwise, &params, count)
        };
        match owned {
            Some(owned) => run(&owned, &owned).map(|()| owned),
            None => {
                let input = self.feature(name, operands.get(0))?;
                let out = self.store.value(name, input.shape)?;
                run(&input, &out).map(|()| out)
            }
        }
    }

    pub(super) fn upsample(
        &self,
        name: &str,
        input: &Value,
        factor: usize,
    ) -> Result<Value, BackendError> {
        let input = self.feature(name, input)?;
        let s = input.shape;
        let shape = Shape {
            height: s.height.saturating_mul(factor),
            width: s.width.saturating_mul(factor),
            ..s
        };
        let out = self.store.value(name, shape)?;
        let count = (shape.batch * out.positions()) as u64 * u64::from(out.eights());
        let params = Upsample {
            input: input.pointer(),
            out: out.pointer(),
            count: count as u32,
            width: shape.width as u32,
            eights: out.eights(),
            factor: factor as u32,
        };
        self.store.over(Kernel::Upsample, &params, count)?;
        Ok(out)
    }
}
