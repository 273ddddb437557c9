//! What a decoder takes, and what it has room for.

use halovae_core::{Plan, ShardGrid, Size};

use super::{DecodeError, Decoder, Place};
use crate::backend::{Backend, DeviceId};
use crate::flow::Flows;
use crate::program::{MemoryModel, Program, peak_bytes};
use crate::rank::RankDevice;
use crate::room::{Room, Tried};
use crate::schedule::Schedule;
use crate::shard::{self, Budget, Cut, Fit, FitError, ParkLimit};
use crate::stitch;

/// Bytes of finished pieces and rows that the process which stitches holds at most, while `ranks` ranks
/// decode by `plan`, `chunk` frames of latents at a time. Of a video, tiles and patches wait for each
/// other with all of their frames.
pub fn stitching_bytes(plan: &Plan, program: &Program, ranks: u32, chunk: u32) -> u64 {
    let frames = plan.pieces().map(|piece| piece.input.frames);
    let frames = Flows::new(program, frames, chunk).most_finished();
    stitch::stitching_bytes(plan, program.out_channels(), ranks, frames)
}

/// What a thread that has no other size asks the system for.
pub(super) const STACK_BYTES: u64 = 2 << 20;

/// Frames of latents from which on a video is long: no conv looks back so far.
const LONG: u32 = 64;

/// The most frames of latents that can be decoded at a time in no more memory than one at a time
/// takes. A long video takes least frame by frame; a short one, of which there are no more frames than
/// convs over time look back to, all at once.
pub fn choose_chunk(plan: &Plan, program: &Program, model: &dyn MemoryModel) -> u32 {
    let windows = plan.pieces().map(|piece| piece.input.size());
    let largest = windows.max_by_key(|window| window.volume()).unwrap_or_default();
    // A long video takes what one of some frames takes, and never least all at once.
    let frames = largest.frames.min(LONG);
    let peak = |chunk: u32| peak_bytes(program, Size { frames, ..largest }, chunk, model);
    let mut tried: Vec<u32> =
        (0..32).map(|power| 1 << power).take_while(|chunk| *chunk < frames).collect();
    tried.extend((largest.frames <= LONG).then_some(frames.max(1)));
    let least = peak(1);
    tried.into_iter().rev().find(|&chunk| peak(chunk) <= least).unwrap_or(1)
}

impl<B: Backend> Decoder<B> {
    /// Device bytes that this decoder's ranks take to decode by `plan`: see
    /// [`DecodeReport::estimated_peak_bytes`](super::DecodeReport::estimated_peak_bytes).
    ///
    /// # Errors
    /// [`DecodeError::Uncut`] and [`DecodeError::Plan`].
    pub fn estimate_peak_bytes(
        &self,
        plan: &Plan,
        images: u32,
        place: Place,
        park: Option<&ParkLimit>,
        chunk: u32,
    ) -> Result<u64, DecodeError> {
        let schedule = Schedule::new(plan, images, place.size)?;
        let cut = self.cut(plan, place.size)?;
        Ok(self.peak_bytes(&schedule, place, cut.as_ref(), park, chunk))
    }

    pub(super) fn peak_bytes(
        &self,
        schedule: &Schedule,
        place: Place,
        cut: Option<&Cut>,
        park: Option<&ParkLimit>,
        chunk: u32,
    ) -> u64 {
        let mut counted: Vec<DeviceId> = Vec::new();
        let mut total = 0u64;
        for (rank, device) in (place.first..place.size).zip(&self.ranks) {
            total = total.saturating_add(device.peak_bytes(schedule, cut, rank, park, chunk));
            let id = device.backend.device();
            if !counted.contains(&id) {
                total = total.saturating_add(device.backend.prepared_weight_bytes(&device.program));
                counted.push(id);
            }
        }
        total
    }

    /// How many frames of latents are best decoded at a time by `plan`; see [`choose_chunk`].
    pub fn choose_chunk(&self, plan: &Plan) -> u32 {
        let RankDevice { backend, program, .. } = &self.ranks[0];
        choose_chunk(plan, program, backend)
    }

    /// Bytes that a process's host holds beside values, workspace and weights to decode by `plan`:
    /// finished pieces and rows where it stitches, and its ranks' stacks.
    pub fn host_bytes(&self, plan: &Plan, place: Place, chunk: u32) -> u64 {
        let stitching = match place.first {
            0 => stitching_bytes(plan, &self.ranks[0].program, place.size, chunk),
            _ => 0,
        };
        stitching.saturating_add(STACK_BYTES.saturating_mul(self.rank_count().into()))
    }

    /// What decodes in `bytes` of the host's memory, over and above what is there already: weights,
    /// threads.
    ///
    /// # Errors
    /// [`DecodeError::Plan`].
    pub fn room(
        &self,
        plan: &Plan,
        images: u32,
        place: Place,
        chunk: u32,
        bytes: u64,
    ) -> Result<Room, DecodeError> {
        let schedule = Schedule::new(plan, images, place.size)?;
        let windows = schedule.items().iter().map(|item| item.window);
        let latents = plan.input();
        let tried = Tried {
            latents,
            window: windows.max_by_key(|window| window.height.max(window.width)).unwrap_or(latents),
            ranks: place.size,
            together: self.rank_count(),
            sharing: self.rank_count(),
            on_host: true,
            chunk,
        };
        let bytes = bytes.saturating_sub(STACK_BYTES.saturating_mul(self.rank_count().into()));
        Ok(Room::new(&self.ranks[0].program, &self.ranks[0].backend, bytes, &tried))
    }

    /// The shards that fit a memory of `budget` bytes, which this decoder's ranks of the group
    /// share; see [`fit`](shard::fit()).
    ///
    /// # Errors
    /// [`FitError`].
    pub fn fit_shards(
        &self,
        latents: Size,
        place: Place,
        budget: u64,
        grid: Option<ShardGrid>,
        chunk: u32,
    ) -> Result<Fit, FitError> {
        let RankDevice { backend, program, .. } = &self.ranks[0];
        let together = self.rank_count();
        let budget = Budget { ranks: place.size, together, bytes: budget, chunk };
        shard::fit(program, backend, latents, budget, grid)
    }
}
