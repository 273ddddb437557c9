//! `halovae`: decodes latents of diffusion models into images over several ranks.
//!
//! The command line is words around the library of the same name. How a decode goes from file to file is
//! told by [`commands::decode::run`]: it has the library open the checkpoint and the latents, plan, and
//! decode into a sink of [`halovae_media`].

mod allocator;
mod args;
mod commands;
mod compare;
mod console;
mod drawing;
mod error;
mod launcher;
mod log_axis;
mod notices;
mod ops;
mod plan;
mod processes;
mod progress;
mod report;
mod signals;
mod svg;
mod terminal;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use console::{say, say_error, say_text};
use error::Error;

/// Launchers end all processes when one fails: the process that speaks for all has this long to tell
/// what is wrong with the flags. Another one that still runs then was started alone, and tells it.
const SPEAKER_WAIT: Duration = Duration::from_secs(3);

/// What the process returns after a bug, as for any Rust program that panicked.
const PANICKED: u8 = 101;

fn main() -> ExitCode {
    // SAFETY: the process has begun, and has one thread.
    unsafe { halovae::devices::quiet_drivers() };
    signals::ignore_file_size_limit();
    // Processes that were started together do the same, and one of them tells of it.
    console::set_speaker(launcher::speaks(launcher::Allowed::Any));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    if halovae::memory::is_address_space_limited() || cli.command.limits_memory() {
        allocator::take_no_more();
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line()));
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let message = message.replace('\n', " ");
        say(format_args!("halovae: bug: {message}{}; please report it", place.unwrap_or_default()));
    }));
    let code = match catch_unwind(AssertUnwindSafe(|| run(&cli))) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            say_error(&error);
            error.exit_code()
        }
        Err(_) => PANICKED,
    };
    ExitCode::from(code)
}

/// Tells what is wrong with the arguments in one line, as any other error, and then how they are to
/// be; or prints the help or version that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let only_help = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !console::is_speaker() && error.use_stderr() {
        std::thread::sleep(SPEAKER_WAIT);
        console::set_speaker(true);
    }
    if error.use_stderr() && error.kind() != only_help {
        let text = error.render().to_string();
        let (what, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
        let what: Vec<&str> = what.lines().map(str::trim).collect();
        let what = what.join(" ");
        say(format_args!("halovae: error: {}", what.strip_prefix("error: ").unwrap_or(&what)));
        say_text(usage.trim_end());
    } else {
        // Without a reader there is nothing to report to.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: &Cli) -> Result<(), Error> {
    // Only decodes are done together.
    if !matches!(cli.command, Command::Decode(_)) {
        console::set_speaker(true);
    }
    match &cli.command {
        Command::Decode(args) => commands::decode::run(args, cli.verbosity),
        Command::Plan(args) => commands::plan::run(args, cli.verbosity),
        Command::Inspect(args) => commands::inspect::run(args, cli.verbosity),
        Command::Models(args) => commands::models::run(args),
        Command::Devices(args) => commands::devices::run(args),
        Command::Completions { shell } => commands::generate::completions(*shell),
        Command::Man { command } => commands::generate::man(command.as_deref()),
    }
}
