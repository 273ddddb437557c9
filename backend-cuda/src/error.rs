//! Why no device could be opened.

use std::path::PathBuf;

/// How NVRTC is installed where no CUDA toolkit is, for a driver of that CUDA.
fn install_nvrtc(major: u32) -> String {
    let suffix = if major < 13 { "-cu12" } else { "" };
    format!("`pip install nvidia-cuda-nvrtc{suffix}`")
}

/// Why a GPU could not be found or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No NVIDIA driver.
    #[error("no NVIDIA driver was found (libcuda.so.1); install NVIDIA's driver for this system")]
    NoDriver,
    /// A driver that does not work.
    #[error(
        "NVIDIA's driver does not start: {message}; `nvidia-smi` says more, and a driver and its \
         kernel module must have the same version"
    )]
    Driver {
        /// What it said.
        message: String,
    },
    /// A driver without a device.
    #[error(
        "NVIDIA's driver sees no GPU; `nvidia-smi -L` lists them, and CUDA_VISIBLE_DEVICES hides them"
    )]
    NoDevice,
    /// The GPU that was asked for is not there.
    #[error("there is no GPU `{asked}`; there are: {}", .found.join(", "))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: Vec<String>,
    },
    /// A GPU whose instructions are too few.
    #[error(
        "{device} has compute capability {}.{}, and 8.0 is needed (Ampere or later); use \
         `--backend wgpu`", .has[0], .has[1]
    )]
    TooOld {
        /// The device's name.
        device: String,
        /// Major and minor compute capability.
        has: [u32; 2],
    },
    /// No compiler for kernels.
    #[error(
        "NVRTC was not found (libnvrtc.so.{driver}), which compiles the kernels; {}, or name its \
         folder in HALOVAE_NVIDIA_LIBRARIES", install_nvrtc(*.driver)
    )]
    NoNvrtc {
        /// The driver's CUDA: code of a newer one does not run.
        driver: u32,
    },
    /// Nothing that GPUs talk through.
    #[error(
        "NCCL was not found (libnccl.so.2), through which GPUs talk to each other; `pip install \
         nvidia-nccl-cu13`, or name its folder in HALOVAE_NVIDIA_LIBRARIES"
    )]
    NoNccl,
    /// No engines for convs but our own kernel.
    #[error(
        "cuDNN was not found (libcudnn.so.9), whose engines do convs and attention in f16 and bf16; `pip \
         install nvidia-cudnn-cu13`, or name its folder in HALOVAE_NVIDIA_LIBRARIES"
    )]
    NoCudnn,
    /// cuDNN is there, and what it is made with is not.
    #[error(
        "cuDNN needs cuBLASLt (libcublasLt.so.{cuda}), which was not found; `pip install nvidia-cublas`, \
         or name its folder in HALOVAE_NVIDIA_LIBRARIES"
    )]
    NoCublasLt {
        /// The CUDA of cuDNN.
        cuda: usize,
    },
    /// A library that is not what its name says.
    #[error("`{}` cannot be used: {message}; install it again", .file.display())]
    Library {
        /// The file.
        file: PathBuf,
        /// What was wrong.
        message: String,
    },
    /// A compiler that is older than the GPU.
    #[error(
        "NVRTC {}.{} does not know {device} (sm_{arch}); install a newer one: {}",
        .version[0], .version[1], install_nvrtc(.version[0] + 1)
    )]
    OldNvrtc {
        /// Major and minor version.
        version: [u32; 2],
        /// The device's name.
        device: String,
        /// Its architecture.
        arch: u32,
    },
    /// A kernel that does not compile.
    #[error("the kernels do not compile for sm_{arch}: {message}")]
    Kernels {
        /// The architecture.
        arch: u32,
        /// What the compiler said.
        message: String,
    },
    /// The driver refused.
    #[error("{device} could not be opened: {message}")]
    Refused {
        /// The device's name.
        device: String,
        /// What the driver said.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_install_is_for_the_driver() {
        let told = |driver| OpenError::NoNvrtc { driver }.to_string();
        assert!(told(13).contains("pip install nvidia-cuda-nvrtc`"), "{}", told(13));
        assert!(told(12).contains("libnvrtc.so.12"), "{}", told(12));
        assert!(told(12).contains("pip install nvidia-cuda-nvrtc-cu12`"), "{}", told(12));
    }
}
