//! Checkpoints and latents as tests want them on disk, right or wrong.

use std::collections::BTreeMap;
use std::path::Path;

use halovae_engine::tensor::HostTensor;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::tensors;

/// A tensor as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements, little endian.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// A tensor of f32.
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }
}

/// A safetensors file in memory, to be changed and written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawFile {
    /// The tensors by name.
    pub tensors: BTreeMap<String, RawTensor>,
}

impl RawFile {
    /// Reads a file.
    ///
    /// # Panics
    /// If it is no safetensors file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let raw = |view: &TensorView<'_>| RawTensor {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        Self {
            tensors: file.tensors().iter().map(|(name, view)| (name.clone(), raw(view))).collect(),
        }
    }

    /// The latents of a model, as diffusers' users save them.
    pub fn latents(latents: &HostTensor) -> Self {
        let (values, shape) = tensors::channels_first(latents);
        let tensor = RawTensor::f32(&shape, &values);
        Self { tensors: BTreeMap::from([("latents".to_owned(), tensor)]) }
    }

    /// The latents of videos.
    pub fn video_latents(latents: &HostTensor) -> Self {
        let (values, shape) = tensors::video_channels_first(latents);
        let tensor = RawTensor::f32(&shape, &values);
        Self { tensors: BTreeMap::from([("latents".to_owned(), tensor)]) }
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// If a tensor's bytes do not fit its type and shape.
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, RawTensor { dtype, shape, bytes })| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).expect("bytes for the shape");
            (name.as_str(), view)
        });
        safetensors::serialize(views, None).expect("a safetensors file")
    }

    /// Writes the file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.to_bytes()).expect("a file in a folder of the test's own");
    }

    /// The same tensors under other names, each perhaps reshaped.
    pub fn renamed(&self, rename: impl Fn(&str, RawTensor) -> (String, RawTensor)) -> Self {
        let renamed = self.tensors.iter().map(|(name, tensor)| rename(name, tensor.clone()));
        Self { tensors: renamed.collect() }
    }
}

/// A safetensors file with any header and any data behind it.
pub fn safetensors_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// Copies a checkpoint folder (its config and weights) to a new folder.
///
/// # Panics
/// If something is not there or cannot be written.
pub fn copy_checkpoint(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder of the test's own");
    for file in [CONFIG, WEIGHTS] {
        std::fs::copy(from.join(file), to.join(file)).expect("a checkpoint's file");
    }
}

/// The name of a checkpoint's config.
pub const CONFIG: &str = "config.json";
/// The name of a checkpoint's weights.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
