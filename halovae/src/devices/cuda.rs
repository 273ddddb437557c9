//! NVIDIA's GPUs, by CUDA.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use halovae_cuda::{
    CudaBackend, CudaDevice, Demand, DeviceChoice, DeviceEntry, LibraryEntry, OpenError, Options,
    Precision, devices, libraries,
};
use halovae_engine::cache::cache_folder;
use halovae_engine::format_bytes;
use halovae_engine::group::Links;

use super::device::Device;
use super::set::{BoxedLinks, Devices};
use crate::error::Error;
use crate::notice::Notice;
use crate::options::{Cudnn, DeviceOptions, Dtype, Exchange};

/// What an NVIDIA GPU is to Linux: its driver's node, or that of Windows below.
const NODES: [&str; 2] = ["/dev/nvidiactl", "/dev/dxg"];

/// Whether there may be a GPU: loading the driver takes time, and is not worth it otherwise.
pub(crate) fn may_be() -> bool {
    NODES.iter().any(|node| Path::new(node).exists())
        || std::env::var_os("HALOVAE_NVIDIA_LIBRARIES").is_some()
}

/// Whether `error` says that another backend is meant, or the only one there is: no driver, no GPU,
/// or none of that name.
pub(crate) fn is_absence(error: &Error) -> bool {
    let Error::Cuda(error) = error else { return false };
    matches!(error, OpenError::NoDriver | OpenError::NoDevice | OpenError::Unknown { .. })
}

/// A backend for the rank in each seat; the devices that were asked for take them in turns.
///
/// # Errors
/// [`OpenError`], or that a device has no room for a stream.
pub(crate) fn open(
    asked: &DeviceOptions,
    seats: Range<u32>,
    notices: &mut Vec<Notice>,
) -> Result<Devices, Error> {
    let found = devices()?;
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
        Dtype::Bf16 => Precision::Bf16,
    };
    let options = Options {
        precision,
        cache_folder: cache_folder(),
        without_cudnn: asked.cudnn == Cudnn::Off,
        ..Options::default()
    };
    // Ranks on one GPU share its device, and with it the weights.
    let mut opened: HashMap<u32, CudaDevice> = HashMap::new();
    let mut backends = Vec::new();
    for seat in seats {
        let index = chosen[seat as usize % chosen.len()];
        let device = match opened.get(&index) {
            Some(device) => device.clone(),
            None => CudaDevice::open(&DeviceChoice::Index(index), options.clone())?,
        };
        match device.cudnn() {
            Err(error) if asked.cudnn == Cudnn::On => return Err(error.into()),
            Err(error) if opened.is_empty() => {
                notices.push(Notice::WithoutCudnn { why: error.to_string() });
            }
            _ => {}
        }
        backends.push(device.backend()?);
        opened.insert(index, device);
    }
    Ok(Devices::Cuda(backends))
}

/// Links between ranks on these backends, unless all data is to go through host memory.
///
/// # Errors
/// That a device has no room for a stream.
pub(crate) fn links(
    backends: &[CudaBackend],
    exchange: Exchange,
) -> Result<Option<BoxedLinks<CudaBackend>>, Error> {
    let demand = match exchange {
        Exchange::Host => return Ok(None),
        Exchange::Auto => Demand::IfPossible,
        Exchange::Nccl => Demand::Always,
    };
    let link = |backend: &CudaBackend| -> Result<Box<dyn Links<_>>, Error> {
        Ok(Box::new(backend.links(demand)?))
    };
    backends.iter().map(link).collect::<Result<_, _>>().map(Some)
}

fn choice(device: &str) -> DeviceChoice {
    match device.trim().parse() {
        Ok(index) => DeviceChoice::Index(index),
        Err(_) => DeviceChoice::Name(device.trim().to_owned()),
    }
}

/// The first GPU and all others of the same model.
fn alike(found: &[DeviceEntry]) -> Result<Vec<u32>, OpenError> {
    let first = DeviceChoice::Auto.among(found)?;
    let same = |entry: &&DeviceEntry| entry.name == first.name;
    Ok(found.iter().filter(same).map(|entry| entry.index).collect())
}

/// NVIDIA's GPUs and libraries.
pub(super) fn list() -> Vec<Device> {
    let found = match devices() {
        Ok(found) => found,
        Err(error) => return vec![Device::none("cuda", error.to_string())],
    };
    let mut listed: Vec<Device> = found
        .iter()
        .map(|entry| {
            let [major, minor] = entry.compute_capability;
            let compute = format!("{major}.{minor}, {} multiprocessors", entry.multiprocessors);
            let device = Device::new("cuda", entry.to_string())
                .with("memory", format_bytes(entry.memory_bytes))
                .with("compute", compute);
            let too_old = (major < 8).then(|| "too old for this backend, which needs 8.0".into());
            Device {
                index: Some(entry.index),
                memory_bytes: Some(entry.memory_bytes),
                remarks: too_old.into_iter().collect(),
                ..device
            }
        })
        .collect();
    if let Some(last) = listed.last_mut() {
        for LibraryEntry { name, state } in libraries() {
            let state = match state {
                Ok((version, file)) => format!("{version}, {}", file.display()),
                Err(missing) => format!("missing: {missing}"),
            };
            last.properties.push((name.to_string(), state));
        }
    }
    listed
}
