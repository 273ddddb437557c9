//! GPUs, by wgpu.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use halovae_engine::cache::cache_folder;
use halovae_engine::format_bytes;
use halovae_wgpu::{
    AdapterChoice, AdapterEntry, OpenError, Options, Precision, WgpuDevice, adapters,
};

use super::device::Device;
use super::set::Devices;
use crate::error::Error;
use crate::options::{DeviceOptions, Dtype};

/// What a GPU is to Linux: a node of its own, NVIDIA's, or that of Windows below.
const NODES: [&str; 3] = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"];

/// Keeps Mesa from complaining on machines without a display, in the midst of our own lines: its
/// layer that picks the GPU of the display asks Wayland, which prints that it has no folder.
///
/// # Safety
/// Call it while the process has one thread: it sets a variable of the environment.
pub unsafe fn quiet_drivers() {
    const LAYER_OFF: &str = "NODEVICE_SELECT";
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os(LAYER_OFF).is_none() {
        // SAFETY: no thread reads the environment meanwhile, by the caller.
        unsafe { std::env::set_var(LAYER_OFF, "1") };
    }
}

/// Whether there is a GPU, software not counted.
pub(super) fn has_any() -> bool {
    // Loading drivers takes time, and some talk while they are loaded.
    let may_be =
        cfg!(not(target_os = "linux")) || NODES.iter().any(|node| Path::new(node).exists());
    may_be && adapters().is_ok_and(|found| found.iter().any(|adapter| !adapter.is_software()))
}

/// A backend for the rank in each seat; the devices that were asked for take them in turns.
///
/// # Errors
/// [`OpenError`].
pub(super) fn open(asked: &DeviceOptions, seats: Range<u32>) -> Result<Devices, Error> {
    let found = adapters()?;
    let chosen: Vec<u32> = match asked.device.is_empty() {
        true => alike(&found)?,
        false => {
            let index = |device: &String| Ok(choice(device).among(&found)?.index);
            asked.device.iter().map(index).collect::<Result<_, OpenError>>()?
        }
    };
    let precision = match asked.dtype {
        Dtype::F32 => Precision::F32,
        Dtype::F16 => Precision::F16,
        Dtype::Bf16 => unreachable!("asked of CUDA alone"),
    };
    let options = Options { precision, tuning_folder: cache_folder(), ..Options::default() };
    // Ranks on one adapter share its device, and with it the weights.
    let mut opened: HashMap<u32, WgpuDevice> = HashMap::new();
    let mut backends = Vec::new();
    for seat in seats {
        let index = chosen[seat as usize % chosen.len()];
        let device = match opened.get(&index) {
            Some(device) => device.clone(),
            None => WgpuDevice::open(&AdapterChoice::Index(index), options.clone())?,
        };
        backends.push(device.backend());
        opened.insert(index, device);
    }
    Ok(Devices::Wgpu(backends))
}

fn choice(device: &str) -> AdapterChoice {
    match device.trim().parse() {
        Ok(index) => AdapterChoice::Index(index),
        Err(_) => AdapterChoice::Name(device.trim().to_owned()),
    }
}

/// The GPU that is chosen automatically, and all others like it: the same model, reached
/// in the same way.
fn alike(found: &[AdapterEntry]) -> Result<Vec<u32>, OpenError> {
    let first = AdapterChoice::Auto.among(found)?;
    let same = |adapter: &&AdapterEntry| {
        (&adapter.name, &adapter.backend) == (&first.name, &first.backend)
    };
    Ok(found.iter().filter(same).map(|adapter| adapter.index).collect())
}

/// The adapters.
pub(super) fn list() -> Vec<Device> {
    let found = match adapters() {
        Ok(found) => found,
        Err(error) => return vec![Device::none("wgpu", error.to_string())],
    };
    let listed = |adapter: &AdapterEntry| {
        let device = Device::new("wgpu", adapter.to_string())
            .with("driver", &adapter.driver)
            .with("binding", format!("{} at most", format_bytes(adapter.max_binding_bytes)))
            .with("buffer", format!("{} at most", format_bytes(adapter.max_buffer_bytes)))
            .with("f16", if adapter.f16 { "yes" } else { "no" });
        let software = adapter.is_software();
        let remark = software.then(|| "a program on the CPU; used only if it is named".into());
        Device { index: Some(adapter.index), remarks: remark.into_iter().collect(), ..device }
    };
    found.iter().map(listed).collect()
}
