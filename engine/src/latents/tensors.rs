//! Finds the latents in a safetensors file.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::error::LatentsError;
use super::layout::{Element, Kind};
use super::stored::Stored;
use crate::files::header::{self, TensorInfo};
use crate::files::text::{escaped, listed, quoted, shape};

/// Where ComfyUI's `SaveLatent` puts the latents, in the VAE's own space.
const COMFY_TENSOR: &str = "latent_tensor";
/// An empty tensor in its files, but not in the first ones...
const COMFY_VERSION: &str = "latent_format_version_0";
/// ...whose latents are multiplied by the scaling factor of SD 1.5.
const COMFY_OLD_SCALE: f64 = 0.18215;

/// Finds the tensor of `key`; without a key ComfyUI's, or the only one.
pub(super) fn find(bytes: &[u8], key: Option<&str>) -> Result<Stored, LatentsError> {
    let tensors = header::parse(bytes).map_err(LatentsError::Header)?;
    let comfys = tensors.contains_key(COMFY_TENSOR).then_some(COMFY_TENSOR);
    let (key, info) = match (key.or(comfys), tensors.len()) {
        (Some(key), _) => (key, named(&tensors, key)?),
        (None, 0) => return Err(LatentsError::Empty),
        (None, count) => match tensors.first_key_value() {
            Some((key, info)) if count == 1 => (key.as_str(), info),
            _ => return Err(LatentsError::KeyNeeded { count, tensors: inventory(&tensors) }),
        },
    };
    let factor = match tensors.contains_key(COMFY_VERSION) {
        true => 1.0,
        false => COMFY_OLD_SCALE.recip() as f32,
    };
    let comfy = (key == COMFY_TENSOR).then_some(factor);
    let element = Element { kind: kind(info.dtype)?, big_endian: false };
    let (shape, data) = (info.shape.clone(), info.range.clone());
    Ok(Stored { element, fortran_order: false, shape, data, comfy })
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

fn kind(dtype: Dtype) -> Result<Kind, LatentsError> {
    match dtype {
        Dtype::F16 => Ok(Kind::F16),
        Dtype::BF16 => Ok(Kind::Bf16),
        Dtype::F32 => Ok(Kind::F32),
        Dtype::F64 => Ok(Kind::F64),
        other => {
            let expected = "F32, F16, BF16 or F64";
            Err(LatentsError::Dtype { found: other.to_string(), expected })
        }
    }
}
