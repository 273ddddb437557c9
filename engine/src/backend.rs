//! What a device must offer to decode.
//!
//! # Who validates
//! Everything that comes from outside (files, flags, sizes) is checked before a backend sees it:
//! the [`ProgramBuilder`](crate::program::ProgramBuilder) guarantees that operands fit their op,
//! [`Checkpoint::verify`](crate::checkpoint::Checkpoint::verify) that weights have their shapes,
//! a plan that windows lie inside the latents. A backend relies on that; an operand of the wrong
//! shape is a bug above, and an assertion there is the right answer. A backend's errors are what
//! no check could foresee: no memory, a lost device, an op that it does not have.
//!
//! # Layout
//! Host tensors are f32, channels last. A backend keeps its own as it likes; nothing between the
//! first op and the last returns to the host.
//!
//! # Fused ops
//! A program arrives plain and is fused for the backend: a pass proposes the fused op, and
//! [`Backend::supports`] accepts or declines. Every backend has the plain ops of images
//! ([`Op::is_of_images`]); a program with a plain op that the backend declines is refused before any
//! weight is read.
//!
//! # Cutting a decode
//! A rank may hold a part of a feature map only. Then a conv's input comes with its
//! [`Surroundings`]: rows and columns around the part that neighbours hold, and that stand where
//! zeros would otherwise be. The op stays as it is, and its output covers the same part. Statistics
//! are apart from their application, so that they can be merged between, and
//! [`Backend::attend`] takes keys and values block by block. A backend takes extents from the
//! operands' shapes, never from the program's idea of the whole image.

mod operands;

use std::ops::Range;
use std::time::Duration;

use halovae_core::Region;

pub use crate::error::BackendError;
use crate::program::{MemoryModel, Op, Program, WeightSpec};
use crate::tensor::{HostTensor, Shape};
pub use operands::{FrameReads, Halo, Operand, Operands, Surroundings};

impl BackendError {
    /// That a backend does not have an op.
    pub fn unsupported(backend: &'static str, op: &Op) -> Self {
        Self::Unsupported { op: op.kind().into(), backend: backend.into() }
    }
}

/// Names a device. Ranks on equal devices share one copy of the weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId {
    /// The backend's name.
    pub backend: &'static str,
    /// The device among those of the backend.
    pub index: u32,
}

/// Where weights come from: a checkpoint, or a test.
pub trait WeightSource: Sync {
    /// Writes the weight into `out`, row major in the extents of `spec`; `out` has exactly as many
    /// elements.
    ///
    /// # Errors
    /// [`BackendError::Weight`] if it is missing, misshapen, or holds something that is no number.
    fn load(&self, spec: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError>;
}

/// Bytes that a backend holds on its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Now: values, workspace and weights.
    pub current: u64,
    /// The most since the last [`Backend::reset_peak`].
    pub peak: u64,
}

/// Measures how long stretches of queued work take on the device, without waiting for it.
pub trait Timer: Send + Sync {
    /// A stretch begins behind what is queued so far.
    ///
    /// # Errors
    /// What the device says.
    fn begin(&self) -> Result<(), BackendError>;

    /// It ends behind what is queued by now.
    ///
    /// # Errors
    /// What the device says.
    fn end(&self) -> Result<(), BackendError>;

    /// Seconds of every stretch that has ended since the last call, in their order; waits for them.
    ///
    /// # Errors
    /// What the device says.
    fn take(&self) -> Result<Vec<f64>, BackendError>;
}

/// A device that holds tensors and runs ops on them. One rank uses one backend.
pub trait Backend: MemoryModel + Send + Sync + 'static {
    /// A value on the device. Dropping it frees its memory.
    type Tensor: Send + 'static;
    /// A program's weights on the device, in whatever order suits it.
    type Weights: Send + Sync + 'static;
    /// An attention that has seen some of its keys and values: weighted sums, and for each query
    /// the largest score and the sum of weights so far.
    type Attention: Send + 'static;

    /// A short name: `cpu`, `wgpu`, `cuda`.
    fn name(&self) -> &'static str;

    /// The device it runs on.
    fn device(&self) -> DeviceId;

    /// One line about the device, for reports.
    fn description(&self) -> String;

    /// Whether it runs `op` as it stands, fused parts included. Must hold for every plain op of
    /// images.
    fn supports(&self, program: &Program, op: &Op) -> bool;

    /// Reads every weight of the program once and puts it on the device.
    ///
    /// # Errors
    /// What the source says, or that the device has no room.
    fn prepare(
        &self,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self::Weights, BackendError>;

    /// Puts a host tensor on the device: a feature map, or statistics as `[batch, groups, 1, 2]`,
    /// mean and biased variance (that is how merged statistics of several ranks come back).
    ///
    /// # Errors
    /// That the device has no room.
    fn upload(&self, tensor: &HostTensor) -> Result<Self::Tensor, BackendError>;

    /// Fetches `region` of all samples, with all channels.
    ///
    /// Statistics come as `[batch, groups, 1, 2]`.
    ///
    /// # Errors
    /// That the host has no room, or that the device failed, now or in an op that it ran earlier.
    fn download(&self, tensor: &Self::Tensor, region: Region) -> Result<HostTensor, BackendError>;

    /// What it has spent so far on finding out how ops run fastest: time that later decodes of the
    /// same sizes do without.
    fn tuning(&self) -> Duration {
        Duration::ZERO
    }

    /// The extents of a value; statistics have `[batch, groups, 1, 2]`.
    fn shape(&self, tensor: &Self::Tensor) -> Shape;

    /// Bytes of the memory that a value lies in: more than its own where it took that of a larger one.
    fn held_bytes(&self, tensor: &Self::Tensor) -> u64 {
        self.value_bytes(self.shape(tensor))
    }

    /// Runs one op, or queues it.
    ///
    /// The output's extents follow from the operands and the op's geometry. The output may take
    /// the memory of an owned operand ([`Operands::take_owned`]). A conv whose operands come with
    /// [`Surroundings`] fetches the halo once, and reads it where it would read padding.
    ///
    /// # Errors
    /// What the device says; [`BackendError::Unsupported`] for an op it does not have;
    /// [`BackendError::NoHalo`] as the halo's fetch gave it.
    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &Self::Weights,
        operands: Operands<'_, Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;

    /// Whether its tensors can have several frames; one that decodes images alone answers with
    /// [`BackendError::Unsupported`] when it is given some.
    fn holds_frames(&self) -> bool {
        false
    }

    /// Copies frames that lie in several tensors of one sample each into one tensor, one behind the
    /// other.
    ///
    /// # Errors
    /// What the device says; [`BackendError::Unsupported`] from a backend that decodes images alone.
    fn gather(
        &self,
        parts: &[(&Self::Tensor, Range<usize>)],
    ) -> Result<Self::Tensor, BackendError> {
        let _ = parts;
        Err(BackendError::Unsupported { op: "copy of frames".into(), backend: self.name().into() })
    }

    /// A whole decode of `input`, by `once`, which runs every op of the program with these weights on
    /// this backend. A backend that can remembers what `once` queued, and for an input of the same
    /// extents queues that again instead.
    ///
    /// # Errors
    /// What `once` or the device says.
    fn repeat<E: From<BackendError>>(
        &self,
        weights: &Self::Weights,
        input: Self::Tensor,
        once: &mut dyn FnMut(Self::Tensor) -> Result<Self::Tensor, E>,
    ) -> Result<Self::Tensor, E> {
        let _ = weights;
        once(input)
    }

    /// Runs [`Op::Attention`] over some of its keys and values: begins with `None`, and goes on
    /// with what the last call for the same queries gave.
    ///
    /// In the end it has computed `softmax(q k^T * scale) v` over all keys and values that it was
    /// given; in which blocks they came changes rounding alone. Operands are as for
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// What the device says.
    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Self::Tensor>,
        so_far: Option<Self::Attention>,
    ) -> Result<Self::Attention, BackendError>;

    /// Ends an attention: a value with the positions of its queries.
    ///
    /// # Errors
    /// What the device says.
    fn attended(&self, attention: Self::Attention) -> Result<Self::Tensor, BackendError>;

    /// Waits until everything queued has run.
    ///
    /// # Errors
    /// That an op failed.
    fn synchronize(&self) -> Result<(), BackendError>;

    /// Measures what is queued. `None` from a backend that has to be waited for to be measured.
    ///
    /// # Errors
    /// What the device says.
    fn timer(&self) -> Result<Option<Box<dyn Timer>>, BackendError> {
        Ok(None)
    }

    /// Bytes held by this rank. Weights count with the rank that prepared them.
    fn memory(&self) -> Memory;

    /// Starts a new peak at what is held now.
    fn reset_peak(&self);
}
