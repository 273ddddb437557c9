//! One decode, ready to run.

use std::io;
use std::time::Duration;

use halovae_engine::decode::{self, DecodeError, DecodeReport, Place};
use halovae_engine::group::{FirstRanks, Way};
use halovae_engine::schedule::Schedule;
use halovae_engine::sink::{Clamped, RowsAt, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Counted, Sent};

use super::control::{Control, Together};
use super::fit::{Fit, Fitting};
use super::run::Run;
use crate::error::Error;
use crate::memory;
use crate::notice::Notice;
use crate::options::DecodeOptions;
use crate::plan::{Planned, Streams, streams, threads};
use crate::recipe::Recipe;
use crate::report::{Piece, Ranks, Report, Seconds, Share, Shares};

/// Shorter waits go unnoticed.
const WORTH_TELLING: Duration = Duration::from_millis(500);

/// One decode, ready to run.
pub struct Job<'a> {
    run: &'a dyn Run,
    recipe: &'a Recipe,
    planned: Planned,
    latents: Shape,
    together: Option<Together<'a>>,
    threads: u32,
    place: Place,
    fit: Fit,
}

/// What a decode did, in this process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Done {
    /// What this process did, in figures. [`Report::of_all`] is that of several.
    pub report: Report,
    /// The same as it is sent to rank 0 where there are several processes.
    pub share: Share,
    /// What was decided for the caller: the plan's, and what became known while the decode ran.
    pub notices: Vec<Notice>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        run: &'a dyn Run,
        recipe: &'a Recipe,
        options: &DecodeOptions,
        mut planned: Planned,
        latents: Shape,
        together: Option<Together<'a>>,
    ) -> Result<Self, Error> {
        let first = together.map_or(0, |together| together.group.rank());
        let place = Place { first, size: planned.ranks };
        let images = u32::try_from(latents.batch).unwrap_or(u32::MAX);
        let fitting = Fitting { options, run, place, together, images };
        let fit = fitting.fit(&mut planned)?;
        let threads = threads(options.devices.threads);
        Ok(Self { run, recipe, planned, latents, together, threads, place, fit })
    }

    /// The plan, with what was noticed of it.
    pub fn planned(&self) -> &Planned {
        &self.planned
    }

    /// Frames of latents that are decoded at a time.
    pub fn latent_frames_at_a_time(&self) -> u32 {
        let frames = u32::try_from(self.latents.frames).unwrap_or(u32::MAX);
        self.fit.chunk.min(frames)
    }

    /// When frames of a video are finished.
    pub fn streams(&self) -> Streams {
        let frames = u32::try_from(self.latents.frames).unwrap_or(u32::MAX);
        let flow = self.run.flow(frames, self.fit.chunk);
        streams(&self.planned.plan, &(&flow).into())
    }

    /// The shape of the result.
    pub fn result(&self) -> Shape {
        self.recipe.result(&self.planned, self.latents.batch)
    }

    /// How many pieces are decoded, over all images or videos of the batch.
    ///
    /// # Errors
    /// The planner's.
    pub fn piece_count(&self) -> Result<u64, Error> {
        let images = u32::try_from(self.latents.batch).unwrap_or(u32::MAX);
        let schedule = Schedule::new(&self.planned.plan, images, self.place.size)?;
        Ok(schedule.items().len() as u64)
    }

    /// Decodes. Rank 0 gives rows to its sink, and without one to nothing; where processes decode together,
    /// the others have none.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(
        &self,
        latents: &HostTensor,
        sink: Option<&mut dyn Sink>,
        control: &Control<'_>,
    ) -> Result<Done, Error> {
        let Self { run, recipe, planned, place, fit, .. } = self;
        let range = recipe.range(planned.plan.strategy());
        let free: Option<fn() -> Option<u64>> = fit.on_host.then_some(memory::available);
        let Control { observer, cancel } = control;
        let park = fit.park.clone();
        let control = decode::Control {
            observer: *observer,
            cancel: cancel.clone(),
            park,
            chunk: fit.chunk,
            free,
        };
        let failed = |error: DecodeError| Error::from(error).beside(fit.sink_bytes);
        let mut clamped = sink.map(|sink| Clamped::new(sink, range));
        let into = clamped.as_mut().map(|sink| -> &mut dyn Sink { sink });
        let (report, sent) = match self.together {
            Some(together) => {
                let group = FirstRanks::new(together.group, place.size);
                let group = Counted::new(&group);
                let report = run.decode_as(&group, latents, &planned.plan, into, &control);
                let report = report.map_err(failed)?;
                let sent = [group.sent(), report.sent].into_iter().sum();
                (report, Some(sent))
            }
            None => {
                let mut nowhere = Nowhere;
                let sink = into.unwrap_or(&mut nowhere);
                let report = run.decode(place.size, latents, &planned.plan, sink, &control);
                let report = report.map_err(failed)?;
                let sent = matches!(report.way, Some(Way::Devices(_))).then_some(report.sent);
                (report, sent)
            }
        };
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let share = self.share(&report, sent)?;
        let tuning = run.tuning();
        let notices = planned.notices.iter().cloned().chain(late_notices(&report, tuning));
        let notices = notices.collect();
        let report = self.report(&report, tuning, share.clone());
        Ok(Done { notices, report, share })
    }

    /// What this process did, in figures.
    fn report(&self, decoded: &DecodeReport, tuning: Duration, share: Share) -> Report {
        let Shares { pieces, ops, peak_bytes, sent } = Shares::new(vec![share]);
        let is_video = self.latents.frames > 1;
        Report {
            backend: self.run.description(),
            threads: self.threads,
            strategy: self.planned.plan.strategy().to_string(),
            streamed: is_video.then(|| self.streams().is_early()),
            latent_frames_at_a_time: is_video.then(|| self.latent_frames_at_a_time()),
            ranks: Ranks { requested: self.planned.requested, effective: self.planned.ranks },
            pieces,
            seconds: Seconds {
                load: None,
                decode: decoded.seconds,
                tuning: tuning.as_secs_f64(),
                stitch: decoded.stitch.stitch.as_secs_f64(),
                write: decoded.stitch.write.as_secs_f64(),
                total: None,
            },
            peak_bytes,
            exchange: decoded.way.as_ref().map(|way| match way {
                Way::Devices(name) => name.clone(),
                Way::Host(_) => "host".into(),
            }),
            sent,
            ops,
        }
    }

    /// What this process did of the decode.
    fn share(&self, report: &DecodeReport, sent: Option<Sent>) -> Result<Share, Error> {
        let is_video = self.latents.frames > 1;
        Ok(Share {
            pieces: report.pieces.iter().map(|piece| Piece::new(piece, is_video)).collect(),
            ops: self.run.take_ops()?,
            estimated: report.estimated_peak_bytes,
            measured: report.measured_peak_bytes,
            process: memory::process_peak(),
            sent,
        })
    }
}

/// A sink of rows that are not wanted.
struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: Shape) -> io::Result<()> {
        Ok(())
    }

    fn write_rows(&mut self, _: RowsAt, _: &[f32]) -> io::Result<()> {
        Ok(())
    }
}

/// What was not known before the decode.
fn late_notices(report: &DecodeReport, tuning: Duration) -> impl Iterator<Item = Notice> + use<> {
    let over_the_host = match &report.way {
        Some(Way::Host(why)) => Some(Notice::OverTheHost { why: why.clone() }),
        _ => None,
    };
    let seconds = tuning.as_secs_f64();
    let tuned = (tuning > WORTH_TELLING).then_some(Notice::Tuned { seconds });
    over_the_host.into_iter().chain(tuned)
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("planned", &self.planned).finish_non_exhaustive()
    }
}
