//! A program that is built without GPUs.

use std::ops::Range;

use super::devices::Devices;
use crate::args::DeviceArgs;
use crate::error::Error;

/// Nothing talks.
pub(crate) fn quiet_drivers() {}

/// Whether there is a GPU.
pub(crate) fn has_any() -> bool {
    false
}

/// Says that there are none.
///
/// # Errors
/// [`Error::Device`], always.
pub(crate) fn open(_: &DeviceArgs, _: Range<u32>) -> Result<Devices, Error> {
    Err(Error::Device("this halovae is built without GPUs; build it with `--features wgpu`".into()))
}

/// What `halovae devices` says of GPUs.
pub(crate) fn describe() -> String {
    String::new()
}
