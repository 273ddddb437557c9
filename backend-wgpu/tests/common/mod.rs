//! The adapter that tests run on.

use halovae_wgpu::{AdapterChoice, Options, WgpuBackend, WgpuDevice, adapters};

/// Opens the adapter that `HALOVAE_TEST_ADAPTER` names, or else the first one of any kind.
pub(crate) fn device(options: Options) -> WgpuDevice {
    let choice = match std::env::var("HALOVAE_TEST_ADAPTER") {
        Ok(name) => AdapterChoice::Name(name),
        Err(_) => AdapterChoice::Index(0),
    };
    // The error says what to install.
    adapters().unwrap_or_else(|error| panic!("{error}"));
    WgpuDevice::open(&choice, options).unwrap_or_else(|error| panic!("{error}"))
}

/// A backend for one rank on it.
pub(crate) fn backend(options: Options) -> WgpuBackend {
    device(options).backend()
}
