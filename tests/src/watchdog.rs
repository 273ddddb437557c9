//! Fails a test that hangs, instead of hanging with it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Runs `work` in a thread of its own and gives its result.
///
/// # Panics
/// If it takes longer than `limit`, or panics itself.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = channel();
    let worker = std::thread::spawn(move || {
        // The receiver is gone only after the time limit, when the result is not wanted.
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: not done after {limit:?}"),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the worker sends before it ends"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_result() {
        assert_eq!(within(Duration::from_secs(60), "sum", || 1 + 1), 2);
    }

    #[test]
    #[should_panic(expected = "sleep: not done after 10ms")]
    fn ends_what_hangs() {
        within(Duration::from_millis(10), "sleep", || std::thread::sleep(Duration::from_secs(60)));
    }

    #[test]
    #[should_panic(expected = "own panic")]
    fn passes_panics_on() {
        within(Duration::from_secs(60), "panic", || panic!("own panic"));
    }
}
