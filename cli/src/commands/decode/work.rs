//! A decode on its decoder, from its beginning to its end.

use std::num::NonZeroU32;
use std::time::Instant;

use halovae::engine::group::Group;
use halovae::plan::Streams;
use halovae::{Cancel, Control, Decoder, HostTensor, Job, Planned, Shape, Sink, Together};
use halovae_media::FrameRate;
use halovae_media::OutputFile;

use super::ending::Ending;
use crate::args::{DecodeArgs, Verbosity};
use crate::console::{say, say_notices};
use crate::error::Error;
use crate::notices::{Notice, of_library};
use crate::processes::Processes;
use crate::progress::Progress;
use crate::words::{counted, extents, piece_name};

/// Everything that a decode needs.
pub(super) struct Work<'a> {
    pub(super) args: &'a DecodeArgs,
    pub(super) verbosity: Verbosity,
    /// When the command began.
    pub(super) start: Instant,
    pub(super) cancel: &'a Cancel,
    /// If ranks are processes.
    pub(super) processes: Option<&'a Processes>,
    /// Where the picture goes; with rank 0 only.
    pub(super) output: Option<OutputFile>,
    pub(super) latents: HostTensor,
    pub(super) decoder: Decoder,
    pub(super) planned: Planned,
    /// What was noticed before the plan's own are told.
    pub(super) notices: Vec<Notice>,
}

impl Work<'_> {
    /// Decodes, and writes the picture and the report where rank 0 is.
    ///
    /// # Errors
    /// [`Error`]; then no file has been written.
    pub(super) fn run(self) -> Result<(), Error> {
        let Self { args, verbosity, start, cancel, processes, output, .. } = self;
        let Self { latents, decoder, planned, mut notices, .. } = self;
        let together = processes.map(|processes| {
            let group: &dyn Group = processes.group();
            Together::new(group, processes.neighbours())
        });
        let job = decoder.job(planned, latents.shape(), together)?;
        notices.extend(of_library(&job.planned().notices));
        say_notices(&notices, verbosity);
        let load = start.elapsed();
        if verbosity.verbose {
            say_plan(&job, latents.shape(), &decoder.description())?;
        }

        let rate = rate(decoder.frames_per_second());
        let mut sink = output.as_ref().map(|output| output.sink(rate));
        let streamed = job.streams() == Streams::ByChunks;
        let progress = Progress::new(verbosity, job.planned().plan.output(), streamed);
        let control = Control::new(cancel.clone()).observed(&progress);
        let done = match (processes, sink.as_mut()) {
            (Some(processes), Some(sink)) => {
                let mut sink = processes.to_reader(sink.as_mut());
                job.run(&latents, Some(&mut sink), &control)?
            }
            (_, sink) => {
                let sink = sink.map(|sink| -> &mut dyn Sink { sink.as_mut() });
                job.run(&latents, sink, &control)?
            }
        };
        drop(progress);
        let shares = match processes {
            None => vec![done.share.clone()],
            Some(processes) => processes.close(&done.share)?,
        };
        let Some((sink, output)) = sink.zip(output) else { return Ok(()) };
        let ending = Ending {
            args,
            verbosity,
            start,
            load,
            job: &job,
            notices,
            latents: latents.shape(),
            to_stdout: output.is_stdout(),
            previews: output.previews(job.result())?,
        };
        ending.finish(sink, &done, shares)
    }
}

/// Frames in a second of a video, if no flag says so.
pub(super) fn rate(of_model: Option<NonZeroU32>) -> FrameRate {
    of_model.map_or(FrameRate::DEFAULT, FrameRate::whole)
}

/// That a video is written with a number of frames in a second which neither flags nor model say.
pub(super) fn assumed_rate(
    rate: Option<NonZeroU32>,
    result: Shape,
    output: &OutputFile,
) -> Option<Notice> {
    let lacks_rate = rate.is_none() && result.frames > 1 && output.lacks_rate();
    lacks_rate.then_some(Notice::FrameRate { rate: FrameRate::DEFAULT })
}

fn say_plan(job: &Job<'_>, latents: Shape, device: &str) -> Result<(), Error> {
    let Planned { plan, ranks, .. } = job.planned();
    let (input, output) = (plan.input(), plan.output());
    let what = if output.frames > 1 { "video" } else { "image" };
    say(format_args!(
        "halovae: {} decode of {} latent cells to {} pixels: {} of {} on {}, {device}",
        plan.strategy(),
        extents(input),
        extents(output),
        counted(job.piece_count()?, piece_name(plan.strategy())),
        counted(latents.batch as u64, what),
        counted(u64::from(*ranks), "rank"),
    ));
    Ok(())
}
