//! The library, loaded here and not by cudarc, which does not look for `libnccl.so.2`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::driver::sys::CUstream;
use libloading::Library;
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::library_files::{find, function, load_for_good, of_one_number};

/// `ncclComm_t`.
pub(super) type Handle = *mut c_void;

/// `ncclUniqueId`: what ranks find each other by. It travels as a list of bytes: serde knows no arrays
/// as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
#[repr(C)]
pub(super) struct UniqueId([u8; 128]);

impl From<UniqueId> for Vec<u8> {
    fn from(id: UniqueId) -> Self {
        id.0.to_vec()
    }
}

impl TryFrom<Vec<u8>> for UniqueId {
    type Error = String;

    fn try_from(bytes: Vec<u8>) -> Result<Self, String> {
        let id = bytes.try_into();
        id.map(Self).map_err(|bytes: Vec<u8>| format!("an id of {} bytes", bytes.len()))
    }
}

/// `ncclConfig_t` as NCCL 2.14 had it: later ones take what is missing from their defaults, by the
/// version.
#[repr(C)]
struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
    /// The next field of later versions, where the struct of 2.14 has nothing.
    undefined: c_int,
}

const MAGIC: c_uint = 0xcafe_beef;
const CONFIG_VERSION: c_uint = 21_400;

/// The first version whose calls need not block.
const OLDEST: c_int = 21_400;

const IN_PROGRESS: c_int = 7;
/// `ncclUint8`.
const BYTES: c_int = 1;

type Code = c_int;

/// The functions that are used, as `nccl.h` declares them; those with a result give 0 for success.
#[derive(Clone, Copy, Debug)]
struct Functions {
    version: unsafe extern "C" fn(*mut c_int) -> Code,
    error_string: unsafe extern "C" fn(Code) -> *const c_char,
    last_error: unsafe extern "C" fn(Handle) -> *const c_char,
    unique_id: unsafe extern "C" fn(*mut UniqueId) -> Code,
    init: unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int, *mut Config) -> Code,
    async_error: unsafe extern "C" fn(Handle, *mut Code) -> Code,
    abort: unsafe extern "C" fn(Handle) -> Code,
    group_start: unsafe extern "C" fn() -> Code,
    group_end: unsafe extern "C" fn() -> Code,
    send: unsafe extern "C" fn(*const c_void, usize, c_int, c_int, Handle, CUstream) -> Code,
    receive: unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, Handle, CUstream) -> Code,
}

impl Functions {
    fn of(library: &Library) -> Result<Self, String> {
        // SAFETY: the types are those of `nccl.h`.
        unsafe {
            Ok(Self {
                version: function(library, "ncclGetVersion")?,
                error_string: function(library, "ncclGetErrorString")?,
                last_error: function(library, "ncclGetLastError")?,
                unique_id: function(library, "ncclGetUniqueId")?,
                init: function(library, "ncclCommInitRankConfig")?,
                async_error: function(library, "ncclCommGetAsyncError")?,
                abort: function(library, "ncclCommAbort")?,
                group_start: function(library, "ncclGroupStart")?,
                group_end: function(library, "ncclGroupEnd")?,
                send: function(library, "ncclSend")?,
                receive: function(library, "ncclRecv")?,
            })
        }
    }
}

/// NCCL, loaded.
#[derive(Debug)]
pub(crate) struct Nccl {
    functions: Functions,
    file: PathBuf,
    version: c_int,
}

/// Bytes on the device that go to a rank or come from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) rank: u32,
    pub(super) pointer: u64,
    pub(super) bytes: u64,
}

impl Nccl {
    /// Finds and loads it, once in a process.
    pub(crate) fn load() -> Result<&'static Self, OpenError> {
        static LOADED: OnceLock<Result<Nccl, OpenError>> = OnceLock::new();
        LOADED.get_or_init(Self::find_and_load).as_ref().map_err(Clone::clone)
    }

    fn find_and_load() -> Result<Self, OpenError> {
        let file = find(&["libnccl.so.2"]).ok_or(OpenError::NoNccl)?;
        let bad = |message| OpenError::Library { file: file.clone(), message };
        // SAFETY: NVIDIA's own library.
        let library = unsafe { load_for_good(&file) }.map_err(|error| bad(error.to_string()))?;
        let functions = Functions::of(library).map_err(bad)?;
        let mut version = 0;
        // SAFETY: the place is there to be written.
        let code = unsafe { (functions.version)(&mut version) };
        let nccl = Self { functions, file, version };
        match nccl.check(code, None) {
            Err(message) => Err(OpenError::Library { file: nccl.file, message }),
            Ok(()) if version < OLDEST => Err(OpenError::Library {
                file: nccl.file.clone(),
                message: format!("NCCL {} is too old, 2.14 is needed", nccl.version_text()),
            }),
            Ok(()) => Ok(nccl),
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// As one number: 2.32.3 is 23203.
    pub(super) fn version(&self) -> u32 {
        self.version as u32
    }

    pub(crate) fn version_text(&self) -> String {
        of_one_number(self.version as usize)
    }

    /// What a code means; `Ok` for success, and for what goes on by itself.
    fn check(&self, code: Code, handle: Option<Handle>) -> Result<(), String> {
        if code == 0 || code == IN_PROGRESS {
            return Ok(());
        }
        let text = |text: *const c_char| {
            // SAFETY: NCCL gives a text that ends, or nothing.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
            text.map(|text| text.to_string_lossy().trim().to_owned()).unwrap_or_default()
        };
        // SAFETY: any code has a text.
        let what = text(unsafe { (self.functions.error_string)(code) });
        // SAFETY: without a communicator it tells of the last call.
        let why = text(unsafe { (self.functions.last_error)(handle.unwrap_or_default()) });
        // One line, of what may be a whole trace.
        let why = why.lines().next_back().unwrap_or_default().trim();
        Err(if why.is_empty() { what } else { format!("{what}: {why}") })
    }

    /// A new id; the process listens for ranks that come with it.
    pub(super) fn unique_id(&self) -> Result<UniqueId, String> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: the place is there to be written.
        self.check(unsafe { (self.functions.unique_id)(&mut id) }, None)?;
        Ok(id)
    }

    /// Begins to connect rank `rank` of `size` on the device that this thread's calls are for. Until
    /// [`is_ready`](Self::is_ready) says so there is no other call to make.
    pub(super) fn begin(&self, id: UniqueId, rank: u32, size: u32) -> Result<Handle, String> {
        let mut config = Config {
            size: size_of::<Config>(),
            magic: MAGIC,
            version: CONFIG_VERSION,
            blocking: 0,
            undefined: c_int::MIN,
        };
        let mut handle = std::ptr::null_mut();
        // SAFETY: the config is copied before the call returns.
        let code = unsafe {
            (self.functions.init)(&mut handle, size as c_int, id, rank as c_int, &mut config)
        };
        self.check(code, None).map(|()| handle)
    }

    /// Whether what was called last has been done.
    ///
    /// # Safety
    /// The handle must be one of [`begin`](Self::begin) that was not aborted.
    pub(super) unsafe fn is_ready(&self, handle: Handle) -> Result<bool, String> {
        let mut state = 0;
        // SAFETY: the caller's promise.
        self.check(unsafe { (self.functions.async_error)(handle, &mut state) }, Some(handle))?;
        self.check(state, Some(handle))?;
        Ok(state != IN_PROGRESS)
    }

    /// Queues all that is sent and received, as one operation. It is in the stream once
    /// [`is_ready`](Self::is_ready) says so.
    ///
    /// # Safety
    /// As [`is_ready`](Self::is_ready); pieces must be of memory that stays until the stream has done
    /// it.
    pub(super) unsafe fn exchange(
        &self,
        handle: Handle,
        outgoing: &[Piece],
        incoming: &[Piece],
        stream: CUstream,
    ) -> Result<(), String> {
        let Functions { send, receive, group_start, group_end, .. } = self.functions;
        // SAFETY: the caller's promise.
        unsafe {
            self.check(group_start(), Some(handle))?;
            let sent = outgoing.iter().map(|&Piece { rank, pointer, bytes }| {
                let from = pointer as *const c_void;
                self.check(
                    send(from, bytes as usize, BYTES, rank as c_int, handle, stream),
                    Some(handle),
                )
            });
            let received = incoming.iter().map(|&Piece { rank, pointer, bytes }| {
                let to = pointer as *mut c_void;
                self.check(
                    receive(to, bytes as usize, BYTES, rank as c_int, handle, stream),
                    Some(handle),
                )
            });
            let queued: Result<(), String> = sent.chain(received).collect();
            // A group that was begun must end, whatever went wrong within.
            let ended = self.check(group_end(), Some(handle));
            queued.and(ended)
        }
    }

    /// Ends a connection and all that it has in streams.
    ///
    /// # Safety
    /// As [`is_ready`](Self::is_ready); the handle is gone.
    pub(super) unsafe fn abort(&self, handle: Handle) {
        // SAFETY: the caller's promise. That it fails changes nothing any more.
        let _ = unsafe { (self.functions.abort)(handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_its_length() {
        let id = UniqueId(std::array::from_fn(|at| at as u8));
        let bytes = Vec::from(id);
        assert_eq!(UniqueId::try_from(bytes.clone()), Ok(id));
        for len in [0, 127] {
            assert!(UniqueId::try_from(bytes[..len].to_vec()).is_err(), "{len} bytes");
        }
        assert!(UniqueId::try_from([bytes, vec![0]].concat()).is_err());
    }
}
