//! Processes that talk over TCP.

use std::sync::Arc;

use halovae::engine::group::{Cancel, Limits};
use halovae_tcp::{Meeting, World};

use super::Processes;
use crate::error::Error;

pub(super) fn join(
    meeting: &Meeting,
    limits: Limits,
    cancel: &Cancel,
) -> Result<Option<Processes>, Error> {
    let world = World::join(meeting)?;
    let Some(group) = world.group(world.size(), limits, cancel)? else { return Ok(None) };
    let (group, neighbours) = (Arc::new(group), world.neighbours());
    Ok(Some(Processes::new(group, neighbours, limits.stuck, move || world.finish())))
}
