//! NVRTC: NVIDIA's compiler as a library. Loaded here and not by cudarc, which would take whatever
//! `libnvrtc.so` the system's linker finds first.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null;
use std::sync::OnceLock;

use libloading::Library;

use crate::driver;
use crate::error::OpenError;
use crate::library_files::{find, function, load_for_good};

/// File names and their CUDA, the newest first.
const NAMES: [(&str, u32); 2] = [("libnvrtc.so.13", 13), ("libnvrtc.so.12", 12)];

type Program = *mut c_void;
type Text = *const c_char;

/// The functions that are used, as `nvrtc.h` declares them; all give 0 for success.
#[derive(Clone, Copy, Debug)]
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    arch_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    archs: unsafe extern "C" fn(*mut c_int) -> c_int,
    create:
        unsafe extern "C" fn(*mut Program, Text, Text, c_int, *const Text, *const Text) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const Text) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
}

/// NVRTC, loaded.
#[derive(Debug)]
pub(crate) struct Nvrtc {
    functions: Functions,
    file: PathBuf,
    version: [u32; 2],
}

/// A source with what it includes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// Names and texts.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Nvrtc {
    /// Finds and loads it, once in a process.
    pub(crate) fn load() -> Result<&'static Self, OpenError> {
        static LOADED: OnceLock<Result<Nvrtc, OpenError>> = OnceLock::new();
        LOADED.get_or_init(Self::find_and_load).as_ref().map_err(Clone::clone)
    }

    fn find_and_load() -> Result<Self, OpenError> {
        // A driver does not run the code of a CUDA that is newer by a major version. Without a driver
        // there is still something to compile for.
        let driver = driver::load().map_or(NAMES[0].1, |driver| driver.version()[0]);
        let names = NAMES.iter().filter(|(_, major)| *major <= driver).map(|(name, _)| *name);
        let file = find(&names.collect::<Vec<_>>());
        let file = file.ok_or(OpenError::NoNvrtc { driver: driver.min(NAMES[0].1) })?;
        let bad = |message| OpenError::Library { file: file.clone(), message };
        for builtins in builtins_beside(&file) {
            // NVRTC loads it by its bare name, which the linker then knows. One that does not load
            // belongs to another NVRTC, or compiling will say that it is missing.
            // SAFETY: NVIDIA's own library.
            let _ = unsafe { load_for_good(&builtins) };
        }
        // SAFETY: NVIDIA's own library.
        let library = unsafe { load_for_good(&file) }.map_err(|error| bad(error.to_string()))?;
        let functions = Functions::of(library).map_err(bad)?;
        let [mut major, mut minor] = [0, 0];
        // SAFETY: both places are there to be written.
        check(unsafe { (functions.version)(&mut major, &mut minor) }).map_err(bad)?;
        Ok(Self { functions, version: [major as u32, minor as u32], file: file.clone() })
    }

    /// Major and minor.
    pub(crate) fn version(&self) -> [u32; 2] {
        self.version
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The architectures that it makes code for: 80, 90, ...
    pub(crate) fn archs(&self) -> Vec<u32> {
        let mut count = 0;
        // SAFETY: the place is there to be written.
        if unsafe { (self.functions.arch_count)(&mut count) } != 0 {
            return Vec::new();
        }
        let mut archs = vec![0; count.max(0) as usize];
        // SAFETY: it writes as many numbers as it counted.
        match unsafe { (self.functions.archs)(archs.as_mut_ptr()) } {
            0 => archs.into_iter().map(|arch| arch as u32).collect(),
            _ => Vec::new(),
        }
    }

    /// Compiles a source to a cubin: code of one architecture. Gives also what the compiler said.
    ///
    /// # Errors
    /// What the compiler said.
    pub(crate) fn compile(
        &self,
        source: &Source,
        options: &[String],
    ) -> Result<(Vec<u8>, String), String> {
        let text = |text: &str| CString::new(text).expect("sources and options have no NUL");
        let (code, name) = (text(source.text), text(source.name));
        let headers: Vec<_> = source.headers.iter().map(|(n, h)| (text(n), text(h))).collect();
        let names: Vec<Text> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let texts: Vec<Text> = headers.iter().map(|(_, text)| text.as_ptr()).collect();
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect();
        let options: Vec<Text> = options.iter().map(|option| option.as_ptr()).collect();

        let mut program = Made { functions: self.functions, program: null::<c_void>().cast_mut() };
        // SAFETY: all texts end with NUL and outlive the call, as many headers as are counted.
        check(unsafe {
            (self.functions.create)(
                &mut program.program,
                code.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            )
        })?;
        let Functions { log_size, log, cubin_size, cubin, .. } = self.functions;
        // SAFETY: a program that was made above, as many options as are counted.
        let compiled = check(unsafe {
            (self.functions.compile)(program.program, options.len() as c_int, options.as_ptr())
        });
        let log = program.bytes(log_size, log)?;
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
        compiled.map_err(|error| format!("{error}\n{log}"))?;
        Ok((program.bytes(cubin_size, cubin)?, log))
    }
}

/// A program that is destroyed in the end.
struct Made {
    functions: Functions,
    program: Program,
}

impl Made {
    fn bytes(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, String> {
        let mut len = 0;
        // SAFETY: a program that was made, a place to be written.
        check(unsafe { size(self.program, &mut len) })?;
        let mut bytes = vec![0u8; len];
        // SAFETY: it writes as many bytes as it said.
        check(unsafe { get(self.program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: made once, destroyed once.
            unsafe { (self.functions.destroy)(&mut self.program) };
        }
    }
}

impl Functions {
    fn of(library: &Library) -> Result<Self, String> {
        // SAFETY: the types are those of `nvrtc.h`.
        unsafe {
            Ok(Self {
                version: function(library, "nvrtcVersion")?,
                arch_count: function(library, "nvrtcGetNumSupportedArchs")?,
                archs: function(library, "nvrtcGetSupportedArchs")?,
                create: function(library, "nvrtcCreateProgram")?,
                compile: function(library, "nvrtcCompileProgram")?,
                log_size: function(library, "nvrtcGetProgramLogSize")?,
                log: function(library, "nvrtcGetProgramLog")?,
                cubin_size: function(library, "nvrtcGetCUBINSize")?,
                cubin: function(library, "nvrtcGetCUBIN")?,
                destroy: function(library, "nvrtcDestroyProgram")?,
            })
        }
    }
}

/// `nvrtcResult`, the most frequent ones in words.
fn check(result: c_int) -> Result<(), String> {
    match result {
        0 => Ok(()),
        1 => Err("NVRTC is out of memory".into()),
        5 => Err("NVRTC does not know an option".into()),
        6 => Err("NVRTC finds an error".into()),
        7 => Err("NVRTC does not find its libnvrtc-builtins".into()),
        other => Err(format!("NVRTC fails with code {other}")),
    }
}

/// The library that NVRTC loads itself.
fn builtins_beside(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_builtins = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with("libnvrtc-builtins.so."))
    };
    entries.map(|entry| entry.path()).filter(is_builtins).collect()
}
