//! SiLU, norms with known statistics, sums, nearest upsampling.

use halovae_engine::backend::{BackendError, Operands};
use halovae_engine::program::Norm;
use halovae_engine::tensor::Shape;
use wgpu::Buffer;

use super::WgpuBackend;
use crate::kernels::Shader;
use crate::store::{Block, Value};
use crate::template::names;

impl WgpuBackend {
    /// An activation or a norm with known statistics, in the operand's memory if it may be taken.
    pub(super) fn map(
        &self,
        name: &str,
        norm: Option<(&Norm, &Block)>,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let silu = norm.is_none_or(|(norm, _)| norm.silu);
        let affine = norm.map(|(_, affine)| affine);
        let owned = operands.take_owned(0);
        let in_place = owned.is_some();
        let out = match owned {
            Some(owned) => owned,
            None => self.store.value(name, operands.get(0).shape)?,
        };
        let from = (!in_place).then(|| operands.get(0));
        self.elementwise(&out, from, None, affine, silu)?;
        Ok(out)
    }

    pub(super) fn add(
        &self,
        name: &str,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        match operands.take_owned(0) {
            Some(out) => {
                self.elementwise(&out, None, Some(operands.get(1)), None, false)?;
                Ok(out)
            }
            None => {
                let [a, b] = [0, 1].map(|at| operands.get(at));
                let out = self.store.value(name, a.shape)?;
                self.elementwise(&out, Some(a), Some(b), None, false)?;
                Ok(out)
            }
        }
    }

    fn elementwise(
        &self,
        out: &Value,
        a: Option<&Value>,
        b: Option<&Value>,
        affine: Option<&Block>,
        silu: bool,
    ) -> Result<(), BackendError> {
        let layout = out.layout;
        let names = names([
            ("INPLACE", a.is_none().into()),
            ("ADD", b.is_some().into()),
            ("NORM", affine.is_some().into()),
            ("SILU", silu.into()),
        ]);
        let row = (layout.width * layout.quads) as u32;
        for (at, chunk) in out.chunks.iter().enumerate() {
            // Values of one shape lie in the same chunks.
            let others = [a, b].into_iter().flatten().map(|value| &*value.chunks[at]);
            let mut buffers: Vec<&Buffer> = vec![chunk];
            buffers.extend(others);
            buffers.extend(affine.map(|block| &**block));
            let rows = layout.chunk(at);
            let count = rows.len() as u32 * row;
            let immediates =
                [count, row, layout.quads as u32, rows.start as u32, layout.height as u32];
            let (shader, names) = (Shader::Elementwise, names.clone());
            self.over(shader, names, &buffers, &immediates, count.into())?;
        }
        Ok(())
    }

    pub(super) fn upsample(
        &self,
        name: &str,
        input: &Value,
        factor: usize,
    ) -> Result<Value, BackendError> {
        let s = input.shape;
        let shape = Shape {
            height: s.height.saturating_mul(factor),
            width: s.width.saturating_mul(factor),
            ..s
        };
        let out = self.store.value(name, shape)?;
        let (from, to) = (input.layout, out.layout);
        for sample in 0..s.batch {
            for into in to.runs(sample, 0..shape.height) {
                let sources = into.rows.start / factor..into.rows.end.div_ceil(factor);
                for run in from.runs(sample, sources) {
                    let start = into.rows.start.max(run.rows.start * factor);
                    let end = into.rows.end.min(run.rows.end * factor);
                    let immediates = [
                        (end - start) as u32,
                        to.width as u32,
                        to.quads as u32,
                        factor as u32,
                        start as u32,
                        (into.at + start - into.rows.start) as u32,
                        (run.at as i64 - run.rows.start as i64) as i32 as u32,
                    ];
                    let buffers: [&Buffer; 2] = [&input.chunks[run.chunk], &out.chunks[into.chunk]];
                    let count = ((end - start) * to.width * to.quads) as u64;
                    self.over(Shader::Upsample, names([]), &buffers, &immediates, count)?;
                }
            }
        }
        Ok(out)
    }
}
