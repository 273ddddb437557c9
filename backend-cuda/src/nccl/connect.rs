//! How ranks are connected: an id goes from rank 0 to all others, and whatever a rank cannot do is told
//! to all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use halovae_engine::group::{Group, LINKS, LinkError};

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
    let mut id = [0.0; 128];
    let opened = shared.open_to_peers().map_err(driver::words);
    let ready = opened.and_then(|()| match group.rank() {
        0 => nccl.unique_id().map(|made| id = made.0.map(f32::from)),
        _ => Ok(()),
    });
    if let Some(why) = agree(group, ready)? {
        return Ok(Err(why));
    }
    group.broadcast(0, LINKS, &mut id)?;
    let id = UniqueId(id.map(|byte| byte as u8));
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
    const LEN: usize = 200;
    // Texts as bytes, ended by zeros.
    let mut message = own.err().unwrap_or_default().into_bytes();
    message.resize(LEN, 0);
    let message = message.into_iter().map(f32::from).collect();
    let all = group.all_gather(LINKS, message, &vec![LEN; group.size() as usize])?;
    let reason = |message: &Vec<f32>| {
        let bytes: Vec<u8> =
            message.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    };
    let first = all.iter().map(reason).enumerate().find_map(|(rank, why)| Some((rank, why?)));
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
