//! `halovae decode`: from a file of latents to files of images.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halovae_core::{Plan, ShardGrid, Size};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode::{Control, Decoder, Place};
use halovae_engine::format_bytes;
use halovae_engine::group::{Cancel, FirstRanks, Group, Tag};
use halovae_engine::latents::{Latents, LatentsError};
use halovae_engine::program::Program;
use halovae_engine::schedule::Schedule;
use halovae_engine::shard::{ParkLimit, exchanged_layers};
use halovae_engine::sink::Sink;
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Counted, Traced};

use crate::args::{ByteSize, DecodeArgs, LatentSpaceArg, ShardGridArg, Verbosity};
use crate::console::{emit_json, say, say_error, say_notices};
use crate::error::Error;
use crate::facts::facts;
use crate::notices::Notice;
use crate::ops::{OpKind, OpTable};
use crate::output::{OutputFile, Temporary, check_place};
use crate::plan_options::{self, Planned, TileOptions};
use crate::processes::Processes;
use crate::progress::Progress;
use crate::report::{
    ImageReport, LatentsReport, PeakBytes, RanksReport, Report, Seconds, Share, Shares,
};
use crate::{backend, memory};

/// Decodes, alone or as one of several processes.
///
/// # Errors
/// [`Error`]; then no file has been written.
pub(crate) fn run(args: &DecodeArgs, verbosity: Verbosity) -> Result<(), Error> {
    let start = Instant::now();
    let cancel = Cancel::new();
    let processes = Processes::join(args.rank_timeout, &cancel)?;
    cancel_on_signal(&cancel, processes.as_ref())?;
    match processes {
        None => decode(args, verbosity, start, &cancel, None),
        Some(processes) => {
            processes.run(|processes| decode(args, verbosity, start, &cancel, Some(processes)))
        }
    }
}

/// Rank 0 (there is no other in one process alone) writes all files.
fn decode(
    args: &DecodeArgs,
    verbosity: Verbosity,
    start: Instant,
    cancel: &Cancel,
    processes: Option<&Processes>,
) -> Result<(), Error> {
    let rank = processes.map_or(0, |processes| processes.group().rank());
    let output = (rank == 0).then(|| check_outputs(args)).transpose()?;

    let (checkpoint, program) = super::open_vae(&args.vae.vae, args.vae.config.as_deref())?;
    let latents = read_latents(args, &checkpoint, &program)?;
    let group_size = processes.map(|processes| processes.group().size());
    let mut planned = make_plan(args, &checkpoint, &program, latents.shape(), group_size)?;
    planned.notices.splice(0..0, Notice::guessed(&checkpoint));
    check_memory_flags(args, &planned)?;
    let ranks = busy_ranks(&planned, latents.shape().batch);
    if let Some(processes) = processes {
        let facts = facts(args, &checkpoint, &program, &latents, &planned);
        processes.group().watch().agree(&facts)?;
        if rank >= ranks {
            processes.close(&Share::default())?;
            return Ok(());
        }
    }

    let traced = verbosity.verbose || args.report.is_some();
    let threads = match processes {
        None => backend::threads(args.threads),
        Some(processes) => processes.threads(args.threads),
    };
    let here = if processes.is_some() { 1 } else { ranks };
    let backends = backend::open(args.backend, threads, here)?;
    let description = backends.first().map(Backend::description).unwrap_or_default();
    let backends = backends.into_iter().map(|backend| Traced::new(backend, traced)).collect();
    let decoder = Decoder::new(&program, &checkpoint, backends)?;
    // The weights are on the devices; the mapped file would only count as memory from here on.
    drop(checkpoint);
    let images = latents.shape().batch as u32;
    let place = Place { first: rank, size: ranks };
    let park = fit_memory(args, &decoder, place, processes, &mut planned)?;
    let estimate = decoder.estimate_peak_bytes(&planned.plan, images, place, park.as_ref())?;
    planned.notices.extend(memory_notice(estimate));
    say_notices(&planned.notices, verbosity);
    let load = start.elapsed();
    if verbosity.verbose {
        let schedule = Schedule::new(&planned.plan, images, ranks)?;
        say_plan(&planned, &schedule, ranks, &description);
    }

    let mut sink = output.as_ref().map(OutputFile::sink);
    let progress = Progress::new(verbosity.quiet);
    let control = Control { observer: &progress, cancel: cancel.clone(), park };
    let into = sink.as_mut().map(|sink| -> &mut dyn Sink { sink.as_mut() });
    let (done, sent) = match (processes, into) {
        (None, Some(sink)) => (decoder.decode(&latents, &planned.plan, sink, &control)?, None),
        (None, None) => unreachable!("a process alone is rank 0, which has a sink"),
        (Some(processes), into) => {
            let group = FirstRanks::new(processes.group(), ranks);
            let group = Counted::new(&group);
            let done = decoder.decode_as(&group, &latents, &planned.plan, into, &control)?;
            (done, Some(group.sent()))
        }
    };
    drop(progress);
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let own = Share {
        pieces: done.pieces.iter().map(Into::into).collect(),
        ops: decoder.backends().flat_map(Traced::take_records).map(Into::into).collect(),
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
    let Shares { pieces, ops, peak_bytes, sent } = Shares::new(shares);
    let committing = Instant::now();
    let files = sink.commit().map_err(Error::Commit)?;

    let seconds = Seconds {
        load: load.as_secs_f64(),
        decode: done.seconds,
        stitch: done.stitch.stitch.as_secs_f64(),
        write: (done.stitch.write + committing.elapsed()).as_secs_f64(),
        total: start.elapsed().as_secs_f64(),
    };
    if verbosity.verbose {
        say_done(&files, &ops, seconds, &peak_bytes);
    }
    if let Some(path) = &args.report {
        let image = [
            latents.shape().batch,
            program.out_channels() as usize,
            planned.plan.output().height as usize,
            planned.plan.output().width as usize,
        ];
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            vae: args.vae.vae.clone(),
            latents: LatentsReport { path: args.latents.clone(), shape: nchw(latents.shape()) },
            image: ImageReport { shape: image },
            output: files,
            backend: description,
            threads,
            strategy: planned.plan.strategy().to_string(),
            ranks: RanksReport { requested: planned.requested, effective: ranks },
            notices: planned.notices.iter().map(ToString::to_string).collect(),
            pieces,
            seconds,
            peak_bytes,
            sent,
            ops,
        };
        emit_json(&report, Some(path))?;
    }
    Ok(())
}

/// What can be known to fail about the files that will be written, before anything is read.
fn check_outputs(args: &DecodeArgs) -> Result<OutputFile, Error> {
    let output = OutputFile::check(&args.output)?;
    if let Some(report) = &args.report {
        check_place(report)?;
    }
    let inputs = [("--latents", Some(&args.latents)), ("--vae", Some(&args.vae.vae))];
    let written = [("--output", Some(&args.output)), ("--report", args.report.as_ref())];
    let config = ("--config", args.vae.config.as_ref());
    for (flag, path) in written.into_iter().filter_map(|(flag, path)| Some((flag, path?))) {
        for (input, other) in inputs.into_iter().chain([config]) {
            if other.is_some_and(|other| same_file(path, other)) {
                return Err(Error::Usage(format!(
                    "{flag} `{}` would overwrite {input}; give another name",
                    path.display()
                )));
            }
        }
    }
    match &args.report {
        Some(report) if report == &args.output || same_file(report, &args.output) => {
            Err(Error::Usage("--report and --output name the same file".into()))
        }
        _ => Ok(output),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// How long a cancelled decode may take to end by itself.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// Ctrl-C (and SIGTERM) ends the decode, which then cleans up after itself. An op cannot be
/// interrupted, and attention over a large image takes minutes: a decode that has not ended in
/// time is left behind with the process.
fn cancel_on_signal(cancel: &Cancel, processes: Option<&Processes>) -> Result<(), Error> {
    let ended = cancel.clone();
    let end_all = processes.map(Processes::cancel_later);
    let end = move || match &end_all {
        Some(end_all) => end_all(),
        None => {
            ended.cancel();
            std::thread::sleep(CANCEL_GRACE);
            say_error(&Error::Cancelled);
            Temporary::delete_all_and_exit(Error::Cancelled.exit_code());
        }
    };
    ctrlc::set_handler(end)
        .map_err(|error| Error::Device(format!("cannot listen for Ctrl-C: {error}")))
}

fn read_latents(
    args: &DecodeArgs,
    checkpoint: &Checkpoint,
    program: &Program,
) -> Result<HostTensor, Error> {
    let mut latents = Latents::read(&args.latents, args.latents_key.as_deref())?;
    let about_file = |source: LatentsError| LatentsError::InFile {
        path: args.latents.clone(),
        source: Box::new(source),
    };
    latents.expect_channels(program.latent_channels() as usize).map_err(about_file)?;
    if args.latent_space == LatentSpaceArg::Pipeline {
        latents.to_vae_space(&checkpoint.config().latent_space()).map_err(about_file)?;
    }
    let Latents { batch, channels, height, width, data } = latents;
    let shape = Shape::new(batch, height, width, channels);
    Ok(HostTensor::new(shape, data).expect("latents hold as many values as their extents say"))
}

fn make_plan(
    args: &DecodeArgs,
    checkpoint: &Checkpoint,
    program: &Program,
    shape: Shape,
    group_size: Option<u32>,
) -> Result<Planned, Error> {
    // The reader of latents refuses extents beyond u32, that of the batch included.
    let latents = Size::new(shape.height as u32, shape.width as u32);
    let options = TileOptions::from(&args.tiles);
    let tiling = options.tiling(Some(checkpoint.config()), program.scale())?;
    let mut ranks = args.ranks;
    let requested = *ranks.vae_patch_parallel_size.get_or_insert(group_size.unwrap_or(1));
    let group = group_size.unwrap_or(requested);
    let layers = exchanged_layers(program)?;
    let images = shape.batch as u32;
    plan_options::plan(latents, images, &ranks, group, &options, &tiling, &layers)
}

/// A decode with a bound on its memory is a sharded one.
fn check_memory_flags(args: &DecodeArgs, planned: &Planned) -> Result<(), Error> {
    if args.max_memory.is_some() && !matches!(planned.plan, Plan::Sharded(_)) {
        return Err(Error::Usage("--max-memory needs --strategy sharded".into()));
    }
    Ok(())
}

/// Chooses the shards for `--max-memory`, and says what of them may wait in memory. Of several
/// processes rank 0 chooses.
fn fit_memory<B: Backend>(
    args: &DecodeArgs,
    decoder: &Decoder<B>,
    place: Place,
    processes: Option<&Processes>,
    planned: &mut Planned,
) -> Result<Option<ParkLimit>, Error> {
    let (Some(ByteSize(budget)), Plan::Sharded(grid)) = (args.max_memory, planned.plan) else {
        return Ok(None);
    };
    let latents = grid.latents();
    let given = (args.ranks.shard_grid != ShardGridArg::Auto).then_some(grid);
    let fit = |given| decoder.fit_shards(latents, place, budget, given);
    let fit = match processes {
        None => fit(given)?,
        Some(processes) => {
            let mut chosen = [0.0; 2];
            if place.first == 0 {
                let grid = fit(given)?.grid;
                // Grids that fit have few enough bands for exact floats.
                chosen = [grid.rows(), grid.cols()].map(|bands| bands as f32);
            }
            let group = FirstRanks::new(processes.group(), place.size);
            group.broadcast(0, Tag(0), &mut chosen)?;
            let [rows, cols] = chosen.map(|bands| bands as u32);
            fit(Some(ShardGrid::new(latents, rows, cols, planned.scale)?))?
        }
    };
    planned.plan = Plan::sharded(fit.grid);
    let scratch = args.scratch_dir.clone().unwrap_or_else(std::env::temp_dir);
    Ok(Some(ParkLimit { bytes: fit.limit, scratch }))
}

/// The ranks that get a device: no more than there are pieces over all images. A patch, though,
/// belongs to a certain rank of the grid.
fn busy_ranks(planned: &Planned, images: usize) -> u32 {
    if matches!(planned.plan, Plan::Patch(_) | Plan::Sharded(_)) {
        return planned.ranks;
    }
    let pieces = planned.plan.piece_count().saturating_mul(images as u64);
    planned.ranks.min(u32::try_from(pieces).unwrap_or(u32::MAX))
}

fn memory_notice(needed: u64) -> Option<Notice> {
    let available = memory::available()?;
    (needed > available).then_some(Notice::Memory { needed, available })
}

fn say_plan(planned: &Planned, schedule: &Schedule, ranks: u32, backend: &str) {
    let (input, output) = (planned.plan.input(), planned.plan.output());
    say(format_args!(
        "halovae: {} decode of {} x {} latent cells to {} x {} pixels: {} pieces of {} image(s) on \
         {ranks} rank(s), {backend}",
        planned.plan.strategy(),
        input.height,
        input.width,
        output.height,
        output.width,
        schedule.items().len(),
        schedule.images(),
    ));
}

fn say_done(files: &[PathBuf], ops: &[OpKind], seconds: Seconds, peak: &PeakBytes) {
    say(OpTable(ops));
    let Seconds { load, decode, stitch, write, total } = seconds;
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
    files.iter().for_each(|file| say(format_args!("halovae: wrote `{}`", file.display())));
}

fn nchw(shape: Shape) -> [usize; 4] {
    [shape.batch, shape.channels, shape.height, shape.width]
}
