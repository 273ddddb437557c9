//! cuDNN on a rank's stream, and the devices that plans are made for.

use std::ffi::c_int;
use std::sync::Arc;

use halovae_engine::backend::BackendError;

use super::descriptor::{Descriptor, Kind, attribute};
use super::library::{Cudnn, Raw};
use crate::store::Store;

/// cuDNN on a rank's stream.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(super) cudnn: &'static Cudnn,
    pub(super) raw: Raw,
    pub(super) store: Arc<Store>,
}

// SAFETY: a handle may be used by any thread, one at a time.
unsafe impl Send for Handle {}

impl Handle {
    /// # Errors
    /// [`BackendError::Device`] with what cuDNN says.
    pub(crate) fn new(cudnn: &'static Cudnn, store: Arc<Store>) -> Result<Self, BackendError> {
        store.shared.enter()?;
        let raw = cudnn.create().map_err(|message| failed(&store, &message))?;
        let handle = Self { cudnn, raw, store };
        // SAFETY: the store keeps the stream, which is of the device that this thread is in.
        let set = unsafe { cudnn.set_stream(raw, handle.store.stream.raw()) };
        match set {
            Ok(()) => Ok(handle),
            Err(message) => Err(failed(&handle.store, &message)),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.store.shared.enter().is_ok() {
            // SAFETY: created once, destroyed once.
            unsafe { self.cudnn.destroy(self.raw) };
        }
    }
}

/// What cuDNN said, as a backend's error.
pub(super) fn failed(store: &Store, message: &str) -> BackendError {
    BackendError::Device {
        device: store.shared.entry.name.clone(),
        message: format!("cuDNN: {message}"),
    }
}

/// What plans are made for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// The device of a handle.
    Here(&'a Handle),
    /// A device that cuDNN [described](describe) and that need not be there. What is made so is not run: the
    /// engines for Hopper of cuDNN 9.14 then never end.
    #[cfg(test)]
    There(&'a str),
}

impl Target<'_> {
    /// Tells a descriptor, unless it is told of a device that is elsewhere.
    pub(super) fn set_handle(self, descriptor: &Descriptor, name: c_int) -> Result<(), String> {
        match self {
            // SAFETY: the handle lives longer than what is made with it: that ends with the text of a plan.
            Self::Here(handle) => unsafe { descriptor.set_handle(name, handle.raw) },
            #[cfg(test)]
            Self::There(_) => Ok(()),
        }
    }

    /// Tells a descriptor of a device that is elsewhere.
    #[cfg(test)]
    pub(super) fn set_device(self, descriptor: &Descriptor, name: c_int) -> Result<(), String> {
        match self {
            Self::Here(_) => Ok(()),
            Self::There(device) => {
                descriptor.set_descriptor(name, &properties(descriptor.cudnn(), device)?)
            }
        }
    }
}

/// What cuDNN says of a device.
///
/// # Errors
/// What cuDNN says.
pub(super) fn describe(cudnn: &'static Cudnn, device: u32) -> Result<String, String> {
    let properties = Descriptor::new(cudnn, Kind::DeviceProperties)?;
    properties.set(attribute::DEVICEPROP_DEVICE_ID, &[device as i32])?;
    properties.finalize()?.get_text(attribute::DEVICEPROP_JSON_REPRESENTATION)
}

#[cfg(test)]
pub(super) fn properties(cudnn: &'static Cudnn, device: &str) -> Result<Descriptor, String> {
    let properties = Descriptor::new(cudnn, Kind::DeviceProperties)?;
    properties.set(attribute::DEVICEPROP_JSON_REPRESENTATION, device.as_bytes())?;
    properties.finalize()
}
