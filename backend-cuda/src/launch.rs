//! How kernels are launched.

use std::ffi::c_void;

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::{
    self, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig,
};
use halovae_engine::backend::BackendError;

use crate::kernels::{Kernel, THREADS};
use crate::store::Store;

/// The struct that a kernel takes, as `kernels/` declares it.
///
/// # Safety
/// `#[repr(C)]`, with the fields of the kernel's own struct in their order.
pub(crate) unsafe trait Params: Copy {}

impl Store {
    /// Runs a kernel in so many blocks of threads.
    pub(crate) fn launch<P: Params>(
        &self,
        kernel: Kernel,
        params: &P,
        blocks: u64,
    ) -> Result<(), BackendError> {
        if blocks == 0 {
            return Ok(());
        }
        let shared = &self.shared;
        shared.enter()?;
        let blocks = u32::try_from(blocks).ok().filter(|&blocks| blocks <= i32::MAX as u32);
        let blocks = blocks.ok_or_else(|| self.too_large())?;
        self.start(params, kernel, blocks).map_err(|error| shared.error(error))
    }

    /// The same, for a kernel that goes over `count` places, one thread for each.
    pub(crate) fn over<P: Params>(
        &self,
        kernel: Kernel,
        params: &P,
        count: u64,
    ) -> Result<(), BackendError> {
        // Kernels count in 32 bits.
        match count.next_multiple_of(THREADS.into()) {
            ..=0xffff_ffff => self.launch(kernel, params, count.div_ceil(THREADS.into())),
            _ => Err(self.too_large()),
        }
    }

    fn too_large(&self) -> BackendError {
        BackendError::Device {
            device: self.shared.entry.name.clone(),
            message: "the picture is too large for one launch; use smaller tiles".into(),
        }
    }

    fn start<P: Params>(&self, params: &P, kernel: Kernel, blocks: u32) -> Result<(), DriverError> {
        let mut arguments = [std::ptr::from_ref(params).cast_mut().cast::<c_void>()];
        let mut overlaps = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = CUlaunchConfig {
            gridDimX: blocks,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: kernel.threads(),
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: kernel.shared_bytes(self.element()),
            hStream: self.stream.raw(),
            attrs: &raw mut overlaps,
            // Blocks may begin when the last ones of the kernel before are still at work, and wait there.
            numAttrs: self.shared.overlaps.into(),
        };
        let function = self.shared.function(kernel);
        // SAFETY: the struct is the kernel's only parameter, which is copied before the call returns, as
        // the attribute is; its pointers are of blocks that are freed behind this in the same stream.
        let done = unsafe {
            sys::cuLaunchKernelEx(&config, function, arguments.as_mut_ptr(), std::ptr::null_mut())
        };
        done.result()
    }
}
