//! What there is of NVIDIA's libraries, for reports.

use std::path::PathBuf;

use libloading::Library;

use crate::cudnn::Cudnn;
use crate::driver;
use crate::library_files::{find, function, of_one_number};
use crate::nccl::Nccl;
use crate::nvrtc::Nvrtc;

/// One of NVIDIA's libraries, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryEntry {
    /// What it is called: `driver`, `NVRTC`, `cuDNN`, `cuBLASLt`, `NCCL`.
    pub name: &'static str,
    /// Its version, and the file it was found in; or how to get it.
    pub state: Result<(String, PathBuf), String>,
}

/// What there is of NVIDIA's libraries. Loads each of them.
pub fn libraries() -> Vec<LibraryEntry> {
    let driver = driver::load().map_err(|error| error.to_string());
    let driver = driver.map(|driver| (format!("CUDA {}", dotted(driver.version())), driver.file()));
    let nvrtc = match Nvrtc::load() {
        Ok(nvrtc) => Ok((dotted(nvrtc.version()), nvrtc.file().to_owned())),
        Err(error) => Err(error.to_string()),
    };
    let nccl = match Nccl::load() {
        Ok(nccl) => Ok((nccl.version_text(), nccl.file().to_owned())),
        Err(error) => Err(error.to_string()),
    };
    let cudnn = match Cudnn::load() {
        Ok(cudnn) => Ok((cudnn.version_text(), cudnn.file().to_owned())),
        Err(error) => Err(error.to_string()),
    };
    vec![
        LibraryEntry { name: "driver", state: driver },
        LibraryEntry { name: "NVRTC", state: nvrtc },
        LibraryEntry { name: "cuDNN", state: cudnn },
        LibraryEntry { name: "cuBLASLt", state: cublas_lt() },
        LibraryEntry { name: "NCCL", state: nccl },
    ]
}

fn dotted([major, minor]: [u32; 2]) -> String {
    format!("{major}.{minor}")
}

/// The version of cuBLASLt and its file, or how to get it: cuDNN needs it.
fn cublas_lt() -> Result<(String, PathBuf), String> {
    let missing = "cuDNN needs it; `pip install nvidia-cublas` brings it";
    let file = find(&["libcublasLt.so.13", "libcublasLt.so.12"]).ok_or(missing)?;
    // SAFETY: loading runs the initialisers of NVIDIA's own library.
    let library = unsafe { Library::new(&file) }.map_err(|error| error.to_string())?;
    // SAFETY: NVIDIA documents it as `size_t cublasLtGetVersion(void)`.
    let version =
        unsafe { function::<unsafe extern "C" fn() -> usize>(&library, "cublasLtGetVersion")?() };
    Ok((of_one_number(version), file))
}
