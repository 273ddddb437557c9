//! Files of the user's cache folder: what was found out once and need not be again.

use std::path::{Path, PathBuf};

use wgpu::{AdapterInfo, Device, Features, PipelineCache, PipelineCacheDescriptor};

/// Where programs of this user keep what they can make again: `halovae` in the system's folder for
/// that, if there is one.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_CACHE_HOME").or_else(|| match std::env::consts::OS {
        "windows" => variable("LOCALAPPDATA"),
        "macos" => variable("HOME").map(|home| home.join("Library/Caches")),
        _ => variable("HOME").map(|home| home.join(".cache")),
    });
    Some(folder?.join("halovae"))
}

/// Writes a file that another process never reads half of. That it cannot be written only means that
/// it is made again next time.
pub(crate) fn replace(file: &Path, content: &[u8]) {
    let half = file.with_extension(format!("{}.tmp", std::process::id()));
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder
        .and_then(|()| std::fs::write(&half, content))
        .and_then(|()| std::fs::rename(&half, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&half);
    }
}

/// Kernels that were compiled before, as the driver keeps them. Vulkan alone has that.
#[derive(Debug)]
pub(crate) struct Compiled {
    cache: PipelineCache,
    file: PathBuf,
    /// Bytes that the file had.
    had: usize,
}

impl Compiled {
    pub(crate) fn open(device: &Device, adapter: &AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(Features::PIPELINE_CACHE) {
            return None;
        }
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        let data = std::fs::read(&file).ok();
        let had = data.as_ref().map_or(0, Vec::len);
        let descriptor = PipelineCacheDescriptor {
            label: Some("halovae"),
            data: data.as_deref(),
            // Data of another driver is as none.
            fallback: true,
        };
        // SAFETY: the file holds what `get_data` gave for an adapter with this key, written whole, in
        // a folder of the user's own; wgpu and the driver check its head.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, file, had })
    }

    pub(crate) fn cache(&self) -> &PipelineCache {
        &self.cache
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(data) = self.cache.get_data().filter(|data| data.len() > self.had) {
            replace(&self.file, &data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/inside/file.txt");
        for content in ["one", "another one"] {
            replace(&file, content.as_bytes());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
        let below_a_file = file.join("file.txt");
        replace(&below_a_file, b"nowhere");
        let left = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left behind");
    }
}
