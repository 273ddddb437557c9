//! What decodes.

use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::group::Links;

use crate::error::Error;

/// The CPU with that many threads.
///
/// # Errors
/// That the system gives no threads.
pub(crate) fn cpu(threads: u32) -> Result<CpuBackend, Error> {
    Ok(CpuBackend::new(threads as usize)?)
}

/// One end for each rank of a process.
pub(crate) type BoxedLinks<B> = Vec<Box<dyn Links<<B as Backend>::Tensor>>>;

/// The backends of a process's ranks, all of one kind.
pub(crate) enum Devices {
    /// The CPU.
    Cpu(Vec<CpuBackend>),
    /// NVIDIA's GPUs.
    #[cfg(feature = "cuda")]
    Cuda(Vec<halovae_cuda::CudaBackend>),
    /// GPUs.
    #[cfg(feature = "wgpu")]
    Wgpu(Vec<halovae_wgpu::WgpuBackend>),
}
