//! A program that is built without CUDA.

use std::ops::Range;

use super::device::Device;
use super::set::Devices;
use crate::error::Error;
use crate::notice::Notice;
use crate::options::DeviceOptions;

/// Whether there may be a GPU.
pub(crate) fn may_be() -> bool {
    false
}

/// Whether an error says that another backend is meant.
pub(crate) fn is_absence(_: &Error) -> bool {
    true
}

/// Says that there are none.
///
/// # Errors
/// [`Error::Device`], always.
pub(crate) fn open(
    _: &DeviceOptions,
    _: Range<u32>,
    _: &mut Vec<Notice>,
) -> Result<Devices, Error> {
    Err(Error::Device("this halovae is built without CUDA; build it with `--features cuda`".into()))
}

/// There are none.
pub(super) fn list() -> Vec<Device> {
    Vec::new()
}
