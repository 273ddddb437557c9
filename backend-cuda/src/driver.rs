//! NVIDIA's driver, loaded before cudarc asks for it: cudarc panics where it is missing.

use std::path::PathBuf;
use std::sync::OnceLock;

use cudarc::driver::{result, sys};

use crate::error::OpenError;
use crate::library_files::{find_installed, load_for_good};

/// The driver, started.
#[derive(Debug)]
pub(crate) struct Driver {
    file: PathBuf,
    version: [u32; 2],
}

const NAME: &str = "libcuda.so.1";

/// Finds, loads and starts the driver, once in a process.
pub(crate) fn load() -> Result<&'static Driver, OpenError> {
    static LOADED: OnceLock<Result<Driver, OpenError>> = OnceLock::new();
    LOADED.get_or_init(start).as_ref().map_err(Clone::clone)
}

fn start() -> Result<Driver, OpenError> {
    // The linker knows folders that the search does not, by its cache.
    let file = find_installed(&[NAME]).unwrap_or_else(|| PathBuf::from(NAME));
    // SAFETY: NVIDIA's own library.
    unsafe { load_for_good(&file) }.map_err(|error| match file.is_absolute() {
        true => OpenError::Library { file: file.clone(), message: error.to_string() },
        false => OpenError::NoDriver,
    })?;
    // SAFETY: it opens and closes the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(OpenError::NoDriver);
    }
    let failed = |error: result::DriverError| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => OpenError::NoDevice,
        _ => OpenError::Driver { message: words(error) },
    };
    result::init().map_err(failed)?;
    let mut version = 0;
    // SAFETY: the place is there to be written.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(failed)?;
    Ok(Driver { file, version: [version as u32 / 1000, version as u32 % 1000 / 10] })
}

impl Driver {
    /// Major and minor of the CUDA that it is for.
    pub(crate) fn version(&self) -> [u32; 2] {
        self.version
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone()
    }
}

/// What an error of the driver is called, and what it means.
pub(crate) fn words(error: result::DriverError) -> String {
    let name = error.error_name().ok().map(|name| name.to_string_lossy().into_owned());
    let text = error.error_string().ok().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Some(name), Some(text)) => format!("{text} ({name})"),
        _ => format!("{:?}", error.0),
    }
}
