//! The library, loaded here: cudarc's binding panics where it is missing, and searches other folders.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::driver::sys::CUstream;
use libloading::Library;

use crate::error::OpenError;
use crate::library_files::{find, function, load_for_good, of_one_number};

/// `cudnnHandle_t` and `cudnnBackendDescriptor_t`.
pub(super) type Raw = *mut c_void;

type Code = c_int;

/// The first version that makes plans from a description of a device.
const OLDEST: usize = 90_800;

/// The functions that are used, as `cudnn_graph.h` declares them; those with a [`Code`] give 0 for
/// success.
#[derive(Clone, Copy, Debug)]
struct Functions {
    error_string: unsafe extern "C" fn(Code) -> *const c_char,
    last_error: unsafe extern "C" fn(*mut c_char, usize),
    create: unsafe extern "C" fn(*mut Raw) -> Code,
    destroy: unsafe extern "C" fn(Raw) -> Code,
    set_stream: unsafe extern "C" fn(Raw, CUstream) -> Code,
    create_descriptor: unsafe extern "C" fn(c_int, *mut Raw) -> Code,
    destroy_descriptor: unsafe extern "C" fn(Raw) -> Code,
    set_attribute: unsafe extern "C" fn(Raw, c_int, c_int, i64, *const c_void) -> Code,
    get_attribute: unsafe extern "C" fn(Raw, c_int, c_int, i64, *mut i64, *mut c_void) -> Code,
    finalize: unsafe extern "C" fn(Raw) -> Code,
    execute: unsafe extern "C" fn(Raw, Raw, Raw) -> Code,
}

impl Functions {
    fn of(library: &Library) -> Result<Self, String> {
        // SAFETY: the types are those of `cudnn_graph.h`.
        unsafe {
            Ok(Self {
                error_string: function(library, "cudnnGetErrorString")?,
                last_error: function(library, "cudnnGetLastErrorString")?,
                create: function(library, "cudnnCreate")?,
                destroy: function(library, "cudnnDestroy")?,
                set_stream: function(library, "cudnnSetStream")?,
                create_descriptor: function(library, "cudnnBackendCreateDescriptor")?,
                destroy_descriptor: function(library, "cudnnBackendDestroyDescriptor")?,
                set_attribute: function(library, "cudnnBackendSetAttribute")?,
                get_attribute: function(library, "cudnnBackendGetAttribute")?,
                finalize: function(library, "cudnnBackendFinalize")?,
                execute: function(library, "cudnnBackendExecute")?,
            })
        }
    }
}

/// cuDNN, loaded.
#[derive(Debug)]
pub(crate) struct Cudnn {
    functions: Functions,
    file: PathBuf,
    version: usize,
}

impl Cudnn {
    /// Finds and loads it, once in a process.
    ///
    /// # Errors
    /// [`OpenError::NoCudnn`], or [`OpenError::Library`] if it is no cuDNN, or too old.
    pub(crate) fn load() -> Result<&'static Self, OpenError> {
        static LOADED: OnceLock<Result<Cudnn, OpenError>> = OnceLock::new();
        LOADED.get_or_init(Self::find_and_load).as_ref().map_err(Clone::clone)
    }

    fn find_and_load() -> Result<Self, OpenError> {
        let file = find(&["libcudnn.so.9"]).ok_or(OpenError::NoCudnn)?;
        let bad = |message| OpenError::Library { file: file.clone(), message };
        // SAFETY: NVIDIA's own library.
        let library = unsafe { load_for_good(&file) }.map_err(|error| bad(error.to_string()))?;
        // SAFETY: `cudnn_graph.h` declares it as `size_t cudnnGetVersion(void)`.
        let version = unsafe {
            function::<unsafe extern "C" fn() -> usize>(library, "cudnnGetVersion").map_err(bad)?()
        };
        if version < OLDEST {
            let [found, needed] = [version, OLDEST].map(of_one_number);
            return Err(bad(format!("cuDNN {found} is too old, {needed} is needed")));
        }
        // SAFETY: as above, `size_t cudnnGetCudartVersion(void)`.
        let cuda = unsafe {
            let name = "cudnnGetCudartVersion";
            function::<unsafe extern "C" fn() -> usize>(library, name).map_err(bad)?()
        };
        // cuDNN ends the process where it does not find it.
        let name = format!("libcublasLt.so.{}", cuda / 1000);
        let needed = find(&[&name]).ok_or(OpenError::NoCublasLt { cuda: cuda / 1000 })?;
        // SAFETY: NVIDIA's own library; once loaded it is found by its name.
        unsafe { load_for_good(&needed) }.map_err(|error| OpenError::Library {
            file: needed.clone(),
            message: error.to_string(),
        })?;
        let functions = Functions::of(library).map_err(bad)?;
        Ok(Self { functions, file, version })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn version_text(&self) -> String {
        of_one_number(self.version)
    }

    fn check(&self, code: Code) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: any code has a text.
        let what = unsafe { CStr::from_ptr((self.functions.error_string)(code)) };
        let mut why = [0u8; 512];
        // SAFETY: as many bytes as are said, of which the last one is never written.
        unsafe { (self.functions.last_error)(why.as_mut_ptr().cast(), why.len() - 1) };
        let why = CStr::from_bytes_until_nul(&why).unwrap_or_default().to_string_lossy();
        // One line, of what may be a whole trace.
        let why = why.trim().lines().next().unwrap_or_default();
        let what = what.to_string_lossy();
        Err(if why.is_empty() { what.into_owned() } else { format!("{what}: {why}") })
    }

    /// A handle for the device whose context this thread is in.
    pub(super) fn create(&self) -> Result<Raw, String> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the place is there to be written.
        self.check(unsafe { (self.functions.create)(&mut handle) })?;
        Ok(handle)
    }

    /// # Safety
    /// The handle must be one of [`create`](Self::create), which is gone then.
    pub(super) unsafe fn destroy(&self, handle: Raw) {
        // SAFETY: the caller's promise. That it fails changes nothing any more.
        let _ = unsafe { (self.functions.destroy)(handle) };
    }

    /// # Safety
    /// Both must live, and belong to the same device.
    pub(super) unsafe fn set_stream(&self, handle: Raw, stream: CUstream) -> Result<(), String> {
        // SAFETY: the caller's promise.
        self.check(unsafe { (self.functions.set_stream)(handle, stream) })
    }

    /// A descriptor of a `cudnnBackendDescriptorType_t`.
    pub(super) fn create_descriptor(&self, kind: c_int) -> Result<Raw, String> {
        let mut descriptor = std::ptr::null_mut();
        // SAFETY: the place is there to be written.
        self.check(unsafe { (self.functions.create_descriptor)(kind, &mut descriptor) })?;
        Ok(descriptor)
    }

    /// # Safety
    /// The descriptor must live, and is gone then.
    pub(super) unsafe fn destroy_descriptor(&self, descriptor: Raw) {
        // SAFETY: the caller's promise. That it fails changes nothing any more.
        let _ = unsafe { (self.functions.destroy_descriptor)(descriptor) };
    }

    /// Sets `count` elements, which are copied.
    ///
    /// # Safety
    /// The descriptor must live, and `values` be of the type that `kind` says.
    pub(super) unsafe fn set(
        &self,
        descriptor: Raw,
        name: c_int,
        kind: c_int,
        count: usize,
        values: *const c_void,
    ) -> Result<(), String> {
        let set = self.functions.set_attribute;
        // SAFETY: the caller's promise.
        self.check(unsafe { set(descriptor, name, kind, count as i64, values) })
    }

    /// Reads up to `room` elements, and gives how many there are, which can be more.
    ///
    /// # Safety
    /// As for [`set`](Self::set), with room for as many.
    pub(super) unsafe fn get(
        &self,
        descriptor: Raw,
        name: c_int,
        kind: c_int,
        room: usize,
        values: *mut c_void,
    ) -> Result<usize, String> {
        let mut count = 0;
        let get = self.functions.get_attribute;
        // SAFETY: the caller's promise.
        self.check(unsafe { get(descriptor, name, kind, room as i64, &mut count, values) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// # Safety
    /// The descriptor must live.
    pub(super) unsafe fn finalize(&self, descriptor: Raw) -> Result<(), String> {
        // SAFETY: the caller's promise.
        self.check(unsafe { (self.functions.finalize)(descriptor) })
    }

    /// Queues a plan in the handle's stream.
    ///
    /// # Safety
    /// All must live, and the pointers of `pack` be of memory that stays until the stream has done it.
    pub(super) unsafe fn execute(&self, handle: Raw, plan: Raw, pack: Raw) -> Result<(), String> {
        // SAFETY: the caller's promise.
        self.check(unsafe { (self.functions.execute)(handle, plan, pack) })
    }
}
