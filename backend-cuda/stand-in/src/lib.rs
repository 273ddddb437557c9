//! Stands in for NVIDIA's driver, NVRTC, cuDNN and NCCL, so that tests run CUDA kernels on a CPU, and ranks
//! talk as GPUs would.
//!
//! `cpp/` has C++ that exports what `halovae-cuda` calls of these libraries. Kernels are compiled by the
//! system's C++ compiler; the threads of a block are fibers, so barriers, warps and asynchronous
//! copies do what they do on a GPU, and between barriers threads run in an order that changes. What a
//! kernel touches outside its memory ends the process, and memory that was not written holds no
//! numbers.
//!
//! What is queued in a stream behind something that waits is done later by another thread, and what ranks
//! exchange is under way for a moment, so that a missing wait between streams shows.
//!
//! It shows wrong arithmetic, indices, layouts and missing barriers. It shows neither speed nor what
//! depends on the memory model or the scheduling of a real GPU, and instructions that are written as
//! PTX do here what we read in NVIDIA's manual.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Files of `cpp/`.
const FILES: [(&str, &str); 21] = [
    ("asynchronous.cpp", include_str!("../cpp/asynchronous.cpp")),
    ("cublaslt.cpp", include_str!("../cpp/cublaslt.cpp")),
    ("cuda.cpp", include_str!("../cpp/cuda.cpp")),
    ("cudnn.cpp", include_str!("../cpp/cudnn.cpp")),
    ("cudnn_descriptor.h", include_str!("../cpp/cudnn_descriptor.h")),
    ("cudnn_problem.h", include_str!("../cpp/cudnn_problem.h")),
    ("driver_for_cudnn.cpp", include_str!("../cpp/driver_for_cudnn.cpp")),
    ("for_libraries.h", include_str!("../cpp/for_libraries.h")),
    ("kernel.h", include_str!("../cpp/kernel.h")),
    ("machine.h", include_str!("../cpp/machine.h")),
    ("memory.cpp", include_str!("../cpp/memory.cpp")),
    ("memory.h", include_str!("../cpp/memory.h")),
    ("nccl.cpp", include_str!("../cpp/nccl.cpp")),
    ("nvrtc.cpp", include_str!("../cpp/nvrtc.cpp")),
    ("stand_in.h", include_str!("../cpp/stand_in.h")),
    ("streams.cpp", include_str!("../cpp/streams.cpp")),
    ("streams.h", include_str!("../cpp/streams.h")),
    ("tensor_map.h", include_str!("../cpp/tensor_map.h")),
    ("threads.cpp", include_str!("../cpp/threads.cpp")),
    ("threads.h", include_str!("../cpp/threads.h")),
    ("build", BUILD),
];

/// The first two are named so that cudarc, which asks for `libcuda.so` first, gets what is loaded
/// already.
const BUILD: &str = "set -e
flags='-std=c++17 -O2 -fPIC -shared -pthread -Wall -Wextra -Werror'
${CXX:-g++} $flags asynchronous.cpp cuda.cpp memory.cpp streams.cpp threads.cpp -Wl,-soname,libcuda.so \
    -o libcuda.so.1 -ldl
${CXX:-g++} $flags nccl.cpp -L. -l:libcuda.so.1 -Wl,-soname,libnccl.so.2 -o libnccl.so.2
${CXX:-g++} $flags cudnn.cpp -L. -l:libcuda.so.1 -Wl,-soname,libcudnn.so.9 -o libcudnn.so.9
${CXX:-g++} $flags cublaslt.cpp -Wl,-soname,libcublasLt.so.13 -o libcublasLt.so.13
${CXX:-g++} $flags nvrtc.cpp -Wl,-soname,libnvrtc.so -o libnvrtc.so.13 -ldl
mkdir for_cudnn
${CXX:-g++} $flags driver_for_cudnn.cpp -Wl,-soname,libcuda.so.1 -o for_cudnn/libcuda.so.1
";

/// The folder of the libraries, built unless they were before. `HALOVAE_NVIDIA_LIBRARIES` takes
/// it.
///
/// # Panics
/// If they cannot be built; the message has what the compiler said.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build)
}

/// As much of a driver as the real cuDNN needs to compile plans where there is none.
pub fn driver_for_cudnn() -> PathBuf {
    folder().join("for_cudnn/libcuda.so.1")
}

fn build() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    let target = target().expect("tests run from Cargo's target folder");
    let built = target.join(format!("cuda-stand-in-{:016x}", hasher.finish()));
    if built.exists() {
        return built;
    }
    // Another process may build it at the same time: the first that is ready wins.
    let folder = target.join(format!("cuda-stand-in-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("Cargo's target folder takes files");
    for (name, text) in FILES {
        std::fs::write(folder.join(name), text).expect("Cargo's target folder takes files");
    }
    let output = Command::new("sh").arg("build").current_dir(&folder).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run sh: {error}"));
    assert!(
        output.status.success(),
        "the stand-in for CUDA cannot be built; it needs g++ (`apt-get install g++`):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if std::fs::rename(&folder, &built).is_err() {
        std::fs::remove_dir_all(&folder).expect("a folder of this process's own");
    }
    built
}

/// Cargo's target folder, in which tests run; `None` where a test was taken to another machine.
pub fn target() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a running test has a file");
    // Cargo tags only a folder that it has made itself, and notes its compiler in any.
    let is_target = |folder: &&Path| {
        [".rustc_info.json", "CACHEDIR.TAG"].iter().any(|n| folder.join(n).exists())
    };
    test.ancestors().find(is_target).map(Path::to_owned)
}

/// Whether tests are to run on a real GPU: `HALOVAE_TEST_CUDA` is `device`.
pub fn is_real() -> bool {
    std::env::var("HALOVAE_TEST_CUDA").as_deref() == Ok("device")
}

/// Where compiled kernels are kept from one test to the next.
pub fn cache() -> PathBuf {
    match is_real() {
        // There may be neither Cargo's folder nor a compiler where tests were brought.
        true => std::env::temp_dir().join("halovae-cuda-tests"),
        false => folder().join("cache"),
    }
}
