//! Decodes what is planned, on whatever backends.

mod ending;
mod fit;

use std::time::Instant;

use halovae_core::Size;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode::{Control, DecodeReport, Decoder, Place};
use halovae_engine::group::{Cancel, FirstRanks, Way};
use halovae_engine::program::Program;
use halovae_engine::schedule::Schedule;
use halovae_engine::sink::{Clamped, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Counted, Sent, Traced};
use halovae_media::{FrameRate, OutputFile};

use crate::args::{DecodeArgs, Verbosity};
use crate::backend::BoxedLinks;
use crate::console::{say, say_notices};
use crate::error::Error;
use crate::memory;
use crate::notices::Notice;
use crate::plan::options::Planned;
use crate::processes::Processes;
use crate::progress::Progress;
use crate::report::{Piece, Share};
use crate::words::extents;
use ending::Ending;
use fit::{Fit, fit};

/// Everything that a decode needs but its backends.
pub(super) struct Job<'a> {
    pub(super) args: &'a DecodeArgs,
    pub(super) verbosity: Verbosity,
    /// When the command began.
    pub(super) start: Instant,
    pub(super) cancel: &'a Cancel,
    /// If ranks are processes.
    pub(super) processes: Option<&'a Processes>,
    /// Which ranks have the backends.
    pub(super) place: Place,
    /// Where the picture goes; with rank 0 only.
    pub(super) output: Option<OutputFile>,
    pub(super) checkpoint: Checkpoint,
    pub(super) program: Program,
    pub(super) latents: HostTensor,
    pub(super) planned: Planned,
    /// CPU threads over all ranks of this process.
    pub(super) threads: u32,
}

impl Job<'_> {
    /// Decodes on one backend for each rank of this process, linked if there are links, and writes
    /// the picture and the report where rank 0 is.
    ///
    /// # Errors
    /// [`Error`]; then no file has been written.
    pub(super) fn run<B: Backend>(
        self,
        backends: Vec<B>,
        links: Option<BoxedLinks<B>>,
    ) -> Result<(), Error> {
        let Self { args, verbosity, start, cancel, processes, place, output, .. } = self;
        let Self { checkpoint, program, latents, mut planned, threads, .. } = self;
        let description = backends.first().map(Backend::description).unwrap_or_default();
        let traced = verbosity.verbose || (args.report.is_some() && !args.no_op_times);
        let decoder = traced_decoder(&program, &checkpoint, backends, links, traced)?;
        let range = checkpoint.config().output_range(planned.plan.strategy());
        let rate = checkpoint.config().frames_per_second().map(FrameRate::whole);
        // The weights are on the devices; the mapped file would only count as memory from here on.
        drop(checkpoint);
        let size = planned.plan.output();
        planned.notices.extend(assumed_rate(rate, size, output.as_ref()));
        let images = latents.shape().batch as u32;
        let Fit { chunk, park, on_host } =
            fit(args, &decoder, place, processes, images, &mut planned)?;
        say_notices(&planned.notices, verbosity);
        let load = start.elapsed();
        let ranks = place.size;
        if verbosity.verbose {
            let schedule = Schedule::new(&planned.plan, images, ranks)?;
            say_plan(&planned, &schedule, ranks, &description);
        }

        let rate = rate.unwrap_or(FrameRate::DEFAULT);
        let mut sink = output.as_ref().map(|output| output.sink(rate));
        let progress = Progress::new(verbosity, size);
        let free: Option<fn() -> Option<u64>> = on_host.then_some(memory::available);
        let control = Control { observer: &progress, cancel: cancel.clone(), park, chunk, free };
        let mut clamped = sink.as_mut().map(|sink| Clamped::new(sink.as_mut(), range));
        let into = clamped.as_mut().map(|sink| -> &mut dyn Sink { sink });
        let (done, sent) = decode(&decoder, &latents, &planned, processes, place, into, &control)?;
        drop(progress);
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let tuning = decoder.backends().map(Backend::tuning).max().unwrap_or_default();
        let own = share(&decoder, &done, sent, latents.shape().frames > 1)?;
        let shares = match processes {
            None => vec![own],
            Some(processes) => processes.close(&own)?,
        };
        let Some(sink) = sink else { return Ok(()) };
        let result = Shape::sample(size, program.out_channels() as usize);
        let ending = Ending {
            args,
            verbosity,
            start,
            load,
            tuning,
            description,
            threads,
            ranks,
            planned,
            chunk: chunk.min(latents.shape().frames as u32),
            latents: latents.shape(),
            result: Shape { batch: latents.shape().batch, ..result },
            to_stdout: output.is_some_and(|output| output.is_stdout()),
        };
        ending.finish(sink, done, shares)
    }
}

/// A decoder with the checkpoint's weights, whose backends measure their ops if `traced`.
fn traced_decoder<B: Backend>(
    program: &Program,
    checkpoint: &Checkpoint,
    backends: Vec<B>,
    links: Option<BoxedLinks<B>>,
    traced: bool,
) -> Result<Decoder<Traced<B>>, Error> {
    let backends = backends.into_iter().map(|backend| Traced::new(backend, traced));
    let backends = backends.collect::<Result<Vec<_>, _>>()?;
    let decoder = Decoder::new(program, checkpoint, backends).map_err(Error::prepare)?;
    Ok(match links {
        Some(links) => decoder.linked(links),
        None => decoder,
    })
}

/// That a video is written with a number of frames in a second which neither flags nor model say.
fn assumed_rate(
    rate: Option<FrameRate>,
    output: Size,
    file: Option<&OutputFile>,
) -> Option<Notice> {
    let lacks_rate =
        rate.is_none() && output.frames > 1 && file.is_some_and(OutputFile::lacks_rate);
    lacks_rate.then_some(Notice::FrameRate { rate: FrameRate::DEFAULT })
}

/// Decodes into the sink, where rank 0 is; also gives what ranks sent each other, if they are processes
/// or linked.
fn decode<B: Backend>(
    decoder: &Decoder<B>,
    latents: &HostTensor,
    planned: &Planned,
    processes: Option<&Processes>,
    place: Place,
    into: Option<&mut dyn Sink>,
    control: &Control<'_>,
) -> Result<(DecodeReport, Option<Sent>), Error> {
    let plan = &planned.plan;
    Ok(match (processes, into) {
        (None, Some(sink)) => {
            let done = decoder.decode(latents, plan, sink, control)?;
            let sent = matches!(done.way, Some(Way::Devices(_))).then_some(done.sent);
            (done, sent)
        }
        (None, None) => unreachable!("a process alone is rank 0, which has a sink"),
        (Some(processes), into) => {
            let group = FirstRanks::new(processes.group(), place.size);
            let group = Counted::new(&group);
            let mut into = into.map(|sink| processes.to_reader(sink));
            let into = into.as_mut().map(|sink| -> &mut dyn Sink { sink });
            let done = decoder.decode_as(&group, latents, plan, into, control)?;
            let sent = [group.sent(), done.sent].into_iter().sum();
            (done, Some(sent))
        }
    })
}

/// What this process did of the decode.
fn share<B: Backend>(
    decoder: &Decoder<Traced<B>>,
    done: &DecodeReport,
    sent: Option<Sent>,
    is_video: bool,
) -> Result<Share, Error> {
    let records = decoder.backends().map(Traced::take_records).collect::<Result<Vec<_>, _>>()?;
    Ok(Share {
        pieces: done.pieces.iter().map(|piece| Piece::new(piece, is_video)).collect(),
        ops: records.into_iter().flatten().map(Into::into).collect(),
        estimated: done.estimated_peak_bytes,
        measured: done.measured_peak_bytes,
        process: memory::process_peak(),
        sent,
    })
}

fn say_plan(planned: &Planned, schedule: &Schedule, ranks: u32, backend: &str) {
    let (input, output) = (planned.plan.input(), planned.plan.output());
    let what = if output.frames > 1 { "video" } else { "image" };
    say(format_args!(
        "halovae: {} decode of {} latent cells to {} pixels: {} pieces of {} {what}(s) on {ranks} \
         rank(s), {backend}",
        planned.plan.strategy(),
        extents(input),
        extents(output),
        schedule.items().len(),
        schedule.images(),
    ));
}
