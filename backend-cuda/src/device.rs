//! An open device, shared by the ranks that run on it.

use std::sync::Arc;

use halovae_engine::backend::BackendError;

use crate::backend::CudaBackend;
use crate::cudnn;
use crate::devices::{DeviceChoice, DeviceEntry, devices};
use crate::driver;
use crate::error::OpenError;
use crate::kernels;
use crate::nvrtc::Nvrtc;
use crate::options::{Options, Precision};
use crate::shared::Shared;

/// A device that is open. Clones are the same device.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    shared: Arc<Shared>,
    /// What cuDNN may be asked for; nothing where it is left out.
    engines: Result<Option<Arc<cudnn::Choices>>, OpenError>,
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
        let engines = cudnn_choices(&shared);
        Ok(Self { shared: Arc::new(shared), engines })
    }

    /// A backend for one rank. Ranks on the same device share its weights, and each has a stream of
    /// its own.
    ///
    /// # Errors
    /// [`BackendError::Device`] when the driver makes no stream.
    pub fn backend(&self) -> Result<CudaBackend, BackendError> {
        let engines = self.engines.clone().ok().flatten();
        CudaBackend::new(self.shared.clone(), engines)
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
        let engines = self.engines.as_ref().map_err(Clone::clone);
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

/// cuDNN for a GPU in whose context this thread is; without it our own kernel does everything.
fn cudnn_choices(shared: &Shared) -> Result<Option<Arc<cudnn::Choices>>, OpenError> {
    let Shared { entry, options, .. } = shared;
    if options.without_cudnn || options.precision == Precision::F32 {
        return Ok(None);
    }
    let choices = cudnn::Choices::new(entry.index, options.cache_folder.as_deref());
    choices.map(|choices| Some(Arc::new(choices)))
}
