//! Bytes that come back to the host.

use std::sync::mpsc;
use std::time::Duration;

use halovae_engine::backend::BackendError;
use wgpu::{Buffer, MapMode, PollType};

use crate::shared::Shared;

/// Waits until what was submitted has filled a buffer that can be mapped, and gives its bytes to
/// `take`.
pub(crate) fn read_back(
    shared: &Shared,
    staging: &Buffer,
    take: impl FnOnce(&[u8]),
) -> Result<(), BackendError> {
    let (send, receive) = mpsc::channel();
    staging.map_async(MapMode::Read, .., move |result| {
        // The receiver is gone if waiting failed.
        let _ = send.send(result);
    });
    let mapped = loop {
        let polled = shared.device.poll(PollType::wait_indefinitely());
        // Another rank's thread may be the one that calls back.
        match receive.recv_timeout(Duration::from_millis(50)) {
            Ok(result) => break result,
            Err(_) => {
                shared.check()?;
                polled.map_err(|error| shared.error(error.to_string()))?;
            }
        }
    };
    shared.check()?;
    mapped.map_err(|error| shared.error(error.to_string()))?;
    let view = staging.get_mapped_range(..).map_err(|e| shared.error(e.to_string()))?;
    take(&view);
    Ok(())
}
