//! Kernels that were compiled before.

use std::path::{Path, PathBuf};

use halovae_engine::cache;
use wgpu::{AdapterInfo, Device, Features, PipelineCache, PipelineCacheDescriptor};

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
            cache::replace(&self.file, &data);
        }
    }
}
