//! Where NVIDIA's libraries are, and how they are loaded: at run time, so this crate is built without
//! any of them.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use libloading::Library;

/// Folders that are searched first, parted by colons.
const VARIABLE: &str = "HALOVAE_NVIDIA_LIBRARIES";

/// Where distributions and toolkits put libraries.
const SYSTEM: [&str; 7] = [
    "/usr/local/cuda/lib64",
    "/usr/local/nvidia/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/wsl/lib",
    "/usr/lib64",
    "/usr/lib",
];

/// A version as cuDNN 9, cuBLASLt 12 and NCCL 2.9, and later ones, give it.
pub(crate) fn of_one_number(version: usize) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

/// The file of the first of `names` that is in one of the folders, earlier names first.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    // Asking Python takes time: only if nothing else has it.
    find_installed(names).or_else(|| first_of(names, python_folders()))
}

/// The same, without what `python3` brings: no package has the driver.
pub(crate) fn find_installed(names: &[&str]) -> Option<PathBuf> {
    first_of(names, folders())
}

fn first_of(names: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let files = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    files.into_iter().find(|file| file.is_file())
}

static FIRST: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Searches a folder before all others: for programs that bring libraries along. It can hold the
/// libraries, or what `pip install --target` makes. Libraries that were loaded before stay.
pub fn search_first(folder: &Path) {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).push(folder.to_owned());
}

fn folders() -> &'static [PathBuf] {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let listed = |variable: &str| -> Vec<PathBuf> {
            let value = std::env::var_os(variable).unwrap_or_default();
            std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
        };
        let mut folders = FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        folders.extend(listed(VARIABLE));
        // A folder that holds what `pip install --target` made is as good as one of libraries.
        let packages: Vec<PathBuf> =
            folders.iter().flat_map(|folder| in_packages(folder)).collect();
        folders.extend(packages);
        folders.extend(listed("LD_LIBRARY_PATH"));
        if let Some(environment) = std::env::var_os("VIRTUAL_ENV") {
            folders.extend(in_environment(Path::new(&environment)));
        }
        folders.extend(SYSTEM.map(PathBuf::from));
        folders
    })
}

/// `lib` folders of NVIDIA's packages in a folder of Python packages.
fn in_packages(packages: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(packages.join("nvidia")).into_iter().flatten().flatten();
    let folders: BTreeSet<PathBuf> =
        entries.map(|entry| entry.path().join("lib")).filter(|folder| folder.is_dir()).collect();
    // `cu13` comes after `cu12`, and the newest is the best.
    folders.into_iter().rev().collect()
}

/// The same in a virtual environment.
fn in_environment(environment: &Path) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    versions.flat_map(|version| in_packages(&version.path().join("site-packages"))).collect()
}

/// The folders of the packages of the `python3` on PATH.
fn python_folders() -> &'static [PathBuf] {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let script = "import site, sysconfig; \
                      print(sysconfig.get_path('purelib')); print(site.getusersitepackages())";
        let output =
            Command::new("python3").args(["-c", script]).stdin(Stdio::null()).output().ok();
        let output = output.filter(|output| output.status.success());
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let lines = text.unwrap_or_default();
        lines.lines().flat_map(|line| in_packages(Path::new(line))).collect()
    })
}

/// Loads a library for as long as the process runs.
///
/// # Safety
/// The file must be the library that its name says: its initialisers run.
pub(crate) unsafe fn load_for_good(file: &Path) -> Result<&'static Library, libloading::Error> {
    // SAFETY: the caller's promise.
    let library = unsafe { Library::new(file) }?;
    // Never unloaded: NVIDIA's libraries keep threads and handlers.
    Ok(Box::leak(Box::new(library)))
}

/// A function of a library.
///
/// # Safety
/// `F` must be a pointer to a function as the library declares it.
pub(crate) unsafe fn function<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // A wrong type would read beyond the pointer.
    assert_eq!(size_of::<F>(), size_of::<*const c_void>());
    // SAFETY: the caller's promise.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|_| format!("it has no {name}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Once;

    use crate::error::OpenError;

    /// A library, from where `scripts/test` installs NVIDIA's packages or whatever else is searched. A
    /// test that was taken to another machine has no such folder.
    pub(crate) fn installed<T>(load: impl Fn() -> Result<T, OpenError>) -> T {
        static FIRST: Once = Once::new();
        let folder = halovae_cuda_stand_in::target().map(|target| target.join("nvidia"));
        FIRST.call_once(|| folder.iter().for_each(|folder| search_first(folder)));
        load().unwrap_or_else(|error| {
            let folder = folder.unwrap_or_default();
            let packages = "nvidia-cuda-nvrtc nvidia-cudnn-cu13 nvidia-cublas";
            panic!("{error}; for this test: `pip install --target {} {packages}`", folder.display())
        })
    }

    #[test]
    fn packages_of_python_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let environment = folder.path();
        for package in ["cu13", "cudnn"] {
            let lib = format!("lib/python3.11/site-packages/nvidia/{package}/lib");
            std::fs::create_dir_all(environment.join(lib)).unwrap();
        }
        // A package without libraries.
        let empty = environment.join("lib/python3.11/site-packages/nvidia/headers");
        std::fs::create_dir_all(empty).unwrap();
        let found = in_environment(environment);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|folder| folder.ends_with("nvidia/cu13/lib")), "{found:?}");
        assert_eq!(in_environment(&environment.join("nothing")), Vec::<PathBuf>::new());
    }
}
