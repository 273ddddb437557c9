//! A program that is built without GPUs.

use std::ops::Range;

use super::device::Device;
use super::set::Devices;
use crate::error::Error;
use crate::options::DeviceOptions;

/// Nothing talks.
///
/// # Safety
/// As of a program that is built with GPUs.
pub unsafe fn quiet_drivers() {}

/// Whether there is a GPU.
pub(crate) fn has_any() -> bool {
    false
}

/// Says that there are none.
///
/// # Errors
/// [`Error::Device`], always.
pub(crate) fn open(_: &DeviceOptions, _: Range<u32>) -> Result<Devices, Error> {
    Err(Error::Device("this halovae is built without GPUs; build it with `--features wgpu`".into()))
}

/// There are none.
pub(super) fn list() -> Vec<Device> {
    Vec::new()
}
