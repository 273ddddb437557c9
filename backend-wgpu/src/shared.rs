//! What ranks on one device share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halovae_engine::backend::BackendError;
use wgpu::{Device, ErrorFilter, Limits, PollType, Queue};

use crate::adapters::AdapterEntry;
use crate::checked::checked;
use crate::kernels::Kernels;
use crate::options::Options;
use crate::tuning::{Abilities, Tuning};

/// An open device, and what is made on it once.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) adapter: AdapterEntry,
    pub(crate) limits: Limits,
    pub(crate) options: Options,
    pub(crate) kernels: Kernels,
    /// Tells this device from others in the process.
    pub(crate) id: u32,
    pub(crate) abilities: Abilities,
    pub(crate) tuning: Mutex<Tuning>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

/// What the device has reported since the last [`Shared::check`].
#[derive(Debug, Default)]
pub(crate) struct Faults {
    lost: Option<String>,
    errors: Vec<String>,
}

impl Faults {
    /// Collects what `device` reports from now on.
    pub(crate) fn of(device: &Device) -> Arc<Mutex<Self>> {
        let faults = Arc::<Mutex<Self>>::default();
        let on_error = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            locked(&on_error).errors.push(error.to_string());
        }));
        let on_loss = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            locked(&on_loss).lost.get_or_insert(format!(
                "the device was lost ({reason:?} {message}); open it again"
            ));
        });
        faults
    }

    /// The first of them; a lost device stays lost.
    fn take(&mut self) -> Option<String> {
        let first = std::mem::take(&mut self.errors).into_iter().next();
        self.lost.clone().or(first)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock leaves it inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn tune(&self, tuning: Tuning) {
        *locked(&self.tuning) = tuning;
    }

    pub(crate) fn tuning(&self) -> Tuning {
        *locked(&self.tuning)
    }

    /// The most bytes of a value that one buffer holds.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        let limits = &self.limits;
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        // A kernel's indices are u32 over whole rows: stay below 2^31 bytes on any device.
        let most = most.min((1 << 31) - 4096);
        self.options.max_binding_bytes.map_or(most, |limit| limit.min(most)) & !255
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> BackendError {
        BackendError::Device { device: self.adapter.name.clone(), message: message.into() }
    }

    /// What the device said since the last call, if that was bad.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        // A device says that it is lost when it is polled.
        let _ = self.device.poll(PollType::Poll);
        let Some(message) = locked(&self.faults).take() else { return Ok(()) };
        // What is made on a lost device is invalid: that it is lost is the better answer, and comes
        // when nothing runs any more.
        let _ = self.device.poll(PollType::wait_indefinitely());
        let lost = locked(&self.faults).lost.clone();
        Err(self.error(lost.unwrap_or(message)))
    }

    /// Runs `make` and gives what the device objects to it.
    pub(crate) fn checked<T>(
        &self,
        filter: ErrorFilter,
        make: impl FnOnce() -> T,
    ) -> Result<T, wgpu::Error> {
        checked(&self.device, filter, make)
    }

    /// Waits until everything submitted has run.
    pub(crate) fn wait(&self) -> Result<(), BackendError> {
        let polled = self.device.poll(PollType::wait_indefinitely());
        self.check()?;
        polled.map_err(|error| self.error(error.to_string()))?;
        Ok(())
    }
}
