//! `halovae decode`: from a file of latents to files of images or videos.

mod inputs;
mod job;
mod latents;

use std::time::{Duration, Instant};

use halovae_engine::decode::Place;
use halovae_engine::group::Cancel;
use halovae_engine::tensor::Shape;
use halovae_media::Temporary;

use crate::args::{DecodeArgs, VaeArgs, Verbosity};
use crate::backend::{self, Devices};
use crate::console::{self, say_error, say_notices};
use crate::error::Error;
use crate::facts::facts;
use crate::launcher;
use crate::notices::Notice;
use crate::processes::Processes;
use crate::report::Share;
use crate::vae::{for_frames, open_vae};
use inputs::{check_outputs, check_scratch_dir, check_sharded_flags, check_written, make_plan};
use job::Job;
use latents::read_latents;

/// Decodes, alone or as one of several processes.
///
/// # Errors
/// [`Error`]; then no file has been written.
pub(crate) fn run(args: &DecodeArgs, verbosity: Verbosity) -> Result<(), Error> {
    let start = Instant::now();
    let cancel = Cancel::new();
    let allowed = launcher::Allowed::from(args.launcher);
    // Before they are together, no other process can tell why this one is not among them.
    console::set_speaker(true);
    let processes = Processes::join(allowed, args.rank_timeout, &cancel)?;
    console::set_speaker(processes.as_ref().is_none_or(|all| all.group().rank() == 0));
    cancel_on_signal(&cancel, processes.as_ref())?;
    let result = match processes {
        None => decode(args, verbosity, start, &cancel, None),
        Some(processes) => {
            processes.run(|processes| decode(args, verbosity, start, &cancel, Some(processes)))
        }
    };
    if matches!(result, Err(Error::BrokenPipe)) && args.report.is_some() {
        say_notices(&[Notice::NoReport], verbosity);
    }
    result
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
    check_scratch_dir(args)?;

    let VaeArgs { vae, config, variant } = &args.vae;
    let (checkpoint, program) = open_vae(vae, config.as_deref(), variant.as_deref())?;
    let (latents, assumed) = read_latents(args, &checkpoint, &program)?;
    let program = for_frames(program, latents.shape().size().frames);
    let group_size = processes.map(|processes| processes.group().size());
    let mut planned = make_plan(args, &checkpoint, &program, latents.shape(), group_size)?;
    let of_checkpoint = Notice::of_checkpoint(&checkpoint, variant.as_deref());
    planned.notices.splice(0..0, of_checkpoint.into_iter().chain(assumed));
    if processes.is_none() {
        let half = launcher::half_launch(args.launcher.into());
        planned.notices.splice(0..0, half.map(Notice::HalfLaunched));
    }
    check_sharded_flags(args, &planned)?;
    if let Some(output) = &output {
        let size = planned.plan.output();
        let picture = Shape::sample(size, program.out_channels() as usize);
        let picture = Shape { batch: latents.shape().batch, ..picture };
        check_written(args, output, &checkpoint, picture)?;
        let left_over = output.frame_left_over(picture);
        planned.notices.extend(left_over.map(|path| Notice::FrameLeftOver { path }));
        if output.is_raw() {
            let assumed = checkpoint.config().assumed_of_range(planned.plan.strategy());
            planned.notices.extend(assumed.map(|what| Notice::AssumedRange { what }));
        }
    }
    let ranks = planned.ranks;
    if let Some(processes) = processes {
        let facts = facts(args, &checkpoint, &program, &latents, &planned);
        processes.group().watch().agree(&facts)?;
        if rank >= ranks {
            processes.close(&Share::default())?;
            return Ok(());
        }
    }

    let threads = match processes {
        None => backend::threads(args.threads),
        Some(processes) => processes.threads(args.threads),
    };
    let seats = match processes {
        None => 0..ranks,
        Some(processes) => processes.seat(),
    };
    let devices = backend::open(&args.device, threads, seats, &program, &mut planned.notices)?;
    let place = Place { first: rank, size: ranks };
    let job = Job {
        args,
        verbosity,
        start,
        cancel,
        processes,
        place,
        output,
        checkpoint,
        program,
        latents,
        planned,
        threads,
    };
    match devices {
        Devices::Cpu(backends) => job.run(backends, None),
        #[cfg(feature = "cuda")]
        Devices::Cuda(backends) => {
            let links = backend::cuda::links(&backends, args.device.exchange)?;
            job.run(backends, links)
        }
        #[cfg(feature = "wgpu")]
        Devices::Wgpu(backends) => job.run(backends, None),
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
    let end = move || {
        match &end_all {
            Some(end_all) => end_all(),
            None => ended.cancel(),
        }
        std::thread::sleep(CANCEL_GRACE);
        say_error(&Error::Cancelled);
        Temporary::delete_all_and_exit(Error::Cancelled.exit_code());
    };
    ctrlc::set_handler(end)
        .map_err(|error| Error::Device(format!("cannot listen for Ctrl-C: {error}")))
}
