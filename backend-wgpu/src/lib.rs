//! The wgpu backend of halovae: WGSL kernels that run on Vulkan, Metal and DirectX 12.
//!
//! [`adapters`] lists what there is, [`WgpuDevice::open`] opens one, and
//! [`WgpuDevice::backend`] makes a backend for each rank that shall run on it.

mod adapters;
mod backend;
mod device;
mod error;
mod kernels;
mod layout;
mod record;
mod store;
mod template;

pub use adapters::{AdapterChoice, AdapterEntry, adapters};
pub use backend::{Attending, WgpuBackend, WgpuWeights};
pub use device::{Options, Precision, WgpuDevice};
pub use error::OpenError;
pub use store::Value;
