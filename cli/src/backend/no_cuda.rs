//! A program that is built without CUDA.

use std::ops::Range;

use super::devices::Devices;
use crate::args::DeviceArgs;
use crate::error::Error;
use crate::notices::Notice;

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
pub(crate) fn open(_: &DeviceArgs, _: Range<u32>, _: &mut Vec<Notice>) -> Result<Devices, Error> {
    Err(Error::Device("this halovae is built without CUDA; build it with `--features cuda`".into()))
}

/// What `halovae devices` says of NVIDIA's GPUs.
pub(crate) fn describe() -> String {
    String::new()
}
