//! Signals that end the program, and those that would end it without a word.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

/// Of Ctrl-C.
const SIGINT: u8 = 2;

/// The signal that ended the decode; 0 as long as there was none.
static ENDED_BY: AtomicU8 = AtomicU8::new(0);

/// What the process returns where it was told to end: 128 and the number of the signal, as shells have
/// it. Where another process of the launch was told, it is as with Ctrl-C.
pub(crate) fn exit_code() -> u8 {
    match ENDED_BY.load(Ordering::SeqCst) {
        0 => 128 + SIGINT,
        signal => 128 + signal,
    }
}

/// Has the first signal that asks for an end call `end`, in a thread of its own; later ones do nothing.
/// These are Ctrl-C, `kill` without a number, and the end of the terminal unless it is ignored, as below
/// `nohup`.
///
/// # Errors
/// What the system says.
pub(crate) fn on_end(end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    system::on_first(move |signal| {
        ENDED_BY.store(signal, Ordering::SeqCst);
        end();
    })
}

pub(crate) use system::ignore_file_size_limit;

#[cfg(unix)]
mod system {
    use std::io;
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    pub(super) fn on_first(act: impl FnOnce(u8) + Send + 'static) -> io::Result<()> {
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
        let listen = move || {
            let first = signals.forever().next();
            if let Some(signal) = first.and_then(|signal| u8::try_from(signal).ok()) {
                act(signal);
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen).map(drop)
    }

    fn is_ignored(signal: i32) -> bool {
        // SAFETY: zeros are a `sigaction`: integers, a set of no signals and no handler.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: nothing is changed; what is now is written to a value of that type.
        let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
        asked == 0 && now.sa_sigaction == libc::SIG_IGN
    }

    /// A file that grows beyond the limit of the process (`ulimit -f`) is an error of the write that
    /// tells what happened, and not the end of the process.
    pub(crate) fn ignore_file_size_limit() {
        // SAFETY: no handler is installed that could run at an odd moment; the signal is only ignored.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    pub(super) fn on_first(act: impl FnOnce(u8) + Send + 'static) -> io::Result<()> {
        let mut act = Some(act);
        let first = move || {
            if let Some(act) = act.take() {
                act(super::SIGINT);
            }
        };
        ctrlc::set_handler(first).map_err(io::Error::other)
    }

    /// Other systems have no such signal.
    pub(crate) fn ignore_file_size_limit() {}
}
