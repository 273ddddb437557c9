//! The engine's [`Backend`] on the kernels of this crate.

mod attention;
mod conv;
mod frames;
mod memory;
mod norm;
mod store;
mod weights;

use std::ops::Range;
use std::sync::Arc;

use halovae_core::Region;
use halovae_engine::backend::{Backend, BackendError, DeviceId, Memory, Operands, WeightSource};
use halovae_engine::program::{Op, Program};
use halovae_engine::tensor::{HostTensor, Shape};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::buffer::write_copy;
use crate::error::KernelError;
use crate::prologue::Prologue;
use crate::simd::Level;
pub(crate) use attention::Attending;
pub use memory::CpuModel;
use store::Store;
pub use store::Value;
pub use weights::CpuWeights;

/// The CPU: f32, channels last, all fused ops.
#[derive(Debug)]
pub struct CpuBackend {
    pool: Arc<ThreadPool>,
    level: Level,
    store: Arc<Store>,
}

impl CpuBackend {
    /// A backend with so many threads of its own (0: one for each processor) and the best
    /// instructions of the machine.
    ///
    /// # Errors
    /// [`BackendError::Device`] when the system gives no threads.
    pub fn new(threads: usize) -> Result<Self, BackendError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("halovae-cpu-{index}"))
            .build()
            .map_err(|error| device_error(format!("no thread pool of {threads}: {error}")))?;
        Ok(Self::with_pool(Arc::new(pool), Level::detect()))
    }

    /// A backend on a pool that others may use as well, with chosen instructions. A level that the
    /// machine lacks is lowered to the best that it has.
    pub fn with_pool(pool: Arc<ThreadPool>, level: Level) -> Self {
        Self { pool, level: level.min(Level::detect()), store: Arc::default() }
    }

    /// The instructions that it uses.
    pub fn level(&self) -> Level {
        self.level
    }

    fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn model(&self) -> CpuModel {
        CpuModel { level: self.level, threads: self.threads() }
    }

    fn out_of_memory(&self, what: &str, bytes: usize) -> BackendError {
        BackendError::OutOfMemory {
            device: DEVICE.into(),
            what: format!("`{what}`"),
            requested: bytes as u64,
        }
    }

    fn error(&self, what: &str, error: KernelError) -> BackendError {
        match error {
            KernelError::OutOfMemory { bytes } => self.out_of_memory(what, bytes),
            other => device_error(format!("`{what}`: {other}")),
        }
    }
}

const DEVICE: &str = "the CPU's memory";

fn device_error(message: String) -> BackendError {
    BackendError::Device { device: "cpu".into(), message }
}

impl Backend for CpuBackend {
    type Tensor = Value;
    type Weights = CpuWeights;
    type Attention = Attending;

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn device(&self) -> DeviceId {
        DeviceId { backend: "cpu", index: 0 }
    }

    fn description(&self) -> String {
        let threads = self.threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!("CPU, {} kernels, {threads} thread{plural}", self.level.name())
    }

    fn supports(&self, _program: &Program, op: &Op) -> bool {
        self.model().supports(op)
    }

    fn prepare(
        &self,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<CpuWeights, BackendError> {
        CpuWeights::load(self, program, source)
    }

    fn upload(&self, tensor: &HostTensor) -> Result<Value, BackendError> {
        let mut value =
            self.store.value(tensor.shape()).map_err(|error| self.error("latents", error))?;
        write_copy(value.uninit(), tensor.data());
        Ok(value)
    }

    fn download(&self, tensor: &Value, region: Region) -> Result<HostTensor, BackendError> {
        let s = tensor.shape();
        assert!(
            s.size().at_origin().contains(region),
            "region {region:?} lies outside a tensor of {s}"
        );
        let shape = Shape { batch: s.batch, ..Shape::sample(region.size(), s.channels) };
        let mut data = Vec::new();
        let len = shape.images() * shape.frame_len();
        data.try_reserve_exact(len).map_err(|_| self.out_of_memory("the output", len * 4))?;
        let (first, top) = (region.first as usize, region.top as usize);
        for image in 0..shape.images() {
            let (sample, t) = (image / shape.frames, first + image % shape.frames);
            for y in top..top + shape.height {
                let row = ((sample * s.frames + t) * s.height + y) * s.width;
                let from = (row + region.left as usize) * s.channels;
                data.extend_from_slice(&tensor.data()[from..][..shape.width * s.channels]);
            }
        }
        Ok(HostTensor::new(shape, data).expect("one element for each place of the shape"))
    }

    fn shape(&self, tensor: &Value) -> Shape {
        tensor.shape()
    }

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &CpuWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let result = match *op {
            Op::Conv(conv) => return self.conv(program, &conv, weights, operands),
            Op::NormStats { output, .. } => {
                self.stats(operands.get(0), program.groups(output) as usize)
            }
            Op::NormApply { norm, .. } => self.norm(&norm, weights, &mut operands),
            Op::Silu { .. } => self.map(Prologue::Silu, &mut operands),
            Op::Clamp { low, high, .. } => self.clamp([low, high], &mut operands),
            Op::Upsample { factor, frames, .. } => {
                self.upsample(factor as usize, frames, &operands)
            }
            Op::Join { factor, .. } => self.join(factor as usize, &operands),
            Op::Shuffle(shuffle) => self.shuffle(&shuffle, &operands),
            Op::Add { .. } => self.add(&mut operands),
            Op::Attention { scale, .. } => self.attention(&operands, scale),
        };
        result.map_err(|error| self.error(program.op_name(op), error))
    }

    fn holds_frames(&self) -> bool {
        true
    }

    fn gather(&self, parts: &[(&Value, Range<usize>)]) -> Result<Value, BackendError> {
        self.copy_frames(parts).map_err(|error| self.error("frames", error))
    }

    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Value>,
        so_far: Option<Attending>,
    ) -> Result<Attending, BackendError> {
        let Op::Attention { scale, .. } = *op else { panic!("{} is no attention", op.kind()) };
        self.attend_more(&operands, scale, so_far)
            .map_err(|error| self.error(program.op_name(op), error))
    }

    fn attended(&self, attention: Attending) -> Result<Value, BackendError> {
        self.finish(attention).map_err(|error| self.error("attention", error))
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.store.memory()
    }

    fn reset_peak(&self) {
        self.store.reset_peak();
    }
}
