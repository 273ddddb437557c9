//! The CUDA backend of halovae: kernels that NVRTC compiles when a device is opened, on NVIDIA's GPUs
//! from compute capability 8.0 on.
//!
//! [`devices`] lists what there is, [`CudaDevice::open`] opens one, and [`CudaDevice::backend`] makes
//! a backend for each rank that shall run on it. Every library of NVIDIA's is loaded at run time, so
//! the crate is built without any, and says what is missing: [`libraries`].

mod arena;
mod backend;
mod cache;
mod cudnn;
mod device;
mod devices;
mod driver;
mod error;
mod kernels;
mod launch;
mod libraries;
mod library_files;
mod nccl;
mod nvrtc;
mod options;
mod params;
mod product;
mod shared;
mod store;
mod stream;
mod tape;
mod tensor_map;
mod timer;
mod value;

pub use backend::{Attending, CudaBackend, CudaWeights};
pub use device::CudaDevice;
pub use devices::{DeviceChoice, DeviceEntry, devices};
pub use error::OpenError;
pub use libraries::{LibraryEntry, libraries};
pub use library_files::search_first;
pub use nccl::{Demand, NcclLinks};
pub use options::{Limits, Options, Precision};
pub use value::Value;
