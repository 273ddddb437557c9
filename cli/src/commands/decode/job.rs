//! Decodes what is planned, on whatever backends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use halovae_core::{Axes, Plan, ShardGrid};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode::{Control, Decoder, Place};
use halovae_engine::format_bytes;
use halovae_engine::group::{CHOICE, Cancel, FirstRanks, Objects, Way};
use halovae_engine::program::Program;
use halovae_engine::schedule::Schedule;
use halovae_engine::shard::ParkLimit;
use halovae_engine::sink::{Clamped, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Counted, Traced};

use crate::args::{ByteSize, DecodeArgs, Destination, ShardGridArg, Verbosity};
use crate::backend::BoxedLinks;
use crate::console::{emit, json, say, say_notices, say_text, write_temporary};
use crate::error::Error;
use crate::notices::Notice;
use crate::ops::{OpKind, OpTable};
use crate::output::{FrameRate, OutputFile, Temporary, channels_first};
use crate::plan::options::Planned;
use crate::processes::Processes;
use crate::progress::Progress;
use crate::report::{
    ImageReport, LatentsReport, PeakBytes, Piece, RanksReport, Report, Seconds, Share, Shares,
};
use crate::words::extents;
use crate::{backend, memory, room};

/// Shorter waits go unnoticed.
const WORTH_TELLING: Duration = Duration::from_millis(500);

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
        let traced = verbosity.verbose || (args.report.is_some() && !args.no_op_times);
        let description = backends.first().map(Backend::description).unwrap_or_default();
        let backends = backends.into_iter().map(|backend| Traced::new(backend, traced));
        let backends = backends.collect::<Result<Vec<_>, _>>()?;
        let mut decoder = Decoder::new(&program, &checkpoint, backends).map_err(Error::prepare)?;
        if let Some(links) = links {
            decoder = decoder.linked(links);
        }
        let range = checkpoint.config().output_range(planned.plan.strategy());
        let size = planned.plan.output();
        let rate = checkpoint.config().frames_per_second().map(FrameRate::whole);
        if rate.is_none() && size.frames > 1 && output.as_ref().is_some_and(OutputFile::lacks_rate)
        {
            planned.notices.push(Notice::FrameRate { rate: FrameRate::DEFAULT });
        }
        let rate = rate.unwrap_or(FrameRate::DEFAULT);
        // The weights are on the devices; the mapped file would only count as memory from here on.
        drop(checkpoint);
        let images = latents.shape().batch as u32;
        let ranks = place.size;
        let chunk = choose_chunk(&decoder, place, processes, &planned.plan)?;
        let park = fit_memory(args, &decoder, place, processes, chunk, &mut planned)?;
        let on_host = decoder.backends().all(|backend| backend.name() == backend::CPU);
        if on_host {
            let available = memory::available_to_each(processes.map_or(1, Processes::neighbours));
            let available = available.unwrap_or(u64::MAX);
            let notice = memory_notice(
                &decoder,
                &planned.plan,
                images,
                place,
                park.as_ref(),
                chunk,
                available,
            )?;
            planned.notices.extend(notice);
        }
        say_notices(&planned.notices, verbosity);
        let load = start.elapsed();
        if verbosity.verbose {
            let schedule = Schedule::new(&planned.plan, images, ranks)?;
            say_plan(&planned, &schedule, ranks, &description);
        }

        let mut sink = output.as_ref().map(|output| output.sink(rate));
        let progress = Progress::new(verbosity.quiet, size);
        let free: Option<fn() -> Option<u64>> = on_host.then_some(memory::available);
        let cancel_too = cancel.clone();
        let control = Control { observer: &progress, cancel: cancel_too, park, chunk, free };
        let mut clamped = sink.as_mut().map(|sink| Clamped::new(sink.as_mut(), range));
        let into = clamped.as_mut().map(|sink| -> &mut dyn Sink { sink });
        let (done, sent) = match (processes, into) {
            (None, Some(sink)) => {
                let done = decoder.decode(&latents, &planned.plan, sink, &control)?;
                let sent = matches!(done.way, Some(Way::Devices(_))).then_some(done.sent);
                (done, sent)
            }
            (None, None) => unreachable!("a process alone is rank 0, which has a sink"),
            (Some(processes), into) => {
                let group = FirstRanks::new(processes.group(), ranks);
                let group = Counted::new(&group);
                let mut into = into.map(|sink| processes.to_reader(sink));
                let into = into.as_mut().map(|sink| -> &mut dyn Sink { sink });
                let done = decoder.decode_as(&group, &latents, &planned.plan, into, &control)?;
                let sent = [group.sent(), done.sent].into_iter().sum();
                (done, Some(sent))
            }
        };
        drop(progress);
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let records =
            decoder.backends().map(Traced::take_records).collect::<Result<Vec<_>, _>>()?;
        let tuning = decoder.backends().map(Backend::tuning).max().unwrap_or_default();
        let is_video = latents.shape().frames > 1;
        let own = Share {
            pieces: done.pieces.iter().map(|piece| Piece::new(piece, is_video)).collect(),
            ops: records.into_iter().flatten().map(Into::into).collect(),
            estimated: done.estimated_peak_bytes,
            measured: done.measured_peak_bytes,
            process: memory::process_peak(),
            sent,
        };
        let shares = match processes {
            None => vec![own],
            Some(processes) => processes.close(&own)?,
        };
        let Some(sink) = sink else { return Ok(()) };
        let over_the_host = match &done.way {
            Some(Way::Host(why)) => Some(Notice::OverTheHost { why: why.clone() }),
            _ => None,
        };
        let tuned =
            (tuning > WORTH_TELLING).then_some(Notice::Tuned { seconds: tuning.as_secs_f64() });
        let late: Vec<Notice> = over_the_host.into_iter().chain(tuned).collect();
        say_notices(&late, verbosity);
        planned.notices.extend(late);
        let Shares { pieces, ops, peak_bytes, sent } = Shares::new(shares);
        let finishing = Instant::now();
        let mut files = sink.finish().map_err(Error::Commit)?;
        let to_stdout = output.is_some_and(|output| output.is_stdout());
        let stdout = to_stdout.then(|| PathBuf::from("-"));
        let targets = files.iter().map(|file| file.target().into());
        let names: Vec<PathBuf> = targets.chain(stdout).collect();

        let seconds = Seconds {
            load: load.as_secs_f64(),
            decode: done.seconds,
            tuning: tuning.as_secs_f64(),
            stitch: done.stitch.stitch.as_secs_f64(),
            write: (done.stitch.write + finishing.elapsed()).as_secs_f64(),
            total: start.elapsed().as_secs_f64(),
        };
        if verbosity.verbose {
            say_figures(&ops, seconds, &peak_bytes);
        }
        if let Some(to) = &args.report {
            let result = Shape::sample(size, program.out_channels() as usize);
            let result = Shape { batch: latents.shape().batch, ..result };
            let report = Report {
                version: env!("CARGO_PKG_VERSION"),
                vae: args.vae.vae.clone(),
                latents: LatentsReport {
                    path: args.latents.clone(),
                    shape: channels_first(latents.shape()),
                },
                image: ImageReport { shape: channels_first(result) },
                output: names,
                backend: description,
                threads,
                strategy: planned.plan.strategy().to_string(),
                ranks: RanksReport { requested: planned.requested, effective: ranks },
                notices: planned.notices.iter().map(ToString::to_string).collect(),
                pieces,
                seconds,
                peak_bytes,
                exchange: done.way.map(|way| match way {
                    Way::Devices(name) => name,
                    Way::Host(_) => "host".into(),
                }),
                sent,
                ops,
            };
            // Before any file has its name: all get theirs, or none does.
            let report = json(&report)?;
            match to {
                Destination::File(path) => files.push(write_temporary(&report, path)?),
                Destination::Stdout => match emit(&report, None) {
                    // The files are what was asked for; the reader of the report went away.
                    Err(Error::BrokenPipe) => {}
                    emitted => emitted?,
                },
            }
        }
        let written = Temporary::commit(files).map_err(Error::Commit)?;
        if verbosity.verbose {
            for file in written {
                say(format_args!("halovae: wrote `{}`", file.display()));
            }
        }
        Ok(())
    }
}

/// How many frames of latents are decoded at a time. Of several processes, whose devices may differ,
/// rank 0 chooses.
fn choose_chunk<B: Backend>(
    decoder: &Decoder<B>,
    place: Place,
    processes: Option<&Processes>,
    plan: &Plan,
) -> Result<u32, Error> {
    let own = (place.first == 0).then(|| decoder.choose_chunk(plan));
    match processes {
        Some(processes) if plan.input().frames > 1 => {
            let group = FirstRanks::new(processes.group(), place.size);
            Ok(group.broadcast_object(0, CHOICE, own)?)
        }
        _ => Ok(own.unwrap_or(1)),
    }
}

/// Chooses the shards for `--max-memory`, and says what of them may wait in memory. Of several
/// processes rank 0 chooses.
fn fit_memory<B: Backend>(
    args: &DecodeArgs,
    decoder: &Decoder<B>,
    place: Place,
    processes: Option<&Processes>,
    chunk: u32,
    planned: &mut Planned,
) -> Result<Option<ParkLimit>, Error> {
    let (Some(ByteSize(budget)), Plan::Sharded(grid)) = (args.max_memory, planned.plan) else {
        return Ok(None);
    };
    let latents = grid.latents();
    let given = (args.ranks.shard_grid != ShardGridArg::Auto).then_some(grid);
    let fit = |given| decoder.fit_shards(latents, place, budget, given, chunk);
    let fit = match processes {
        None => fit(given)?,
        Some(processes) => {
            let own = match place.first {
                0 => Some(fit(given)?.grid),
                _ => None,
            };
            let own = own.map(|grid| [grid.slices(), grid.rows(), grid.cols()]);
            let group = FirstRanks::new(processes.group(), place.size);
            let [slices, rows, cols]: [u32; 3] = group.broadcast_object(0, CHOICE, own)?;
            fit(Some(ShardGrid::of(latents, Axes::new(slices, rows, cols), planned.scale)?))?
        }
    };
    planned.plan = Plan::sharded(fit.grid);
    let scratch = args.scratch_dir.clone().unwrap_or_else(std::env::temp_dir);
    Ok(Some(ParkLimit { bytes: fit.limit, scratch }))
}

/// That the host has less memory, `available`, than this process will take beside what it has taken
/// already.
fn memory_notice<B: Backend>(
    decoder: &Decoder<B>,
    plan: &Plan,
    images: u32,
    place: Place,
    park: Option<&ParkLimit>,
    chunk: u32,
    available: u64,
) -> Result<Option<Notice>, Error> {
    let taken: u64 = decoder.backends().map(|backend| backend.memory().current).sum();
    let estimate = decoder.estimate_peak_bytes(plan, images, place, park, chunk)?;
    let needed =
        estimate.saturating_sub(taken).saturating_add(decoder.host_bytes(plan, place, chunk));
    if needed <= available {
        return Ok(None);
    }
    let instead = room::flags(&decoder.room(plan, images, place, chunk, available)?);
    Ok(Some(Notice::Memory { needed, available, instead }))
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

fn say_figures(ops: &[OpKind], seconds: Seconds, peak: &PeakBytes) {
    say_text(&OpTable(ops).to_string());
    // A notice has told of the tuning.
    let Seconds { load, decode, tuning: _, stitch, write, total } = seconds;
    say(format_args!(
        "halovae: load {load:.2} s, decode {decode:.2} s (stitching {stitch:.2} s and writing \
         {write:.2} s meanwhile), total {total:.2} s"
    ));
    let process = peak.process.map(|bytes| format!(", process {}", format_bytes(bytes)));
    say(format_args!(
        "halovae: peak memory {} (estimated {}){}",
        format_bytes(peak.measured),
        format_bytes(peak.estimated),
        process.unwrap_or_default()
    ));
}
