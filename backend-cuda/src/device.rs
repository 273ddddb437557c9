//! An open device, shared by the ranks that run on it.

use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUfunction, CUfunction_attribute,
    CUmemAccess_flags, CUmemAccessDesc, CUmemLocation, CUmemLocationType, CUmemPool_attribute,
    CUmemoryPool, CUmodule,
};
use halovae_engine::backend::BackendError;

use crate::backend::CudaBackend;
use crate::cudnn;
use crate::devices::{self, DeviceChoice, DeviceEntry, devices};
use crate::driver;
use crate::error::OpenError;
use crate::kernels::{self, Element, Kernel};
use crate::nvrtc::Nvrtc;

/// How numbers are stored on the device. Sums and statistics are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Values and weights in f32, multiplied as such.
    #[default]
    F32,
    /// Values and weights in f16, multiplied by tensor cores.
    F16,
    /// Values and weights in bf16, multiplied by tensor cores.
    Bf16,
}

impl Precision {
    pub(crate) fn element(self) -> Element {
        match self {
            Precision::F32 => Element::F32,
            Precision::F16 => Element::F16,
            Precision::Bf16 => Element::Bf16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        })
    }
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How numbers are stored.
    pub precision: Precision,
    /// Where to keep compiled kernels, and which of cuDNN's engines were chosen; without it kernels are
    /// compiled and engines chosen by each process, which takes some seconds, and processes may choose
    /// differently. See [`cache_folder`](crate::cache_folder).
    pub cache_folder: Option<PathBuf>,
    /// The most bytes of values and workspace that a rank may hold; beyond, allocation fails.
    pub max_memory_bytes: Option<u64>,
    /// Each decode queues its kernels one by one, as it does while ops are measured.
    pub without_graphs: bool,
    /// Our own kernel does all products, and engines of cuDNN's none, even where they are faster.
    pub without_cudnn: bool,
    /// Our own kernel multiplies on Hopper as it does on GPUs before it: to compare.
    pub without_wide: bool,
    /// Limits below those of a GPU, so that tests have many bands and blocks in a small picture.
    pub limits: Limits,
}

/// How much of a value is worked on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a conv's staged input: enough to fill a GPU, few enough to stay in its cache.
    pub band_bytes: u64,
    /// Queries and keys of attention whose scores are held at once.
    pub attention: [usize; 2],
    /// Multiplications from which on a product gets an engine of its own, which takes some tenths of a
    /// second to compile the first time.
    pub engines_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { band_bytes: 48 << 20, attention: [8192, 2048], engines_from: 1 << 30 }
    }
}

/// A device that is open. Clones are the same device.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    shared: Arc<Shared>,
}

/// What ranks on one device share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) entry: DeviceEntry,
    pub(crate) options: Options,
    /// Tells this device from others in the process.
    pub(crate) id: u32,
    pub(crate) pool: CUmemoryPool,
    /// What cuDNN may be asked for; nothing where it is left out.
    pub(crate) engines: Result<Option<Arc<cudnn::Choices>>, OpenError>,
    /// Whether products are done in Hopper's way.
    pub(crate) is_wide: bool,
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

impl CudaDevice {
    /// Opens a GPU: compiles the kernels for it, or finds them in the cache.
    ///
    /// # Errors
    /// [`OpenError`]: a library is missing, there is no such GPU, it cannot do enough, or its driver
    /// refuses.
    pub fn open(choice: &DeviceChoice, options: Options) -> Result<Self, OpenError> {
        let entry = choice.among(&devices()?)?.clone();
        let [major, minor] = entry.compute_capability;
        if major < 8 {
            return Err(OpenError::TooOld { device: entry.name, has: [major, minor] });
        }
        let nvrtc = Nvrtc::load()?;
        let arch = major * 10 + minor;
        // Code runs on later minor versions of the same major one.
        let runs = |known: &u32| known / 10 == major && *known <= arch;
        let arch = nvrtc.archs().into_iter().filter(runs).max().ok_or_else(|| {
            let (version, device) = (nvrtc.version(), entry.name.clone());
            OpenError::OldNvrtc { version, device, arch }
        })?;
        let folder = options.cache_folder.as_deref();
        let cubin = kernels::cubin(nvrtc, options.precision.element(), arch, folder)
            .map_err(|message| OpenError::Kernels { arch, message })?;
        let name = entry.name.clone();
        let shared = Shared::new(entry, options, arch, &cubin)
            .map_err(|error| OpenError::Refused { device: name, message: driver::words(error) })?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A backend for one rank. Ranks on the same device share its weights, and each has a stream of
    /// its own.
    ///
    /// # Errors
    /// [`BackendError::Device`] when the driver makes no stream.
    pub fn backend(&self) -> Result<CudaBackend, BackendError> {
        CudaBackend::new(self.shared.clone())
    }

    /// The GPU that was opened.
    pub fn entry(&self) -> &DeviceEntry {
        &self.shared.entry
    }

    /// The version of cuDNN whose engines may do products here; none where it is left out, as always
    /// in f32.
    ///
    /// # Errors
    /// Why it cannot be used; our own kernel then does everything.
    pub fn cudnn(&self) -> Result<Option<String>, OpenError> {
        let version = |choices: &Arc<cudnn::Choices>| choices.cudnn().version_text();
        let engines = self.shared.engines.as_ref().map_err(Clone::clone);
        engines.map(|choices| choices.as_ref().map(version))
    }

    /// Bytes that the driver has set aside on the device for values of its ranks, used or not.
    ///
    /// # Errors
    /// [`BackendError::Device`] when the driver does not say.
    pub fn reserved_bytes(&self) -> Result<u64, BackendError> {
        self.shared.reserved_bytes().map_err(|error| self.shared.error(error))
    }
}

impl Shared {
    fn new(
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
        let engines = cudnn_choices(&entry, &options);
        let element = options.precision.element();
        let is_wide = kernels::has_wide(element, arch) && !options.without_wide;
        let (functions, module) = (vec![std::ptr::null_mut(); Kernel::ALL.len()], None);
        let mut shared =
            Self { entry, options, id, pool, engines, is_wide, functions, module, context };
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

    fn reserved_bytes(&self) -> Result<u64, DriverError> {
        self.context.enter()?;
        let mut bytes = 0u64;
        let current = CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
        let place: *mut c_void = (&raw mut bytes).cast();
        // SAFETY: the attribute is a u64.
        unsafe { result::mem_pool::get_attribute(self.pool, current, place) }?;
        Ok(bytes)
    }
}

/// cuDNN for a GPU in whose context this thread is; without it our own kernel does everything.
fn cudnn_choices(
    entry: &DeviceEntry,
    options: &Options,
) -> Result<Option<Arc<cudnn::Choices>>, OpenError> {
    if options.without_cudnn || options.precision == Precision::F32 {
        return Ok(None);
    }
    let choices = cudnn::Choices::new(entry.index, options.cache_folder.as_deref());
    choices.map(|choices| Some(Arc::new(choices)))
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
