//! The engine's [`Backend`] on the kernels of this crate.

mod attention;
mod bands;
mod conv;
mod elementwise;
mod memory;
mod norm;
mod product;
mod stage;
mod transfer;
#[cfg(test)]
mod ways;
mod weights;
mod winograd;

use std::sync::Arc;

use halovae_core::Region;
use halovae_engine::backend::{
    Backend, BackendError, DeviceId, Memory, Operands, Timer, WeightSource,
};
use halovae_engine::program::{Op, Program};
use halovae_engine::tensor::{HostTensor, Shape};
use wgpu::Buffer;

use crate::kernels::{GROUP, Shader};
use crate::options::Precision;
use crate::record::{Dispatch, spread};
use crate::shared::Shared;
use crate::store::{Block, Store, Value};
use crate::template::Names;
use crate::timer::QueryTimer;
use crate::tuning::Tuning;
pub use attention::Attending;
pub use weights::WgpuWeights;

/// One rank's use of a device.
#[derive(Debug)]
pub struct WgpuBackend {
    pub(crate) shared: Arc<Shared>,
    store: Arc<Store>,
}

impl WgpuBackend {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let store = Store::new(shared.clone());
        Self { shared, store }
    }

    /// Goes on with another tuning: what was prepared before is not for it.
    pub(crate) fn tune(&self, tuning: Tuning) {
        self.shared.tune(tuning);
    }

    /// A buffer that counts as this rank's.
    pub(crate) fn block(&self, what: &str, bytes: u64) -> Result<Block, BackendError> {
        self.store.block(what, bytes)
    }

    pub(crate) fn dispatch(&self, dispatch: &Dispatch<'_>) -> Result<(), BackendError> {
        self.store.recorder.dispatch(&self.shared, dispatch)
    }

    /// Runs a kernel that goes over `count` places, one invocation for each.
    fn over(
        &self,
        shader: Shader,
        names: Names,
        buffers: &[&Buffer],
        immediates: &[u32],
        count: u64,
    ) -> Result<(), BackendError> {
        let groups = spread(count.div_ceil(GROUP.into()));
        // An activation of four channels is worth some hundred operations.
        let work = count.saturating_mul(100);
        self.dispatch(&Dispatch { shader, names, buffers, immediates, groups, work })
    }
}

impl Drop for WgpuBackend {
    fn drop(&mut self) {
        // What was recorded and not waited for.
        self.store.recorder.forget();
    }
}

impl Backend for WgpuBackend {
    type Tensor = Value;
    type Weights = WgpuWeights;
    type Attention = Attending;

    fn name(&self) -> &'static str {
        "wgpu"
    }

    fn device(&self) -> DeviceId {
        DeviceId { backend: "wgpu", index: self.shared.id }
    }

    fn description(&self) -> String {
        let adapter = &self.shared.adapter;
        let precision = match self.shared.options.precision {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        };
        format!("{}, {}, {precision}", adapter.name, adapter.backend)
    }

    fn supports(&self, _program: &Program, op: &Op) -> bool {
        op.is_of_images()
    }

    fn prepare(
        &self,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<WgpuWeights, BackendError> {
        WgpuWeights::load(self, program, source)
    }

    fn upload(&self, tensor: &HostTensor) -> Result<Value, BackendError> {
        self.upload_value(tensor)
    }

    fn download(&self, tensor: &Value, region: Region) -> Result<HostTensor, BackendError> {
        self.download_value(tensor, region)
    }

    fn shape(&self, tensor: &Value) -> Shape {
        tensor.shape
    }

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &WgpuWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        self.shared.check()?;
        if !op.is_of_images() {
            return Err(BackendError::unsupported(self.name(), op));
        }
        let name = program.op_name(op);
        match *op {
            Op::Conv(conv) => self.conv(name, &conv, weights, operands),
            Op::NormStats { output, .. } => {
                self.stats(name, operands.get(0), program.groups(output) as usize)
            }
            Op::NormApply { norm, .. } => {
                let affine = self.affine(name, &norm, weights, operands.get(0), operands.get(1))?;
                self.map(name, Some((&norm, &affine)), &mut operands)
            }
            Op::Silu { .. } => self.map(name, None, &mut operands),
            Op::Upsample { factor, .. } => self.upsample(name, operands.get(0), factor as usize),
            Op::Add { .. } => self.add(name, &mut operands),
            Op::Clamp { .. } | Op::Join { .. } | Op::Shuffle(_) => {
                Err(BackendError::unsupported(self.name(), op))
            }
            Op::Attention { scale, .. } => {
                let attending = self.attend_more(name, scale, &operands, None)?;
                drop(operands);
                self.finish_attention(attending)
            }
        }
    }

    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Value>,
        so_far: Option<Attending>,
    ) -> Result<Attending, BackendError> {
        let Op::Attention { scale, .. } = *op else { panic!("{} is no attention", op.kind()) };
        self.shared.check()?;
        self.attend_more(program.op_name(op), scale, &operands, so_far)
    }

    fn attended(&self, attention: Attending) -> Result<Value, BackendError> {
        self.finish_attention(attention)
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.store.recorder.submit(&self.shared);
        self.shared.wait()
    }

    fn timer(&self) -> Result<Option<Box<dyn Timer>>, BackendError> {
        let timer = QueryTimer::new(&self.shared, self.store.clone());
        self.shared.check()?;
        Ok(timer.map(|timer| -> Box<dyn Timer> { Box::new(timer) }))
    }

    fn memory(&self) -> Memory {
        self.store.memory()
    }

    fn reset_peak(&self) {
        self.store.reset_peak();
    }
}
