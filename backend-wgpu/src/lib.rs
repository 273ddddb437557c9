//! The wgpu backend of halovae: WGSL kernels that run on Vulkan, Metal and DirectX 12.
//!
//! [`adapters`] lists what there is, [`WgpuDevice::open`] opens one, and
//! [`WgpuDevice::backend`] makes a backend for each rank that shall run on it.

mod adapters;
mod backend;
mod cache;
mod checked;
mod device;
mod error;
mod kernels;
mod layout;
mod options;
mod peak;
mod readback;
mod record;
mod search;
mod shared;
mod store;
mod template;
mod timer;
mod transform;
mod tuning;

pub use adapters::{AdapterChoice, AdapterEntry, adapters};
pub use backend::{Attending, WgpuBackend, WgpuWeights};
pub use device::WgpuDevice;
pub use error::OpenError;
pub use options::{Options, Precision};
pub use store::Value;
