//! How a decode ends: what ranks have to tell, the report, and the names of all files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use halovae::report::{Report, Seconds, Share};
use halovae::words::format_bytes;
use halovae::{Done, Job, Shape};
use halovae_media::{FileSink, Temporary, channels_first};

use crate::args::{DecodeArgs, Destination, Verbosity};
use crate::console::{emit, json, say, say_notices, say_text, write_temporary};
use crate::error::Error;
use crate::notices::{Notice, of_library};
use crate::ops::OpTable;
use crate::report::{ImageJson, LatentsJson, ReportJson};
use crate::terminal::is_watched;

/// More files than these are told by their number.
const MOST_NAMED: usize = 8;

/// What rank 0 knows of a decode that has come to its end.
pub(super) struct Ending<'a> {
    pub(super) args: &'a DecodeArgs,
    pub(super) verbosity: Verbosity,
    /// When the command began.
    pub(super) start: Instant,
    /// How long it took until the decode began.
    pub(super) load: Duration,
    pub(super) job: &'a Job<'a>,
    /// What has been told.
    pub(super) notices: Vec<Notice>,
    pub(super) latents: Shape,
    pub(super) to_stdout: bool,
    /// Pictures of frames, which have their names.
    pub(super) previews: Vec<PathBuf>,
}

impl Ending<'_> {
    /// Says what was noticed, writes the report, and gives all files their names.
    ///
    /// # Errors
    /// [`Error`]; then no file has a name.
    pub(super) fn finish(
        mut self,
        sink: Box<dyn FileSink>,
        done: &Done,
        shares: Vec<Share>,
    ) -> Result<(), Error> {
        self.say_what_was_noticed(done);
        let finishing = Instant::now();
        let mut files = sink.finish().map_err(Error::Commit)?;
        let mut report = done.report.clone().of_all(shares);
        report.seconds.load = Some(self.load.as_secs_f64());
        report.seconds.write += finishing.elapsed().as_secs_f64();
        report.seconds.total = Some(self.start.elapsed().as_secs_f64());
        let verbosity = self.verbosity;
        if verbosity.verbose {
            say_figures(&report, self.start.elapsed());
        }
        if let Some(to) = &self.args.report {
            let stdout = self.to_stdout.then(|| PathBuf::from("-"));
            let targets = files.iter().map(|file| file.target().into());
            let output = targets.chain(stdout).collect();
            // Before any file has its name: all get theirs, or none does.
            let report = json(&self.into_json(output, report))?;
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
        if verbosity.verbose || (!verbosity.quiet && is_watched()) {
            say_written(&written);
        }
        Ok(())
    }

    /// What was not known before the decode.
    fn say_what_was_noticed(&mut self, done: &Done) {
        let known = self.job.planned().notices.len();
        let late = of_library(&done.notices[known..]);
        say_notices(&late, self.verbosity);
        self.notices.extend(late);
    }

    fn into_json(self, output: Vec<PathBuf>, decode: Report) -> ReportJson {
        ReportJson {
            version: env!("CARGO_PKG_VERSION"),
            vae: self.args.vae.vae.clone(),
            latents: LatentsJson {
                path: self.args.latents.clone(),
                shape: channels_first(self.latents),
            },
            image: ImageJson { shape: channels_first(self.job.result()) },
            output,
            previews: self.previews,
            notices: self.notices.iter().map(ToString::to_string).collect(),
            decode,
        }
    }
}

fn say_written(files: &[PathBuf]) {
    match files {
        [first, .., last] if files.len() > MOST_NAMED => say(format_args!(
            "halovae: wrote {} files, `{}` to `{}`",
            files.len(),
            first.display(),
            last.display()
        )),
        files => {
            for file in files {
                say(format_args!("halovae: wrote `{}`", file.display()));
            }
        }
    }
}

fn say_figures(Report { ops, seconds, peak_bytes: peak, .. }: &Report, total: Duration) {
    say_text(&OpTable(ops).to_string());
    // A notice has told of the tuning.
    let Seconds { decode, stitch, write, .. } = seconds;
    let (load, total) = (seconds.load.unwrap_or_default(), total.as_secs_f64());
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
