//! `halovae decode`: from a file of latents to files of images or videos.

mod ending;
mod inputs;
mod work;

use std::time::{Duration, Instant};

use halovae::plan::threads;
use halovae::report::Share;
use halovae::{Cancel, Vae};
use halovae_media::Temporary;

use crate::args::{DecodeArgs, Verbosity};
use crate::console::{self, say_error, say_notices};
use crate::error::Error;
use crate::launcher;
use crate::notices::{Notice, of_library};
use crate::processes::Processes;
use crate::signals;
use inputs::{check_outputs, check_scratch_dir, check_written};
use work::{Work, assumed_rate, rate};

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

    let vae = Vae::open_with(&args.vae.vae, &args.vae.options())?;
    let latents = vae.read_latents(&args.latents, &args.latents_options())?;
    let trace = verbosity.verbose || (args.report.is_some() && !args.no_op_times);
    let threads = processes.map_or_else(|| threads(args.threads), |all| all.threads(args.threads));
    let mut options = args.options(Some(threads), trace);
    let group_size = processes.map(|processes| processes.group().size());
    let planned = vae.plan(latents.tensor.shape(), &options, group_size)?;

    let half = processes.is_none().then(|| launcher::half_launch(args.launcher.into())).flatten();
    let mut notices: Vec<Notice> = half.map(Notice::HalfLaunched).into_iter().collect();
    notices.extend(of_library(vae.notices()));
    notices.extend(of_library(&latents.notices));
    if let Some(output) = &output {
        let result = vae.result(&planned, latents.tensor.shape());
        check_written(args, output, vae.sources(), result)?;
        options.sink_bytes = output.bytes(result);
        output.probe(result, rate(vae.config().frames_per_second()))?;
        let left_over = output.frame_left_over(result);
        notices.extend(left_over.map(|path| Notice::FrameLeftOver { path }));
        if output.is_raw() {
            notices.extend(vae.assumed_range(&planned).map(Notice::Library));
        }
        notices.extend(assumed_rate(vae.config().frames_per_second(), result, output));
    }
    if let Some(processes) = processes {
        let mut facts = vae.facts(&latents.tensor, &planned, &options);
        facts.push(("rank timeout".into(), args.rank_timeout.to_string()));
        processes.group().watch().agree(&facts)?;
        if rank >= planned.ranks {
            processes.close(&Share::default())?;
            return Ok(());
        }
    }

    let decoder = match processes {
        None => vae.decoder_for(&planned, &options)?,
        Some(processes) => vae.decoder_of_rank(&planned, &options, processes.seat())?,
    };
    // The weights are on the devices; the mapped file would only count as memory from here on.
    drop(vae);
    notices.extend(of_library(decoder.notices()));
    let work = Work {
        args,
        verbosity,
        start,
        cancel,
        processes,
        output,
        latents: latents.tensor,
        decoder,
        planned,
        notices,
    };
    work.run()
}

/// How long a cancelled decode may take to end by itself.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// Ctrl-C (and SIGTERM, SIGHUP) ends the decode, which then cleans up after itself. An op cannot be
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
    signals::on_end(end)
        .map_err(|error| Error::System(format!("cannot listen for Ctrl-C: {error}")))
}
