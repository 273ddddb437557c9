//! Processes that talk over MPI.

use std::sync::Arc;

use halovae::engine::group::{Cancel, Limits};
use halovae_mpi::World;

use super::Processes;
use crate::console::set_speaker;
use crate::error::Error;

pub(super) fn join(limits: Limits, cancel: &Cancel) -> Result<Option<Processes>, Error> {
    let world = World::begin()?;
    // Where the launcher did not tell.
    set_speaker(world.rank() == 0);
    let Some(group) = world.group(world.size(), limits, cancel)? else { return Ok(None) };
    let (group, neighbours) = (Arc::new(group), world.neighbours());
    Ok(Some(Processes::new(group, neighbours, limits.stuck, move || world.finish())))
}
