//! Decodes latents with burn's wgpu backend, several times, and says how long each decode took.
//!
//! `compare-burn VAE_FOLDER LATENTS OUTPUT.npy DECODES [cpu]`, where LATENTS are `.npy` or
//! `.safetensors` (key `latents`) in f32, as diffusers' `vae.decode` takes them, and `cpu` picks the
//! adapter that is a CPU. Prints JSON. `run` beside this package calls it.

mod decoder;

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use burn::store::{
    FloatCastAdapter, ModuleAdapter, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore,
};
use burn::tensor::{DType, Device, DeviceKind, Tensor, TensorData};
use decoder::{Config, Vae};
use ndarray::Array4;
use safetensors::{Dtype, SafeTensors};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn read_latents(path: &Path) -> Result<TensorData> {
    if path.extension().is_some_and(|extension| extension == "npy") {
        let array: Array4<f32> = ndarray_npy::read_npy(path)?;
        let shape = array.shape().to_vec();
        return Ok(TensorData::new(array.iter().copied().collect::<Vec<_>>(), shape));
    }
    let bytes = std::fs::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let latents = tensors.tensor("latents")?;
    if latents.dtype() != Dtype::F32 {
        return Err(format!("latents are {:?}, and not F32", latents.dtype()).into());
    }
    let (values, _) = latents.data().as_chunks::<4>();
    let values: Vec<f32> = values.iter().copied().map(f32::from_le_bytes).collect();
    Ok(TensorData::new(values, latents.shape().to_vec()))
}

fn load(folder: &Path, device: &Device) -> Result<Vae> {
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let mut vae = Vae::new(&config, device);
    let mut store = SafetensorsStore::from_file(folder.join("diffusion_pytorch_model.safetensors"))
        .with_from_adapter(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32)));
    let read = vae.load_from(&mut store)?;
    let of_encoder =
        |name: &&String| name.starts_with("encoder.") || name.starts_with("quant_conv.");
    let unused: Vec<_> = read.unused.iter().filter(|name| !of_encoder(name)).collect();
    if !read.missing.is_empty() || !unused.is_empty() {
        return Err(format!("missing weights: {:?}, unused: {unused:?}", read.missing).into());
    }
    Ok(vae)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, latents, output, decodes, kind) = match &arguments[..] {
        [folder, latents, output, decodes] => {
            (folder, latents, output, decodes, DeviceKind::DefaultDevice)
        }
        [folder, latents, output, decodes, cpu] if cpu == "cpu" => {
            (folder, latents, output, decodes, DeviceKind::Cpu)
        }
        _ => return Err("usage: compare-burn VAE_FOLDER LATENTS OUTPUT.npy DECODES [cpu]".into()),
    };
    let device = Device::wgpu(kind);
    let identity = device.identity().ok_or("the device does not say what it is")?;
    let vae = load(Path::new(folder), &device)?;
    let latents = read_latents(Path::new(latents))?;
    // So that no decode waits for weights.
    device.sync()?;

    let mut seconds = Vec::new();
    let mut picture = None;
    for _ in 0..decodes.parse::<usize>()? {
        let start = Instant::now();
        let decoded = vae.decode(Tensor::from_data(latents.clone(), &device));
        // Waits for the device: to the picture on the host, as halovae's seconds do.
        let decoded = decoded.try_into_data()?;
        seconds.push(start.elapsed().as_secs_f64());
        picture = Some(decoded);
    }
    let picture = picture.ok_or("nothing was decoded")?;
    let extents: [usize; 4] = picture.shape().to_vec().try_into().map_err(|_| "four extents")?;
    let picture = Array4::from_shape_vec(extents, picture.try_into_vec::<f32>()?)?;
    ndarray_npy::write_npy(output, &picture)?;
    println!("{}", serde_json::json!({ "adapter": identity.name, "seconds": seconds }));
    Ok(())
}
