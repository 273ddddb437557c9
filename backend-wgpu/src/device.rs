//! An open device, shared by the ranks that run on it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use halovae_engine::backend::BackendError;
use wgpu::{
    Adapter, AdapterInfo, CooperativeMatrixProperties, CooperativeScalarType, DeviceDescriptor,
    ExperimentalFeatures, Features, Limits, MemoryHints,
};

use crate::adapters::{self, AdapterChoice, AdapterEntry};
use crate::backend::WgpuBackend;
use crate::cache::Compiled;
use crate::error::OpenError;
use crate::kernels::Kernels;
use crate::options::{Options, Precision};
use crate::search::{Remembered, search};
use crate::shared::{Faults, Shared};
use crate::timer;
use crate::tuning::{Abilities, Tuning};

/// A device that is open. Clones are the same device.
#[derive(Clone, Debug)]
pub struct WgpuDevice {
    shared: Arc<Shared>,
}

/// Bytes of immediates that kernels take; every API but a browser's offers as many.
pub(crate) const IMMEDIATE_BYTES: u32 = 128;

/// The largest binding that weights of a decoder and rows of its values need.
const NEEDED_BINDING: u64 = 64 << 20;

impl WgpuDevice {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`OpenError`]: there is none, or it cannot do enough, or its driver refuses.
    pub fn open(choice: &AdapterChoice, options: Options) -> Result<Self, OpenError> {
        static OPENED: AtomicU32 = AtomicU32::new(0);

        let mut found = adapters::enumerate()?;
        let entries: Vec<_> =
            found.iter().enumerate().map(|(i, a)| adapters::entry(i, a)).collect();
        let place = adapters::choose(&entries, choice)?;
        let (chosen, adapter) = (found.swap_remove(place), entries[place].clone());
        let limits = chosen.limits();
        check_limits(&adapter.name, &limits)?;
        let mut features = needed_features(&adapter.name, chosen.features(), options.precision)?;
        if multiplies_matrices(&chosen, options.precision) {
            features |= Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        }
        let descriptor = DeviceDescriptor {
            label: Some("halovae"),
            required_features: features,
            required_limits: Limits { max_immediate_size: IMMEDIATE_BYTES, ..limits.clone() },
            experimental_features: experimental(features),
            // Large values get memory of their own anyway.
            memory_hints: MemoryHints::Manual {
                suballocated_device_memory_block_size: (4 << 20)..(16 << 20),
            },
            trace: wgpu::Trace::Off,
        };
        let refused = |message| OpenError::Refused { adapter: adapter.name.clone(), message };
        let (device, queue) = pollster::block_on(chosen.request_device(&descriptor))
            .map_err(|error| refused(error.to_string()))?;

        let faults = Faults::of(&device);
        let folder = options.tuning_folder.as_deref();
        let compiled =
            folder.and_then(|folder| Compiled::open(&device, &chosen.get_info(), folder));
        let kernels = Kernels::new(compiled, options.precision);
        let id = OPENED.fetch_add(1, Ordering::Relaxed);
        let lanes = lanes(features, &chosen.get_info());
        let matrices = features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        let precision = options.precision;
        let abilities =
            Abilities { is_software: adapter.is_software(), precision, lanes, matrices };
        let tuning = Mutex::new(Tuning::guess(abilities));
        let shared = Shared {
            device,
            queue,
            adapter,
            limits,
            options,
            kernels,
            id,
            abilities,
            tuning,
            faults,
        };
        let device = Self { shared: Arc::new(shared) };
        device.find_tuning().map_err(|error| refused_by(&device, &error))?;
        Ok(device)
    }

    fn find_tuning(&self) -> Result<(), BackendError> {
        let Some(folder) = &self.shared.options.tuning_folder else { return Ok(()) };
        let remembered = Remembered::new(folder, &self.shared);
        let tuning = match remembered.read() {
            Some(tuning) => tuning,
            None => {
                let found = search(&self.backend())?;
                remembered.write(found);
                found
            }
        };
        self.shared.tune(tuning);
        Ok(())
    }

    /// A backend for one rank. Ranks on the same device share its weights and its queue.
    pub fn backend(&self) -> WgpuBackend {
        WgpuBackend::new(self.shared.clone())
    }

    /// The adapter that was opened.
    pub fn adapter(&self) -> &AdapterEntry {
        &self.shared.adapter
    }

    /// Which tiles and transforms are used, in a word or two for reports.
    pub fn tuning(&self) -> String {
        self.shared.tuning().to_string()
    }

    /// Ends the device, as a driver does that crashes: everything on it is gone, and what its ranks
    /// do next fails. For tests; open the adapter again to go on.
    pub fn lose(&self) {
        self.shared.device.destroy();
    }
}

fn refused_by(device: &WgpuDevice, error: &BackendError) -> OpenError {
    OpenError::Refused { adapter: device.adapter().name.clone(), message: error.to_string() }
}

fn check_limits(adapter: &str, limits: &Limits) -> Result<(), OpenError> {
    let needs: [(&'static str, u64, u64); 5] = [
        ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size, NEEDED_BINDING),
        (
            "max_storage_buffers_per_shader_stage",
            limits.max_storage_buffers_per_shader_stage.into(),
            6,
        ),
        (
            "max_compute_invocations_per_workgroup",
            limits.max_compute_invocations_per_workgroup.into(),
            256,
        ),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size.into(),
            16384,
        ),
        ("max_immediate_size", limits.max_immediate_size.into(), IMMEDIATE_BYTES.into()),
    ];
    match needs.into_iter().find(|&(_, has, need)| has < need) {
        Some((limit, has, need)) => {
            Err(OpenError::Limit { adapter: adapter.to_owned(), limit, has, need })
        }
        None => Ok(()),
    }
}

fn needed_features(
    adapter: &str,
    has: Features,
    precision: Precision,
) -> Result<Features, OpenError> {
    let lacks = |feature, hint| OpenError::Feature { adapter: adapter.to_owned(), feature, hint };
    if !has.contains(Features::IMMEDIATES) {
        return Err(lacks("IMMEDIATES", ""));
    }
    let mut needed = Features::IMMEDIATES;
    if precision == Precision::F16 {
        if !has.contains(Features::SHADER_F16) {
            return Err(lacks("SHADER_F16", ", or f32"));
        }
        needed |= Features::SHADER_F16;
    }
    let wanted = Features::PIPELINE_CACHE | Features::SUBGROUP | timer::FEATURES;
    Ok(needed | (has & wanted))
}

/// Whether its subgroups of 32 multiply matrices of 16 x 16, f16 to f32.
fn multiplies_matrices(adapter: &Adapter, precision: Precision) -> bool {
    let wanted = |of: &CooperativeMatrixProperties| {
        [of.m_size, of.n_size, of.k_size] == [16; 3]
            && of.ab_type == CooperativeScalarType::F16
            && of.cr_type == CooperativeScalarType::F32
            && !of.saturating_accumulation
    };
    precision == Precision::F16
        && adapter.features().contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        && lanes(adapter.features(), &adapter.get_info()) == Some(32)
        && adapter.cooperative_matrix_properties().iter().any(wanted)
}

/// Leave for what wgpu calls experimental, where it is used.
fn experimental(features: Features) -> ExperimentalFeatures {
    if !features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return ExperimentalFeatures::disabled();
    }
    // SAFETY: wgpu warns of bugs that could be undefined behaviour. Matrices are used by one kernel,
    // as their specification has it, and only where its results were the same as those of the others.
    unsafe { ExperimentalFeatures::enabled() }
}

/// Invocations of every subgroup, if all have the same number. A workgroup of as many is one.
fn lanes(features: Features, info: &AdapterInfo) -> Option<u32> {
    let (least, most) = (info.subgroup_min_size, info.subgroup_max_size);
    (features.contains(Features::SUBGROUP) && least == most).then_some(least)
}
