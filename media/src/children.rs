//! The programs that this process has started, so that none outlives it.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those that have not been waited for.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program, in a group of its own with all that it starts itself. It may be a script around the one
/// that is meant.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        // Before it is listed, no other thread may end this process.
        let mut running = running();
        let child = command.spawn()?;
        running.push(child.id());
        Ok(Self { child })
    }

    /// Its pipes, which can be taken.
    pub(crate) fn pipes(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What ends it from another thread.
    pub(crate) fn killer(&self) -> impl Fn() + Send + use<> {
        let id = self.child.id();
        move || {
            // Its number may be another program's once it has been waited for.
            if running().contains(&id) {
                kill(id);
            }
        }
    }

    /// Waits for its end, and ends what it has left behind.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        let id = self.child.id();
        let mut running = running();
        if running.contains(&id) {
            kill(id);
            running.retain(|&other| other != id);
        }
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.killer()();
        // It ends now, if it has not.
        let _ = self.wait();
    }
}

/// Ends all of them; for a process that ends without waiting for its threads.
pub(crate) fn kill_all() {
    running().iter().for_each(|&id| kill(id));
}

/// Ends a program and all that it has started. If they are gone already, so much the better.
#[cfg(target_os = "linux")]
fn kill(id: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};

    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Elsewhere a program ends when what it reads does.
#[cfg(not(target_os = "linux"))]
fn kill(_: u32) {}
