//! The engine's [`Backend`] on the kernels of this crate.

mod areas;
mod attention;
mod conv;
mod elementwise;
mod memory;
mod norm;
mod phase;
mod product;
mod repeat;
mod shrink;
mod stage;
mod transfer;
mod weights;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halovae_core::Region;
use halovae_engine::backend::{
    Backend, BackendError, DeviceId, Memory, Operands, Timer, WeightSource,
};
use halovae_engine::program::{Conv, Op, Program};
use halovae_engine::tensor::{HostTensor, Shape};

use crate::cudnn::{Choices, Engines};
use crate::shared::Shared;
use crate::store::{Spare, Store, counted_bytes};
use crate::timer::StreamTimer;
use crate::value::Value;
pub use attention::Attending;
use repeat::Repeats;
pub use weights::CudaWeights;

/// One rank's use of a device.
#[derive(Debug)]
pub struct CudaBackend {
    shared: Arc<Shared>,
    store: Arc<Store>,
    repeats: Arc<Mutex<Repeats>>,
    /// Of cuDNN's, where it may be asked.
    engines: Option<Arc<Engines>>,
}

impl CudaBackend {
    pub(crate) fn new(
        shared: Arc<Shared>,
        choices: Option<Arc<Choices>>,
    ) -> Result<Self, BackendError> {
        let store = Store::new(shared.clone())?;
        let repeats = Arc::<Mutex<Repeats>>::default();
        let spare: Arc<dyn Spare> = repeats.clone();
        store.spare.set(Arc::downgrade(&spare)).expect("set once");
        let engines = choices.map(|choices| Arc::new(Engines::new(choices, store.clone())));
        Ok(Self { shared, store, repeats, engines })
    }

    /// Another handle of the same: what one of them holds, the other does.
    pub(crate) fn same(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            store: self.store.clone(),
            repeats: self.repeats.clone(),
            engines: self.engines.clone(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

impl Backend for CudaBackend {
    type Tensor = Value;
    type Weights = CudaWeights;
    type Attention = Attending;

    fn name(&self) -> &'static str {
        "cuda"
    }

    fn device(&self) -> DeviceId {
        DeviceId { backend: "cuda", index: self.shared.id }
    }

    fn description(&self) -> String {
        let ([major, minor], name) =
            (self.shared.entry.compute_capability, &self.shared.entry.name);
        let precision = self.shared.options.precision;
        let cudnn = self.engines.as_ref().map(|engines| engines.cudnn().version_text());
        let cudnn = cudnn.map_or_else(String::new, |version| format!(", cuDNN {version}"));
        format!("{name}, CUDA sm_{major}{minor}, {precision}{cudnn}")
    }

    fn supports(&self, _program: &Program, op: &Op) -> bool {
        // Phases of the outputs of an upsampled input are those of neighbours.
        let strides = |conv: &Conv| conv.upsample() > 1 && conv.stride() != [1, 1];
        op.is_of_images() && !matches!(op, Op::Conv(conv) if strides(conv))
    }

    fn prepare(
        &self,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<CudaWeights, BackendError> {
        CudaWeights::load(self, program, source)
    }

    fn tuning(&self) -> Duration {
        self.engines.as_ref().map_or(Duration::ZERO, |engines| engines.spent())
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

    fn held_bytes(&self, tensor: &Value) -> u64 {
        counted_bytes(tensor.block.bytes())
    }

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &CudaWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
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

    fn repeat<E: From<BackendError>>(
        &self,
        weights: &CudaWeights,
        input: Value,
        once: &mut dyn FnMut(Value) -> Result<Value, E>,
    ) -> Result<Value, E> {
        self.repeat_decode(weights, input, once)
    }

    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Value>,
        so_far: Option<Attending>,
    ) -> Result<Attending, BackendError> {
        let Op::Attention { scale, .. } = *op else { panic!("{} is no attention", op.kind()) };
        self.attend_more(program.op_name(op), scale, &operands, so_far)
    }

    fn attended(&self, attention: Attending) -> Result<Value, BackendError> {
        self.finish_attention(attention)
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.store.synchronize()
    }

    fn timer(&self) -> Result<Option<Box<dyn Timer>>, BackendError> {
        Ok(Some(Box::new(StreamTimer::new(self.store.clone()))))
    }

    fn memory(&self) -> Memory {
        self.store.memory()
    }

    fn reset_peak(&self) {
        self.store.reset_peak();
    }
}
