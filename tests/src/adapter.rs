//! The adapter that tests of the wgpu backend run on.

use std::sync::OnceLock;

use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode::Decoder;
use halovae_wgpu::{AdapterChoice, Options, WgpuBackend, WgpuDevice};

use crate::decode::program;

/// Opens the adapter that `HALOVAE_TEST_ADAPTER` names, or else the first one, software included.
///
/// # Panics
/// If there is none; the message says what to install.
pub fn open(options: Options) -> WgpuDevice {
    let choice = match std::env::var("HALOVAE_TEST_ADAPTER") {
        Ok(name) => AdapterChoice::Name(name),
        Err(_) => AdapterChoice::Index(0),
    };
    WgpuDevice::open(&choice, options).unwrap_or_else(|error| panic!("{error}"))
}

/// A device for all tests of a process, so that kernels are compiled once.
///
/// # Panics
/// As [`open`].
pub fn device() -> &'static WgpuDevice {
    static DEVICE: OnceLock<WgpuDevice> = OnceLock::new();
    DEVICE.get_or_init(|| open(Options::default()))
}

/// One backend for each rank, all on the same device.
///
/// # Panics
/// As [`open`].
pub fn wgpu_ranks(ranks: u32) -> Vec<WgpuBackend> {
    (0..ranks).map(|_| device().backend()).collect()
}

/// The checkpoint's decoder on so many ranks of one device.
///
/// # Panics
/// If the weights cannot be read, and as [`open`].
pub fn wgpu_decoder(checkpoint: &Checkpoint, ranks: u32) -> Decoder<WgpuBackend> {
    Decoder::new(&program(checkpoint), checkpoint, wgpu_ranks(ranks)).expect("a decoder")
}

/// The name of the adapter that tests run on.
///
/// # Panics
/// As [`open`].
pub fn name() -> String {
    device().adapter().name.clone()
}
