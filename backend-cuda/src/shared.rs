//! What ranks on one device share.

use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUfunction, CUfunction_attribute,
    CUmemAccess_flags, CUmemAccessDesc, CUmemLocation, CUmemLocationType, CUmemPool_attribute,
    CUmemoryPool, CUmodule,
};
use halovae_engine::backend::BackendError;

use crate::devices::{self, DeviceEntry};
use crate::driver;
use crate::kernels::{self, Kernel};
use crate::options::Options;

/// What ranks on one device share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) entry: DeviceEntry,
    pub(crate) options: Options,
    /// Tells this device from others in the process.
    pub(crate) id: u32,
    pub(crate) pool: CUmemoryPool,
    /// Whether products are done in Hopper's way.
    pub(crate) uses_hopper: bool,
    /// By kernel; null where it is not for this architecture.
    functions: Vec<CUfunction>,
    module: Option<CUmodule>,
    context: Context,
}

// SAFETY: handles of the driver, which may be used by any thread; nothing behind them is touched
// without the driver.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// The device's primary context, held.
#[derive(Debug)]
struct Context {
    device: CUdevice,
    context: CUcontext,
}

impl Context {
    fn retain(device: CUdevice) -> Result<Self, DriverError> {
        // SAFETY: a device that the driver gave.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        Ok(Self { device, context })
    }

    /// Makes it the one that this thread's calls are for.
    fn enter(&self) -> Result<(), DriverError> {
        // SAFETY: retained until this is dropped.
        unsafe { result::ctx::set_current(self.context) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, released once. That it fails changes nothing any more.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl Shared {
    pub(crate) fn new(
        entry: DeviceEntry,
        options: Options,
        arch: u32,
        cubin: &[u8],
    ) -> Result<Self, DriverError> {
        static OPENED: AtomicU32 = AtomicU32::new(0);

        let device = devices::handle(entry.index)?;
        let supported = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
        // SAFETY: a device that the driver gave.
        if unsafe { result::device::get_attribute(device, supported) }? == 0 {
            return Err(DriverError(cudarc::driver::sys::CUresult::CUDA_ERROR_NOT_SUPPORTED));
        }
        let context = Context::retain(device)?;
        context.enter()?;
        // SAFETY: a device that the driver gave.
        let pool = unsafe { result::device::get_default_mem_pool(device) }?;
        let mut keep = u64::MAX;
        let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the attribute is a u64. What is freed stays with the pool, so that the next decode
        // need not ask the system again.
        unsafe { result::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()) }?;
        let id = OPENED.fetch_add(1, Ordering::Relaxed);
        let element = options.precision.element();
        let uses_hopper = kernels::has_hopper(element, arch) && !options.without_hopper;
        let (functions, module) = (vec![std::ptr::null_mut(); Kernel::ALL.len()], None);
        let mut shared = Self { entry, options, id, pool, uses_hopper, functions, module, context };
        // SAFETY: NVRTC made the cubin, and a file's hash was compared.
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }?;
        shared.module = Some(module);
        for kernel in Kernel::compiled(element, arch) {
            let name = CString::new(kernel.name()).expect("names have no NUL");
            // SAFETY: a module that was loaded above.
            let function = unsafe { result::module::get_function(module, name) }?;
            shared.functions[kernel as usize] = function;
            let bytes = kernel.shared_bytes(element);
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // Beyond 48 KiB a kernel has to ask.
            if bytes > 48 << 10 {
                // SAFETY: a function of the module.
                unsafe { result::function::set_function_attribute(function, most, bytes as i32) }?;
            }
        }
        Ok(shared)
    }

    /// Makes this device the one that this thread's calls are for.
    pub(crate) fn enter(&self) -> Result<(), BackendError> {
        self.context.enter().map_err(|error| self.error(error))
    }

    /// The handle of a kernel.
    pub(crate) fn function(&self, kernel: Kernel) -> CUfunction {
        self.functions[kernel as usize]
    }

    /// What the driver said, as a backend's error.
    pub(crate) fn error(&self, error: DriverError) -> BackendError {
        BackendError::Device { device: self.entry.name.clone(), message: driver::words(error) }
    }

    /// What the device is known by, on any machine.
    pub(crate) fn uuid(&self) -> Result<[u8; 16], DriverError> {
        let uuid = result::device::get_uuid(self.context.device)?;
        Ok(uuid.bytes.map(|byte| byte as u8))
    }

    /// Lets all GPUs that can reach this one use its pool's memory: NCCL does, between threads of a
    /// process.
    pub(crate) fn open_to_peers(&self) -> Result<(), DriverError> {
        for peer in 0..result::device::get_count()? {
            let device = result::device::get(peer)?;
            let mut reaches = 0;
            if device == self.context.device {
                continue;
            }
            // SAFETY: two devices that the driver gave.
            unsafe { sys::cuDeviceCanAccessPeer(&mut reaches, device, self.context.device) }
                .result()?;
            if reaches == 0 {
                continue;
            }
            let access = CUmemAccessDesc {
                location: CUmemLocation {
                    type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
                    id: peer,
                },
                flags: CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
            };
            // SAFETY: the device's own pool; the description is read before the call returns.
            unsafe { sys::cuMemPoolSetAccess(self.pool, &access, 1) }.result()?;
        }
        Ok(())
    }

    pub(crate) fn reserved_bytes(&self) -> Result<u64, DriverError> {
        self.context.enter()?;
        let mut bytes = 0u64;
        let current = CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
        let place: *mut c_void = (&raw mut bytes).cast();
        // SAFETY: the attribute is a u64.
        unsafe { result::mem_pool::get_attribute(self.pool, current, place) }?;
        Ok(bytes)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        if let Some(module) = self.module {
            // SAFETY: loaded once; all streams that ran its kernels are gone. That it fails changes
            // nothing any more, nor that memory is not given back.
            let _ = unsafe { result::module::unload(module) };
        }
        // SAFETY: the device's own pool.
        let _ = unsafe { result::mem_pool::trim_to(self.pool, 0) };
    }
}
