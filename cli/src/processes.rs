//! The processes that decode together, if this one was started as one of several.

#[cfg(feature = "mpi")]
mod mpi;
mod reader;
mod tcp;

use std::sync::Arc;
use std::time::Duration;

use halovae::engine::group::{Cancel, Cause, Failure, Limits, Neighbours, ProcessGroup};
use halovae::plan::{share, threads};
use halovae::report::Share;
use halovae_media::Temporary;

use crate::console::{say_error, set_speaker};
use crate::error::{Chain, Error};
use crate::launcher;

/// How long a process may take to end by itself when its group has; an op cannot be interrupted,
/// and Open MPI kills those that take a second.
const END_GRACE: Duration = Duration::from_millis(500);

/// How long a process that was told to end waits for what tells why: launchers end all processes
/// when one fails.
const REASON_WAIT: Duration = Duration::from_millis(200);

/// How long it may take rank 1 to notice as well that rank 0 is gone: it looks once a second.
const SPEAKER_WAIT: Duration = Duration::from_millis(1500);

/// The processes that decode together, one rank each.
pub(crate) struct Processes {
    group: Arc<dyn ProcessGroup>,
    neighbours: Neighbours,
    /// Ends what they talk over, when all have done their part.
    finish: Box<dyn FnOnce()>,
}

impl Processes {
    /// Comes together with the processes that an allowed launcher started with this one; `None` if it
    /// was started alone. Those of an MPI launcher talk over MPI if this program is built with it, all others
    /// over TCP. Once the group has ended, so does this process, whatever it is doing.
    ///
    /// # Errors
    /// That they do not come together.
    pub(crate) fn join(
        allowed: launcher::Allowed,
        timeout: u64,
        cancel: &Cancel,
    ) -> Result<Option<Self>, Error> {
        if let Some(why) = launcher::unusable(allowed) {
            return Err(Error::Usage(why));
        }
        let Some(launch) = launcher::launch(allowed) else { return Ok(None) };
        let limits = Limits::new(Duration::from_secs(timeout));
        #[cfg(feature = "mpi")]
        if launch.launcher == launcher::Launcher::Mpi {
            return mpi::join(limits, cancel);
        }
        match launch.size {
            None | Some(1) => Ok(None),
            Some(size) => tcp::join(&launch.meeting(size)?, limits, cancel),
        }
    }

    /// `stuck` is how long an op may take.
    fn new<G: ProcessGroup + 'static>(
        group: Arc<G>,
        neighbours: Neighbours,
        stuck: Duration,
        finish: impl FnOnce() + 'static,
    ) -> Self {
        end_with(&group, stuck);
        Self { group, neighbours, finish: Box::new(finish) }
    }

    /// The ranks.
    pub(crate) fn group(&self) -> &dyn ProcessGroup {
        &*self.group
    }

    /// This process's part of the threads that there are, or that were asked for.
    pub(crate) fn threads(&self, asked: Option<u32>) -> u32 {
        let Neighbours { index, count } = self.neighbours;
        share(threads(asked), count, index)
    }

    /// How many of the processes are on these cores.
    pub(crate) fn neighbours(&self) -> u32 {
        self.neighbours.count
    }

    /// Which of the processes on these cores this is: they take the machine's devices in turns.
    pub(crate) fn seat(&self) -> u32 {
        self.neighbours.index
    }

    /// Does this process's part. If that fails, here or elsewhere, all processes end.
    ///
    /// # Errors
    /// What `work` says.
    pub(crate) fn run(self, work: impl FnOnce(&Self) -> Result<(), Error>) -> Result<(), Error> {
        let result = match work(&self) {
            // Another failure may have been the first.
            Err(Error::BrokenPipe) => {
                reader::tell(self.group());
                Err(self.group.watch().check().map_or_else(Error::from, |()| Error::BrokenPipe))
            }
            result => result,
        };
        match &result {
            // A reader that has enough is no failure, and no launcher shall take it for one.
            Ok(()) | Err(Error::BrokenPipe) => {
                let Self { group, finish, .. } = self;
                drop(group);
                finish();
            }
            Err(Error::Cancelled) => self.end(None),
            Err(error) => self.end(Some(Cause::Start(Chain(error).to_string()))),
        }
        result
    }

    /// Tells the others that this process ends, unless they have ended already.
    fn end(&self, cause: Option<Cause>) {
        let watch = self.group.watch();
        match cause {
            None => watch.cancel(),
            Some(cause) => {
                let failure = Failure { rank: self.group.rank(), piece: None, op: None, cause };
                watch.fail(failure);
            }
        }
        speak_for_rank_0(&*self.group);
        watch.settle();
    }

    /// Waits until every process has done its part. Rank 0 gets all their shares, by rank; the
    /// others get nothing.
    ///
    /// # Errors
    /// That one of them failed instead.
    pub(crate) fn close(&self, share: &Share) -> Result<Vec<Share>, Error> {
        let unreadable = |error: serde_json::Error| Error::System(format!("a report: {error}"));
        let share = serde_json::to_string(share).map_err(unreadable)?;
        let shares = self.group.watch().close(share)?;
        shares.iter().map(|share| serde_json::from_str(share).map_err(unreadable)).collect()
    }

    /// Ends all processes because this one was told to, unless one of them has failed: then that
    /// is what there is to tell.
    pub(crate) fn cancel_later(&self) -> impl Fn() + Send + 'static {
        // The handler of signals lives as long as the process, and must not keep the group.
        let group = Arc::downgrade(&self.group);
        move || {
            std::thread::sleep(REASON_WAIT);
            if let Some(group) = group.upgrade() {
                group.watch().cancel();
            }
        }
    }
}

fn end_with<G: ProcessGroup + 'static>(group: &Arc<G>, stuck: Duration) {
    let weak = Arc::downgrade(group);
    group.watch().on_end(move |verdict| {
        let (weak, error) = (weak.clone(), Error::from(verdict.clone()));
        // Where nothing has failed, a process ends as it does alone: with the op that it runs.
        let grace = if matches!(error, Error::BrokenPipe) { stuck } else { END_GRACE };
        std::thread::spawn(move || {
            std::thread::sleep(grace);
            if let Some(group) = weak.upgrade() {
                speak_for_rank_0(&*group);
                if group.rank() > 0 {
                    group.watch().settle();
                }
            }
            say_error(&error);
            Temporary::delete_all_and_exit(error.exit_code());
        });
    });
}

/// If rank 0 cannot report any more, rank 1 does. The others wait until it has: the launcher ends
/// all processes when one ends.
fn speak_for_rank_0(group: &dyn ProcessGroup) {
    if group.watch().is_orphaned() {
        set_speaker(group.rank() == 1);
        if group.rank() != 1 {
            std::thread::sleep(SPEAKER_WAIT);
        }
    }
}
