//! Picks the latents out of a safetensors file.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::Latents;
use super::error::LatentsError;
use super::layout::{Element, Extents, Kind, channels_last};
use crate::checkpoint::header::{self, TensorInfo};
use crate::checkpoint::text::{escaped, listed, quoted, shape};

/// Where ComfyUI puts the latents.
const COMFY_TENSOR: &str = "latent_tensor";
/// An empty tensor that says that the latents are not scaled.
const COMFY_VERSION: &str = "latent_format_version_0";
/// Files from before it hold latents of SD 1.5 as the diffusion model sees them.
const COMFY_OLD_SCALE: f64 = 0.18215;

/// Reads the only tensor, or that of `key`. A file with ComfyUI's version tensor is ComfyUI's,
/// whatever it is called.
pub(super) fn read_safetensors(bytes: &[u8], key: Option<&str>) -> Result<Latents, LatentsError> {
    let tensors = header::parse(bytes).map_err(LatentsError::Header)?;
    if tensors.contains_key(COMFY_VERSION) {
        return read_comfy_tensors(bytes, &tensors, key);
    }
    let info = match (key, tensors.len()) {
        (Some(key), _) => named(&tensors, key)?,
        (None, 0) => return Err(LatentsError::Empty),
        (None, count) => match tensors.first_key_value() {
            Some((_, info)) if count == 1 => info,
            _ => return Err(LatentsError::KeyNeeded { count, tensors: inventory(&tensors) }),
        },
    };
    read_tensor(bytes, info)
}

/// Reads what ComfyUI's `SaveLatent` writes. Latents there are in the VAE's own space; in files
/// without a version they are multiplied by SD 1.5's scaling factor, which is undone.
pub(super) fn read_comfy(bytes: &[u8], key: Option<&str>) -> Result<Latents, LatentsError> {
    let tensors = header::parse(bytes).map_err(LatentsError::Header)?;
    read_comfy_tensors(bytes, &tensors, key)
}

fn read_comfy_tensors(
    bytes: &[u8],
    tensors: &BTreeMap<String, TensorInfo>,
    key: Option<&str>,
) -> Result<Latents, LatentsError> {
    let key = key.unwrap_or(COMFY_TENSOR);
    let mut latents = read_tensor(bytes, named(tensors, key)?)?;
    if key == COMFY_TENSOR && !tensors.contains_key(COMFY_VERSION) {
        let factor = COMFY_OLD_SCALE.recip() as f32;
        latents.map_channels(|value, _| value * factor)?;
    }
    Ok(latents)
}

fn named<'a>(
    tensors: &'a BTreeMap<String, TensorInfo>,
    key: &str,
) -> Result<&'a TensorInfo, LatentsError> {
    tensors.get(key).ok_or_else(|| match tensors.is_empty() {
        true => LatentsError::Empty,
        false => LatentsError::NoSuchKey { key: quoted(key), tensors: inventory(tensors) },
    })
}

fn inventory(tensors: &BTreeMap<String, TensorInfo>) -> String {
    listed(tensors.iter().map(|(name, info)| format!("{} {}", escaped(name), shape(&info.shape))))
}

fn read_tensor(bytes: &[u8], info: &TensorInfo) -> Result<Latents, LatentsError> {
    let kind = match info.dtype {
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::Bf16,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        other => {
            let expected = "F32, F16, BF16 or F64";
            return Err(LatentsError::Dtype { found: other.to_string(), expected });
        }
    };
    let extents = Extents::new(&info.shape)?;
    let element = Element { kind, big_endian: false };
    let data = channels_last(&bytes[info.range.clone()], element, false, extents)?;
    Ok(Latents::from_extents(extents, data))
}
