//! The GPU that tests of the CUDA backend run on, or what stands in for one.

use std::path::Path;
use std::sync::{Once, OnceLock};

use halovae_cuda::{CudaBackend, CudaDevice, DeviceChoice, Options, Precision, search_first};
pub use halovae_cuda_stand_in::is_real;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode::Decoder;

use crate::decode::program;

/// The folder of the libraries that stand in for NVIDIA's.
///
/// # Panics
/// If they cannot be built.
pub fn stand_in() -> &'static Path {
    halovae_cuda_stand_in::folder()
}

/// Opens the first GPU, or the stand-in.
///
/// # Panics
/// If there is none; the message says what to install.
pub fn open(options: Options) -> CudaDevice {
    open_choice(&DeviceChoice::Auto, options)
}

/// Opens one of several GPUs, or of those that the stand-in has.
///
/// # Panics
/// As [`open`].
pub fn open_at(index: u32, options: Options) -> CudaDevice {
    open_choice(&DeviceChoice::Index(index), options)
}

/// Whether there are so many GPUs; the stand-in has four.
pub fn are_there(count: u32) -> bool {
    !is_real() || halovae_cuda::devices().is_ok_and(|found| found.len() >= count as usize)
}

/// The least share of a small decode's time that its ops take. A real GPU waits for the host most of the
/// time, and so does the work on a busy machine; a wrong unit of time gives less by far.
pub const LEAST_SHARE_OF_OPS: f64 = 0.01;

fn open_choice(choice: &DeviceChoice, options: Options) -> CudaDevice {
    static STAND_IN: Once = Once::new();
    if !is_real() {
        STAND_IN.call_once(|| search_first(stand_in()));
    }
    let cache_folder = Some(halovae_cuda_stand_in::cache());
    let device = CudaDevice::open(choice, Options { cache_folder, ..options });
    device.unwrap_or_else(|error| panic!("{error}"))
}

/// A device of each precision for all tests of a process.
///
/// # Panics
/// As [`open`].
pub fn device(precision: Precision) -> &'static CudaDevice {
    static DEVICES: [OnceLock<CudaDevice>; 3] = [const { OnceLock::new() }; 3];
    let at = [Precision::F32, Precision::F16, Precision::Bf16].iter().position(|p| *p == precision);
    let at = at.expect("one of the three");
    DEVICES[at].get_or_init(|| open(Options { precision, ..Options::default() }))
}

/// One backend for each rank, all on the same device.
///
/// # Panics
/// As [`open`].
pub fn cuda_ranks(precision: Precision, ranks: u32) -> Vec<CudaBackend> {
    (0..ranks).map(|_| device(precision).backend().expect("a stream")).collect()
}

/// The checkpoint's decoder on so many ranks of one device.
///
/// # Panics
/// If the weights cannot be read, and as [`open`].
pub fn cuda_decoder(
    checkpoint: &Checkpoint,
    precision: Precision,
    ranks: u32,
) -> Decoder<CudaBackend> {
    let backends = cuda_ranks(precision, ranks);
    Decoder::new(&program(checkpoint), checkpoint, backends).expect("a decoder")
}
