//! How ranks are connected: an id goes from rank 0 to all others, and whatever a rank cannot do is told
//! to all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use halovae_engine::group::{Group, LINKS, LinkError, Objects};

use super::communicator::Communicator;
use super::library::{Nccl, UniqueId};
use super::pause::Pause;
use crate::driver;
use crate::shared::Shared;

/// How long it may take NCCL to connect ranks that have all begun to.
const CONNECT_LIMIT: Duration = Duration::from_secs(120);

/// Connects all ranks of a group. The reason if NCCL cannot is the same to every rank.
pub(super) fn connect(
    shared: &Arc<Shared>,
    group: &dyn Group,
    nccl: &'static Nccl,
) -> Result<Result<Communicator, String>, LinkError> {
    shared.enter()?;
    let mut id = None;
    let opened = shared.open_to_peers().map_err(driver::words);
    let ready = opened.and_then(|()| match group.rank() {
        0 => nccl.unique_id().map(|made| id = Some(made)),
        _ => Ok(()),
    });
    if let Some(why) = agree(group, ready)? {
        return Ok(Err(why));
    }
    let id: UniqueId = group.broadcast_object(0, LINKS, id)?;
    let (communicator, begun) = match Communicator::begin(nccl, id, group.rank(), group.size()) {
        Ok(communicator) => (Some(communicator), Ok(())),
        Err(why) => (None, Err(why)),
    };
    if let Some(why) = agree(group, begun)? {
        return Ok(Err(why));
    }
    let communicator = communicator.expect("no rank has a reason");
    let connected = wait_for_others(group, &communicator)?;
    Ok(agree(group, connected)?.map_or(Ok(communicator), Err))
}

/// Tells all ranks how something went here; gives the reason of the first where it did not go well.
fn agree(group: &dyn Group, own: Result<(), String>) -> Result<Option<String>, LinkError> {
    let all = group.all_gather_object(LINKS, own)?;
    let first = all.into_iter().enumerate().find_map(|(rank, went)| Some((rank, went.err()?)));
    Ok(first.map(|(rank, why)| format!("rank {rank}: {why}")))
}

/// Waits until NCCL has connected the ranks, or says why it cannot.
fn wait_for_others(
    group: &dyn Group,
    communicator: &Communicator,
) -> Result<Result<(), String>, LinkError> {
    let (start, pause, _waiting) = (Instant::now(), Pause::new(), group.waiting());
    loop {
        match communicator.is_ready() {
            Ok(true) => return Ok(Ok(())),
            Ok(false) if start.elapsed() > CONNECT_LIMIT => {
                return Ok(Err(format!("not connected after {CONNECT_LIMIT:?}")));
            }
            Ok(false) => {}
            Err(why) => return Ok(Err(why)),
        }
        group.check_while_waiting()?;
        pause.rest();
    }
}
