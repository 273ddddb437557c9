//! The device that tests run on.

use std::sync::Once;

use halovae_cuda::{CudaDevice, DeviceChoice, Options, search_first};

/// Opens the first GPU if `HALOVAE_TEST_CUDA` is `device`, or else the stand-in.
pub(crate) fn device(options: Options) -> CudaDevice {
    device_at(&DeviceChoice::Auto, options)
}

/// Opens one of several GPUs.
pub(crate) fn device_at(choice: &DeviceChoice, options: Options) -> CudaDevice {
    static STAND_IN: Once = Once::new();
    if !halovae_cuda_stand_in::is_real() {
        STAND_IN.call_once(|| search_first(halovae_cuda_stand_in::folder()));
    }
    let cache_folder = Some(halovae_cuda_stand_in::cache());
    let device = CudaDevice::open(choice, Options { cache_folder, ..options });
    device.unwrap_or_else(|error| panic!("{error}"))
}
