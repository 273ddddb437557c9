//! The engine's [`Backend`] on the kernels of this crate.

mod attention;
mod conv;
mod store;
mod weights;

use std::sync::Arc;

use halovae_core::Region;
use halovae_engine::backend::{Backend, BackendError, DeviceId, Memory, Operands, WeightSource};
use halovae_engine::program::{MemoryModel, Norm, Op, Program, ValueId};
use halovae_engine::tensor::{HostTensor, Shape};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::buffer::write_copy;
use crate::elementwise::{self, Prologue};
use crate::error::KernelError;
use crate::norm::{self, Moments};
use crate::simd::Level;
pub(crate) use attention::Attending;
use attention::attention_shape;
use conv::padding_of;
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

    /// Factors and summands of a norm, by sample and channel.
    fn norm(
        &self,
        norm: &Norm,
        weights: &CpuWeights,
        stats: &Value,
    ) -> Result<(Vec<f32>, Vec<f32>), KernelError> {
        let moments: Vec<Moments> = stats
            .data()
            .chunks_exact(2)
            .map(|pair| Moments { count: 1.0, mean: pair[0].into(), m2: pair[1].into() })
            .collect();
        let (beta, eps) = norm.of_groups();
        let [gamma, beta] = [norm.gamma, beta].map(|id| weights.vector(id));
        norm::affine(&moments, stats.shape().height, gamma, beta, eps.into())
    }

    fn stats(&self, input: &Value, groups: usize) -> Result<Value, KernelError> {
        let shape = input.shape();
        let bytes = norm::workspace_bytes(shape.channels, self.threads());
        let positions = shape.frames * shape.height * shape.width;
        let sizes = [shape.batch, positions, shape.channels];
        let moments = self.store.with_workspace(bytes, |ws| {
            norm::group_moments(self.level, &self.pool, ws, input.data(), sizes, groups)
        })?;
        let mut out = self.store.value(Shape::new(shape.batch, groups, 1, 2))?;
        for (pair, m) in out.uninit().chunks_exact_mut(2).zip(&moments) {
            pair[0].write(m.mean as f32);
            pair[1].write(m.variance() as f32);
        }
        Ok(out)
    }

    /// An activation or a norm with known statistics.
    fn map(
        &self,
        prologue: Prologue,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        let sizes = |s: Shape| [s.batch, s.frames * s.height * s.width, s.channels];
        if let Some(mut value) = operands.take_owned(0) {
            let sizes = sizes(value.shape());
            elementwise::apply_in_place(self.level, &self.pool, value.data_mut(), sizes, prologue)?;
            return Ok(value);
        }
        let input = operands.get(0);
        let mut out = self.store.value(input.shape())?;
        let sizes = sizes(input.shape());
        elementwise::apply(self.level, &self.pool, input.data(), sizes, prologue, out.uninit())?;
        Ok(out)
    }

    fn add(&self, operands: &mut Operands<'_, Value>) -> Result<Value, KernelError> {
        for (at, other) in [(0, 1), (1, 0)] {
            if let Some(mut sum) = operands.take_owned(at) {
                let other = operands.get(other).data();
                elementwise::add_assign(self.level, &self.pool, sum.data_mut(), other)?;
                return Ok(sum);
            }
        }
        let [a, b] = [operands.get(0), operands.get(1)];
        let mut out = self.store.value(a.shape())?;
        elementwise::sum(self.level, &self.pool, a.data(), b.data(), out.uninit())?;
        Ok(out)
    }

    fn upsample(&self, input: &Value, factor: usize) -> Result<Value, KernelError> {
        let s = input.shape();
        let shape = Shape {
            height: s.height.saturating_mul(factor),
            width: s.width.saturating_mul(factor),
            ..s
        };
        let mut out = self.store.value(shape)?;
        let sizes = [s.images(), s.height, s.width, s.channels];
        elementwise::upsample(&self.pool, input.data(), sizes, [factor; 2], out.uninit())?;
        Ok(out)
    }
}

const DEVICE: &str = "the CPU's memory";

fn device_error(message: String) -> BackendError {
    BackendError::Device { device: "cpu".into(), message }
}

fn norm_prologue<'a>(norm: &Norm, scale: &'a [f32], shift: &'a [f32]) -> Prologue<'a> {
    match norm.silu {
        true => Prologue::AffineSilu { scale, shift },
        false => Prologue::Affine { scale, shift },
    }
}

impl MemoryModel for CpuBackend {
    fn in_place(&self, _program: &Program, op: &Op) -> Option<ValueId> {
        match *op {
            Op::Conv(conv) => conv.residual,
            Op::NormApply { input, .. } | Op::Silu { input, .. } | Op::Add { a: input, .. } => {
                Some(input)
            }
            _ => None,
        }
    }

    fn workspace_bytes(
        &self,
        _program: &Program,
        op: &Op,
        shapes: &dyn Fn(ValueId) -> Shape,
    ) -> u64 {
        let threads = self.threads();
        let bytes = match op {
            Op::Conv(conv) => {
                let s = shapes(conv.input);
                let size = [s.images(), s.height, s.width];
                let (shape, padding) = (weights::shape_of(conv), padding_of(conv));
                shape.workspace_bytes(self.level, size, &padding, conv.norm.is_some(), threads)
            }
            Op::NormStats { input, .. } => norm::workspace_bytes(shapes(*input).channels, threads),
            Op::Attention { q, k, .. } => {
                attention_shape(shapes(*q), shapes(*k)).workspace_bytes(self.level, threads)
            }
            _ => 0,
        };
        bytes as u64
    }

    fn keeps_workspace(&self) -> bool {
        true
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        weights::bytes(self, program)
    }
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
        op.is_of_images()
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
            Op::NormApply { norm, .. } => {
                self.norm(&norm, weights, operands.get(1)).and_then(|(scale, shift)| {
                    self.map(norm_prologue(&norm, &scale, &shift), &mut operands)
                })
            }
            Op::Silu { .. } => self.map(Prologue::Silu, &mut operands),
            Op::Upsample { factor, .. } => self.upsample(operands.get(0), factor as usize),
            Op::Add { .. } => self.add(&mut operands),
            Op::Attention { scale, .. } => self.attention(&operands, scale),
            Op::Clamp { .. } | Op::Join { .. } => {
                return Err(BackendError::unsupported(self.name(), op));
            }
        };
        result.map_err(|error| self.error(program.op_name(op), error))
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
