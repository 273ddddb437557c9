//! Processes that talk over MPI.

use std::sync::Arc;
use std::time::Duration;

use halovae_engine::group::{Cancel, Limits, ProcessGroup};
use halovae_mpi::{Neighbours, World};

use super::{Processes, speak_for_rank_0};
use crate::console::{say_error, set_speaker};
use crate::error::Error;
use crate::launcher;
use crate::output::Temporary;

/// How long a process may take to end by itself when its group has; an op cannot be interrupted,
/// and Open MPI kills those that take a second.
const END_GRACE: Duration = Duration::from_millis(500);

impl Processes {
    /// Comes together with the processes that were started with this one; `None` if it was started
    /// alone. Once the group has ended, so does this process, whatever it is doing.
    ///
    /// # Errors
    /// That they do not come together.
    pub(crate) fn join(timeout: u64, cancel: &Cancel) -> Result<Option<Self>, Error> {
        if launcher::launch().is_none() {
            return Ok(None);
        }
        let world = World::begin()?;
        // Where the launcher did not tell.
        set_speaker(world.rank() == 0);
        let limits = Limits::new(Duration::from_secs(timeout));
        let Some(group) = world.group(world.size(), limits, cancel)? else { return Ok(None) };
        let Neighbours { index, count } = world.neighbours();
        let group = Arc::new(group);
        end_with(&group);
        let finish = Box::new(move || world.finish());
        Ok(Some(Self { group, neighbours: [index, count], finish }))
    }
}

fn end_with<G: ProcessGroup + 'static>(group: &Arc<G>) {
    let weak = Arc::downgrade(group);
    group.watch().on_end(move |verdict| {
        let (weak, verdict) = (weak.clone(), verdict.clone());
        std::thread::spawn(move || {
            std::thread::sleep(END_GRACE);
            if let Some(group) = weak.upgrade() {
                speak_for_rank_0(&*group);
            }
            let error = Error::from(verdict);
            say_error(&error);
            Temporary::delete_all_and_exit(error.exit_code());
        });
    });
}
