//! A decoder whose kind of backend is forgotten.

use std::time::Duration;

use halovae_core::{Plan, ShardGrid, Size};
use halovae_engine::backend::{Backend, BackendError};
use halovae_engine::decode::{self, Control, DecodeError, DecodeReport, Place};
use halovae_engine::flow::Flow;
use halovae_engine::group::Group;
use halovae_engine::room::Room;
use halovae_engine::shard::{Fit, FitError, ParkLimit};
use halovae_engine::sink::Sink;
use halovae_engine::tensor::HostTensor;
use halovae_engine::wrap::Traced;

use crate::report::OpKind;

/// What a decode asks of a decoder, on any kind of backend.
///
/// Backends have types of their own for tensors and weights, so that they cannot be trait objects; what is
/// made of them can.
pub(super) trait Run: Send + Sync {
    fn rank_count(&self) -> u32;

    /// What decodes.
    fn description(&self) -> String;

    /// The backend's name.
    fn backend(&self) -> &'static str;

    /// Time that finding out how ops run fastest took, of the slowest rank.
    fn tuning(&self) -> Duration;

    /// Bytes of the devices that are taken.
    fn taken(&self) -> u64;

    /// What ops have taken since this was last asked, if they are traced.
    fn take_ops(&self) -> Result<Vec<OpKind>, BackendError>;

    fn choose_chunk(&self, plan: &Plan) -> u32;

    /// How latents of so many frames go through the decoder.
    fn flow(&self, frames: u32, chunk: u32) -> Flow;

    fn fit_shards(
        &self,
        latents: Size,
        place: Place,
        budget: u64,
        grid: Option<ShardGrid>,
        chunk: u32,
    ) -> Result<Fit, FitError>;

    fn estimate(
        &self,
        plan: &Plan,
        images: u32,
        place: Place,
        park: Option<&ParkLimit>,
        chunk: u32,
    ) -> Result<u64, DecodeError>;

    fn host_bytes(&self, plan: &Plan, place: Place, chunk: u32) -> u64;

    fn room(
        &self,
        plan: &Plan,
        images: u32,
        place: Place,
        chunk: u32,
        bytes: u64,
    ) -> Result<Room, DecodeError>;

    /// Decodes on the first `ranks` ranks of this process.
    fn decode(
        &self,
        ranks: u32,
        latents: &HostTensor,
        plan: &Plan,
        sink: &mut dyn Sink,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError>;

    /// Decodes as one rank of a group of processes.
    fn decode_as(
        &self,
        group: &dyn Group,
        latents: &HostTensor,
        plan: &Plan,
        sink: Option<&mut dyn Sink>,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError>;
}

impl<B: Backend> Run for decode::Decoder<Traced<B>> {
    fn rank_count(&self) -> u32 {
        self.rank_count()
    }

    fn description(&self) -> String {
        self.backends().next().map(Backend::description).unwrap_or_default()
    }

    fn backend(&self) -> &'static str {
        self.backends().next().map_or("", Backend::name)
    }

    fn tuning(&self) -> Duration {
        self.backends().map(Backend::tuning).max().unwrap_or_default()
    }

    fn taken(&self) -> u64 {
        self.backends().map(|backend| backend.memory().current).sum()
    }

    fn take_ops(&self) -> Result<Vec<OpKind>, BackendError> {
        let records = self.backends().map(Traced::take_records).collect::<Result<Vec<_>, _>>()?;
        Ok(records.into_iter().flatten().map(Into::into).collect())
    }

    fn choose_chunk(&self, plan: &Plan) -> u32 {
        self.choose_chunk(plan)
    }

    fn flow(&self, frames: u32, chunk: u32) -> Flow {
        Flow::new(self.program(), frames, chunk)
    }

    fn fit_shards(
        &self,
        latents: Size,
        place: Place,
        budget: u64,
        grid: Option<ShardGrid>,
        chunk: u32,
    ) -> Result<Fit, FitError> {
        self.fit_shards(latents, place, budget, grid, chunk)
    }

    fn estimate(
        &self,
        plan: &Plan,
        images: u32,
        place: Place,
        park: Option<&ParkLimit>,
        chunk: u32,
    ) -> Result<u64, DecodeError> {
        self.estimate_peak_bytes(plan, images, place, park, chunk)
    }

    fn host_bytes(&self, plan: &Plan, place: Place, chunk: u32) -> u64 {
        self.host_bytes(plan, place, chunk)
    }

    fn room(
        &self,
        plan: &Plan,
        images: u32,
        place: Place,
        chunk: u32,
        bytes: u64,
    ) -> Result<Room, DecodeError> {
        self.room(plan, images, place, chunk, bytes)
    }

    fn decode(
        &self,
        ranks: u32,
        latents: &HostTensor,
        plan: &Plan,
        sink: &mut dyn Sink,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError> {
        self.decode_on_first(ranks, latents, plan, sink, control)
    }

    fn decode_as(
        &self,
        group: &dyn Group,
        latents: &HostTensor,
        plan: &Plan,
        sink: Option<&mut dyn Sink>,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError> {
        self.decode_as(group, latents, plan, sink, control)
    }
}
