//! Signals that would end the program without a word.

/// A file that grows beyond the limit of the process (`ulimit -f`) is an error of the write that
/// tells what happened, and not the end of the process.
#[cfg(unix)]
pub(crate) fn ignore_file_size_limit() {
    // SAFETY: no handler is installed that could run at an odd moment; the signal is only ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Other systems have no such signal.
#[cfg(not(unix))]
pub(crate) fn ignore_file_size_limit() {}
