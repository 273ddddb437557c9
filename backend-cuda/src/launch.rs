//! How kernels are launched.

use std::ffi::c_void;

use cudarc::driver::result::{self, DriverError};
use halovae_engine::backend::BackendError;

use crate::kernels::{Kernel, THREADS};
use crate::params::Params;
use crate::store::Store;

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
        let function = self.shared.function(kernel);
        // SAFETY: the struct is the kernel's only parameter, which is copied before the call returns;
        // its pointers are of blocks that are freed behind this in the same stream.
        unsafe {
            result::launch_kernel(
                function,
                (blocks, 1, 1),
                (kernel.threads(), 1, 1),
                kernel.shared_bytes(self.element()),
                self.stream.raw(),
                &mut arguments,
            )
        }
    }
}
