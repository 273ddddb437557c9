//! Decodes latents over ranks.

mod estimate;
mod report;
mod stitched;

use std::sync::Arc;
use std::time::Instant;

pub use crate::progress::PieceReport;
pub use estimate::{choose_chunk, stitching_bytes};
pub use report::DecodeReport;

use halovae_core::{Plan, PlanError, Size};

use crate::backend::{Backend, BackendError, DeviceId, WeightSource};
use crate::event::{Event, Observer, Silent};
use crate::flow::Flows;
use crate::group::{Cancel, Cause, Failure, Group, GroupError, Links, ThreadGroup};
use crate::program::{Program, fuse};
use crate::rank::{Beside, RankDevice, RankJob};
use crate::schedule::Schedule;
use crate::shard::{Cut, ParkLimit, UncutError};
use crate::sink::Sink;
use crate::stitch::StitchTimes;
use crate::tensor::{HostTensor, Shape};
use report::Reports;
use stitched::stitch_all;

/// Why a decode gave no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A rank failed.
    #[error(transparent)]
    Failed(Failure),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The sink did not take the rows.
    #[error(transparent)]
    Sink(std::io::Error),
    /// The latents do not fit the model or the plan.
    #[error("{0}")]
    Latents(String),
    /// The pieces cannot be shared out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The program cannot be cut into shards.
    #[error(transparent)]
    Uncut(#[from] UncutError),
}

impl From<GroupError> for DecodeError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Failed(failure) => Self::Failed(failure),
            GroupError::Cancelled => Self::Cancelled,
        }
    }
}

/// Frames of latents that are decoded at a time where nothing else is asked for: the fewest, so that
/// memory does not grow with the video and the first frames come soonest. [`choose_chunk`] takes more
/// where they need no more memory.
pub const CHUNK: u32 = 1;

/// What a decode tells its events, what can end it, and where values wait.
#[derive(Clone)]
pub struct Control<'a> {
    /// Is told of events.
    pub observer: &'a dyn Observer,
    /// Ends the decode.
    pub cancel: Cancel,
    /// For a decode with more shards than ranks: how much may wait on each rank's device. Without
    /// a limit all values do.
    pub park: Option<ParkLimit>,
    /// At most so many frames of latents are decoded at a time. It changes no value.
    pub chunk: u32,
    /// For devices whose memory is the host's: how many bytes can still be had, if the system
    /// tells. When a rank has no room, it is told what fits in that.
    pub free: Option<fn() -> Option<u64>>,
}

impl Default for Control<'_> {
    fn default() -> Self {
        Self { observer: &Silent, cancel: Cancel::new(), park: None, chunk: CHUNK, free: None }
    }
}

/// Which ranks of a group a decoder has the devices of: those from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first of them.
    pub first: u32,
    /// How many ranks the group has.
    pub size: u32,
}

impl Place {
    /// A decoder that has all `size` ranks.
    pub fn all(size: u32) -> Self {
        Self { first: 0, size }
    }
}

/// A decoder on its devices, ready to decode any number of latents.
pub struct Decoder<B: Backend> {
    ranks: Vec<RankDevice<B>>,
}

impl<B: Backend> Decoder<B> {
    /// Fuses `program` for each backend (one a rank) and hands each device the weights once.
    ///
    /// # Errors
    /// What the source or a device says.
    ///
    /// # Panics
    /// If there is no backend.
    pub fn new(
        program: &Program,
        source: &dyn WeightSource,
        backends: Vec<B>,
    ) -> Result<Self, BackendError> {
        assert!(!backends.is_empty(), "a decoder needs at least one rank");
        let mut ready: Vec<(DeviceId, Arc<Program>, Arc<B::Weights>)> = Vec::new();
        let mut ranks = Vec::with_capacity(backends.len());
        for backend in backends {
            let device = backend.device();
            let known = ready.iter().find(|(id, ..)| *id == device);
            let (program, weights) = match known {
                Some((_, program, weights)) => (program.clone(), weights.clone()),
                None => {
                    let fused = fuse(program, |program, op| backend.supports(program, op));
                    if let Some(op) = fused.ops().iter().find(|op| !backend.supports(&fused, op)) {
                        return Err(BackendError::unsupported(backend.name(), op));
                    }
                    let weights = Arc::new(backend.prepare(&fused, source)?);
                    let fused = Arc::new(fused);
                    ready.push((device, fused.clone(), weights.clone()));
                    (fused, weights)
                }
            };
            ranks.push(RankDevice { backend, program, weights, links: None });
        }
        Ok(Self { ranks })
    }

    /// The same, with links between the devices of ranks: one end for each of this decoder's. They
    /// carry what ranks of a sharded decode exchange, where they can.
    ///
    /// # Panics
    /// If there are not as many as ranks.
    #[must_use]
    pub fn linked(mut self, links: Vec<Box<dyn Links<B::Tensor>>>) -> Self {
        assert_eq!(links.len(), self.ranks.len(), "one end for each rank");
        for (rank, links) in self.ranks.iter_mut().zip(links) {
            rank.links = Some(links);
        }
        self
    }

    /// How many ranks it has.
    pub fn rank_count(&self) -> u32 {
        self.ranks.len() as u32
    }

    /// The program that the first rank runs, fused for its backend.
    pub fn program(&self) -> &Program {
        &self.ranks[0].program
    }

    /// The backends, by rank.
    pub fn backends(&self) -> impl Iterator<Item = &B> {
        self.ranks.iter().map(|rank| &rank.backend)
    }

    /// How the program is cut, for a sharded plan.
    fn cut(&self, plan: &Plan, ranks: u32) -> Result<Option<Cut>, UncutError> {
        match plan {
            Plan::Sharded(grid) => Cut::new(&self.ranks[0].program, *grid, ranks).map(Some),
            Plan::Whole(_) | Plan::Tiled(_) | Plan::Patch(_) => Ok(None),
        }
    }

    /// Decodes `latents` (`[batch, height, width, latent_channels]`, in VAE space) by `plan` and
    /// gives the rows to `sink`.
    ///
    /// Each rank is a thread. A failure in one (an error, a panic, no memory) ends all of them
    /// within one op, and the decoder can be used again.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(
        &self,
        latents: &HostTensor,
        plan: &Plan,
        sink: &mut dyn Sink,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError> {
        self.decode_on_first(self.rank_count(), latents, plan, sink, control)
    }

    /// The same on the first `ranks` ranks only: those that the plan keeps busy.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    ///
    /// # Panics
    /// If there are fewer ranks.
    pub fn decode_on_first(
        &self,
        ranks: u32,
        latents: &HostTensor,
        plan: &Plan,
        sink: &mut dyn Sink,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError> {
        assert!(ranks <= self.rank_count(), "{ranks} ranks of {}", self.rank_count());
        let group = ThreadGroup::split(ranks, &control.cancel);
        let ranks: Vec<_> = self.ranks.iter().zip(&group).collect();
        self.decode_on(&ranks, latents, plan, Some(sink), control)
    }

    /// Decodes as one rank of a group of processes, each of which calls this with the same latents
    /// and plan. Rank 0 gives the rows to its sink; the others have none, and return when their
    /// own pieces are on their way. The decoder has this rank's device alone.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode_as<G: Group + ?Sized>(
        &self,
        group: &G,
        latents: &HostTensor,
        plan: &Plan,
        sink: Option<&mut dyn Sink>,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError> {
        self.decode_on(&[(&self.ranks[0], group)], latents, plan, sink, control)
    }

    /// Decodes on the ranks of this process; the first of them stitches if there is a sink.
    fn decode_on<G: Group + ?Sized>(
        &self,
        ranks: &[(&RankDevice<B>, &G)],
        latents: &HostTensor,
        plan: &Plan,
        mut sink: Option<&mut dyn Sink>,
        control: &Control<'_>,
    ) -> Result<DecodeReport, DecodeError> {
        let start = Instant::now();
        let program = &self.ranks[0].program;
        check_latents(latents.shape(), plan, program)?;
        let images = latents.shape().batch;
        let group = ranks[0].1;
        let place = Place { first: group.rank(), size: group.size() };
        let schedule = Schedule::new(plan, images as u32, group.size())?;
        let cut = self.cut(plan, group.size())?;
        let flows = self.flows(plan, control.chunk);
        let channels = program.out_channels() as usize;
        let output = Shape { batch: images, ..Shape::sample(plan.output(), channels) };
        if let Some(sink) = &mut sink {
            sink.begin(output).map_err(DecodeError::Sink)?;
        }
        control.observer.event(Event::Planned {
            pieces: schedule.items().len() as u64,
            rows: (output.images() * output.height) as u64,
        });
        for rank in &self.ranks {
            rank.backend.reset_peak();
            // A decode that failed left its counts of what it sent.
            let _ = rank.links.as_ref().map(|links| links.take_sent());
        }

        let beside: Vec<Beside<'_, B>> = ranks.iter().map(|(rank, _)| Beside::new(rank)).collect();
        let reports = Reports::new(control.observer);
        let stitched = std::thread::scope(|scope| {
            for &(device, group) in ranks {
                let (schedule, flows, reports) = (&schedule, &flows, &reports);
                let (cut, park) = (cut.as_ref(), control.park.as_ref());
                let (beside, free) = (&beside[..], control.free);
                let job = RankJob {
                    device,
                    group,
                    latents,
                    plan,
                    schedule,
                    flows,
                    cut,
                    park,
                    chunk: control.chunk,
                    beside,
                    free,
                };
                let thread = std::thread::Builder::new();
                if thread.spawn_scoped(scope, move || job.run(reports)).is_err() {
                    // The ranks that have begun are told, and end.
                    let error = BackendError::OutOfMemory {
                        device: "the system".into(),
                        what: format!("the threads of {} ranks; use fewer", ranks.len()),
                        requested: estimate::STACK_BYTES * ranks.len() as u64,
                    };
                    let cause = Cause::Backend(error);
                    group.fail(Failure { rank: group.rank(), piece: None, op: None, cause });
                    break;
                }
            }
            let Some(sink) = sink else { return Ok(StitchTimes::default()) };
            let stitched =
                stitch_all(group, (plan, &schedule, &flows), ranks.len(), sink, channels, control);
            if let Err(DecodeError::Sink(error)) = &stitched {
                // The ranks still decode for a sink that takes no more.
                let cause = Cause::Sink(error.to_string());
                group.fail(Failure { rank: group.rank(), piece: None, op: None, cause });
            }
            stitched
        });
        let stitch = stitched?;
        group.check()?;
        let (pieces, way) = reports.into_parts();
        Ok(DecodeReport {
            pieces,
            seconds: start.elapsed().as_secs_f64(),
            stitch,
            estimated_peak_bytes: self.peak_bytes(
                &schedule,
                place,
                cut.as_ref(),
                control.park.as_ref(),
                control.chunk,
            ),
            measured_peak_bytes: self.measured_peak_bytes(),
            way,
            sent: self.ranks.iter().flat_map(|rank| &rank.links).map(|l| l.take_sent()).sum(),
        })
    }

    /// In which chunks the plan's windows go through the program.
    fn flows(&self, plan: &Plan, chunk: u32) -> Flows {
        let frames = plan.pieces().map(|piece| piece.input.frames);
        Flows::new(&self.ranks[0].program, frames, chunk)
    }

    fn measured_peak_bytes(&self) -> u64 {
        self.ranks.iter().map(|rank| rank.backend.memory().peak).sum()
    }
}

fn check_latents(shape: Shape, plan: &Plan, program: &Program) -> Result<(), DecodeError> {
    let input = plan.input();
    if shape.channels != program.latent_channels() as usize {
        return Err(DecodeError::Latents(format!(
            "the latents have {} channels, this VAE decodes {}",
            shape.channels,
            program.latent_channels()
        )));
    }
    let words = |Size { frames, height, width }: Size| match frames {
        1 => format!("{height} x {width}"),
        _ => format!("{frames} x {height} x {width}"),
    };
    if program.is_of_one_frame() && shape.frames != 1 {
        return Err(DecodeError::Latents(format!(
            "the latents have {} frames, and the decoder was folded for single ones",
            shape.frames
        )));
    }
    if shape.size() != input || shape.batch == 0 {
        return Err(DecodeError::Latents(format!(
            "the latents are {shape} (batch x height x width x channels), the plan is for {}",
            words(input)
        )));
    }
    let (output, scale) = (plan.output(), program.out_scale());
    if scale.layer(input) != Some(output) {
        return Err(DecodeError::Latents(format!(
            "the plan makes {} pixels of {} cells, this VAE {} pixels a cell",
            words(output),
            words(input),
            program.scale()
        )));
    }
    Ok(())
}
