//! What a device objects to.

use wgpu::{Device, ErrorFilter};

/// Runs `make` and gives what the device objects to it.
pub(crate) fn checked<T>(
    device: &Device,
    filter: ErrorFilter,
    make: impl FnOnce() -> T,
) -> Result<T, wgpu::Error> {
    let scope = device.push_error_scope(filter);
    let made = make();
    match pollster::block_on(scope.pop()) {
        Some(error) => Err(error),
        None => Ok(made),
    }
}
