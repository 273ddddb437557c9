//! Decodes latents over ranks: every strategy in which a piece is decoded by one rank alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use halovae_core::{Plan, PlanError};

use crate::backend::{Backend, BackendError, DeviceId, WeightSource};
use crate::event::{Event, Observer, Silent};
use crate::execute::{Stop, execute};
use crate::group::{Cancel, Cause, Failure, Group, GroupError, Tag, ThreadGroup};
use crate::program::{Analysis, Program, fuse};
use crate::schedule::{Item, Schedule};
use crate::sink::Sink;
use crate::stitch::{StitchError, StitchTimes, stitch_image};
use crate::tensor::{HostTensor, Shape};

/// Why a decode gave no picture.
#[derive(Debug, thiserror::Error)]
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
}

impl From<GroupError> for DecodeError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Failed(failure) => Self::Failed(failure),
            GroupError::Cancelled => Self::Cancelled,
        }
    }
}

/// Whom a decode tells, and who can end it.
#[derive(Clone)]
pub struct Control<'a> {
    /// Is told of events.
    pub observer: &'a dyn Observer,
    /// Ends the decode.
    pub cancel: Cancel,
}

impl Default for Control<'_> {
    fn default() -> Self {
        Self { observer: &Silent, cancel: Cancel::new() }
    }
}

/// One decoded piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PieceReport {
    /// Which image of the batch.
    pub image: u32,
    /// Which piece of that image's plan.
    pub piece: u64,
    /// Who decoded it.
    pub rank: u32,
    /// The latent window that was decoded.
    pub window: halovae_core::Rect,
    /// Seconds from its upload to its download.
    pub seconds: f64,
}

/// What a decode did.
#[derive(Clone, Debug)]
pub struct DecodeReport {
    /// Every piece, in the order of image and index.
    pub pieces: Vec<PieceReport>,
    /// Seconds from start to the last row.
    pub seconds: f64,
    /// Seconds spent blending and in the sink; other ranks may have decoded meanwhile.
    pub stitch: StitchTimes,
    /// Device bytes, by estimate: the weights once a device, and for each rank the values and
    /// workspace of its largest piece.
    pub estimated_peak_bytes: u64,
    /// Device bytes as the backends counted them, added over ranks.
    pub measured_peak_bytes: u64,
}

/// One rank's device, its fused program and the weights there.
struct RankDevice<B: Backend> {
    backend: B,
    program: Arc<Program>,
    weights: Arc<B::Weights>,
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
                    let weights = Arc::new(backend.prepare(&fused, source)?);
                    let fused = Arc::new(fused);
                    ready.push((device, fused.clone(), weights.clone()));
                    (fused, weights)
                }
            };
            ranks.push(RankDevice { backend, program, weights });
        }
        Ok(Self { ranks })
    }

    /// How many ranks it has.
    pub fn rank_count(&self) -> u32 {
        self.ranks.len() as u32
    }

    /// The backends, by rank.
    pub fn backends(&self) -> impl Iterator<Item = &B> {
        self.ranks.iter().map(|rank| &rank.backend)
    }

    /// Device bytes that decoding `plan` takes: see [`DecodeReport::estimated_peak_bytes`].
    pub fn estimate_peak_bytes(&self, schedule: &Schedule) -> u64 {
        let mut counted: Vec<DeviceId> = Vec::new();
        let mut total = 0u64;
        for (rank, device) in (0..).zip(&self.ranks) {
            let values = schedule.windows_of(rank).into_iter().map(|window| {
                Analysis::new(&device.program, window, &device.backend).peak_live_bytes
            });
            total = total.saturating_add(values.max().unwrap_or(0));
            let id = device.backend.device();
            if !counted.contains(&id) {
                total = total.saturating_add(device.backend.prepared_weight_bytes(&device.program));
                counted.push(id);
            }
        }
        total
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
        let start = Instant::now();
        let program = &self.ranks[0].program;
        check_latents(latents.shape(), plan, program)?;
        let images = latents.shape().batch;
        let schedule = Schedule::new(plan, images as u32, self.rank_count())?;
        let output = plan.output();
        let [height, width] = [output.height as usize, output.width as usize];
        let channels = program.out_channels() as usize;
        sink.begin(Shape::new(images, height, width, channels)).map_err(DecodeError::Sink)?;
        control.observer.event(Event::Planned {
            pieces: schedule.items().len() as u64,
            rows: (images * height) as u64,
        });
        for rank in &self.ranks {
            rank.backend.reset_peak();
        }

        let group = ThreadGroup::split(self.rank_count(), &control.cancel);
        let reports = Mutex::new(Vec::new());
        let stitched = std::thread::scope(|scope| {
            for (device, end) in self.ranks.iter().zip(&group) {
                let job = RankJob { device, group: end, latents, plan, schedule: &schedule };
                let reports = &reports;
                scope.spawn(move || {
                    run_rank(&job, |report, item, bytes| {
                        let PieceReport { rank, seconds, .. } = report;
                        let done = Event::PieceDone { rank, piece: item, seconds, bytes };
                        reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                        control.observer.event(done);
                    });
                });
            }
            let stitched = stitch_all(&group[0], plan, &schedule, channels, sink, control);
            if let Err(DecodeError::Sink(error)) = &stitched {
                // The ranks still decode for a picture that nobody takes any more.
                let cause = Cause::Transport(error.to_string());
                group[0].fail(Failure { rank: 0, piece: None, op: None, cause });
            }
            stitched
        });
        let stitch = stitched?;
        let mut pieces = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
        pieces.sort_by_key(|report| (report.image, report.piece));
        Ok(DecodeReport {
            pieces,
            seconds: start.elapsed().as_secs_f64(),
            stitch,
            estimated_peak_bytes: self.estimate_peak_bytes(&schedule),
            measured_peak_bytes: self.measured_peak_bytes(),
        })
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
    let fits = shape.height == input.height as usize && shape.width == input.width as usize;
    if !fits || shape.batch == 0 {
        return Err(DecodeError::Latents(format!(
            "the latents are {shape} (batch x height x width x channels), the plan is for {} x {}",
            input.height, input.width
        )));
    }
    let scaled = [input.height, input.width].map(|cells| cells.checked_mul(program.scale()));
    let output = plan.output();
    if scaled != [Some(output.height), Some(output.width)] {
        return Err(DecodeError::Latents(format!(
            "the plan makes {} x {} pixels of {} x {} cells, this VAE {} pixels a cell",
            output.height,
            output.width,
            input.height,
            input.width,
            program.scale()
        )));
    }
    Ok(())
}

/// What one rank needs to do its part.
struct RankJob<'a, B: Backend, G> {
    device: &'a RankDevice<B>,
    group: &'a G,
    latents: &'a HostTensor,
    plan: &'a Plan,
    schedule: &'a Schedule,
}

/// Decodes the rank's items in their order and sends each to the stitcher, which is rank 0's.
/// Whatever goes wrong, a panic included, is told to the group.
fn run_rank<B: Backend, G: Group>(
    job: &RankJob<'_, B, G>,
    mut done: impl FnMut(PieceReport, u64, u64),
) {
    let rank = job.group.rank();
    for item in job.schedule.items_of(rank) {
        let attempt = catch_unwind(AssertUnwindSafe(|| decode_item(job, item)));
        let failed = |op, cause| Failure { rank, piece: Some(item.index), op, cause };
        let decoded = match attempt {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(ItemError::Failed(op, cause))) => return job.group.fail(failed(op, cause)),
            Ok(Err(ItemError::Stopped)) => return,
            Err(panic) => {
                let cause = Cause::Panic(panic_message(panic.as_ref()));
                return job.group.fail(failed(None, cause));
            }
        };
        let bytes = 4 * decoded.data.len() as u64;
        done(decoded.report, item.index, bytes);
        if job.group.send(0, Tag(item.index), decoded.data).is_err() {
            return;
        }
    }
}

struct DecodedItem {
    report: PieceReport,
    data: Vec<f32>,
}

enum ItemError {
    /// This rank failed, in an op or outside.
    Failed(Option<String>, Cause),
    /// The group ended, and knows why.
    Stopped,
}

impl From<BackendError> for ItemError {
    fn from(error: BackendError) -> Self {
        Self::Failed(None, Cause::Backend(error))
    }
}

fn decode_item<B: Backend, G: Group>(
    job: &RankJob<'_, B, G>,
    item: Item,
) -> Result<DecodedItem, ItemError> {
    let start = Instant::now();
    let RankDevice { backend, program, weights } = job.device;
    let piece = job.plan.piece(item.piece).expect("a schedule names pieces of its own plan");
    let window = job.latents.crop(item.image as usize, piece.input)?;
    let input = backend.upload(&window)?;
    drop(window);
    let output = execute(backend, program, weights, input, |_| job.group.check()).map_err(
        |stop| match stop {
            Stop::Op { name, error } => ItemError::Failed(Some(name), Cause::Backend(error)),
            Stop::Asked(_) => ItemError::Stopped,
        },
    )?;
    let data = backend.download(&output, piece.keep)?.into_data();
    if !data.iter().all(|value| value.is_finite()) {
        return Err(ItemError::Failed(None, Cause::NotFinite));
    }
    let report = PieceReport {
        image: item.image,
        piece: item.piece,
        rank: job.group.rank(),
        window: piece.input,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok(DecodedItem { report, data })
}

fn stitch_all<G: Group>(
    group: &G,
    plan: &Plan,
    schedule: &Schedule,
    channels: usize,
    sink: &mut dyn Sink,
    control: &Control<'_>,
) -> Result<StitchTimes, DecodeError> {
    let mut times = StitchTimes::default();
    for image in 0..schedule.images() {
        let fetch = |piece| {
            let item = schedule.item(image, piece);
            let keep = plan.piece(piece).expect("the stitcher asks for pieces of the plan").keep;
            let len = keep.area() as usize * channels;
            group.receive(item.owner, Tag(item.index), len)
        };
        let rows_done = |rows| control.observer.event(Event::RowsWritten { rows });
        let spent = stitch_image(plan, channels, image as usize, sink, fetch, rows_done).map_err(
            |error| match error {
                StitchError::Piece(error) => error.into(),
                StitchError::Sink(error) => DecodeError::Sink(error),
            },
        )?;
        times.stitch += spent.stitch;
        times.write += spent.write;
    }
    Ok(times)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
