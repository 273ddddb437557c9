//! The tensors of a checkpoint's files, and which of them are weights of the decoder.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::convert;
use super::dtype::{self, Dtype};
use super::error::CheckpointError;
use super::folder::Located;
use super::keys::{Keys, Role};
use super::tensors::{RawTensor, Stored};
use crate::files::header::{self, HeaderError};
use crate::files::sniff::FileKind;
use crate::files::storage::Storage;
use crate::files::{hub, text};

/// The tensors of all files. In a shard, those that the index assigns to another shard are left
/// out; a tensor that it does not mention counts, so that `verify` sees it.
pub(crate) fn collect(
    located: &Located,
    files: &[Storage],
) -> Result<Vec<RawTensor>, CheckpointError> {
    let assigned = |name: &str| located.index.as_ref().and_then(|index| index.assigned.get(name));
    let mut tensors = Vec::new();
    for (file, (path, storage)) in located.weights.iter().zip(files).enumerate() {
        let header = header::parse(storage).map_err(|source| {
            let help = help(path, &source);
            CheckpointError::Header { path: path.clone(), help, source }
        })?;
        if let Some(index) = &located.index {
            let lost = index
                .assigned
                .iter()
                .filter(|&(name, &shard)| shard == file && !header.contains_key(name))
                .map(|(name, _)| text::escaped(name));
            let lost: Vec<_> = lost.collect();
            if !lost.is_empty() {
                let shard = path.display();
                let problem = format!(
                    "shard `{shard}` lacks {}; download the folder again",
                    text::listed(lost)
                );
                return Err(CheckpointError::Index { path: index.path.clone(), problem });
            }
        }
        let here = header
            .into_iter()
            .filter(|(name, _)| assigned(name).is_none_or(|&shard| shard == file))
            .map(|(name, info)| RawTensor { name, file, info });
        tensors.extend(here);
    }
    Ok(tensors)
}

/// What helps with a file that is no safetensors file, with leading punctuation.
fn help(path: &Path, error: &HeaderError) -> String {
    let anew = || match hub::download_anew(path) {
        Some(command) => format!(": {command}"),
        None => String::new(),
    };
    match error {
        HeaderError::OtherFormat { found } if found.is_torch() => {
            format!("; {}", convert::from_torch(path))
        }
        HeaderError::OtherFormat { found: FileKind::Json | FileKind::ShardIndex } => {
            "; if it belongs to a VAE, give the folder".into()
        }
        HeaderError::HeaderTooLong { .. } => String::new(),
        _ => anew(),
    }
}

/// The tensors of a file, by what they are to the decoder.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// The decoder's weights by canonical name.
    pub(crate) weights: BTreeMap<String, Stored>,
    /// Names of what is nothing known, outside the decoder.
    pub(crate) unknown: Vec<String>,
}

/// Finds the decoder's weights.
pub(crate) fn sort_out(
    path: &Path,
    keys: &Keys,
    files: &[Storage],
    tensors: &[RawTensor],
) -> Result<Sorted, CheckpointError> {
    let mut sorted = Sorted::default();
    let mut scales = Vec::new();
    let mut refused = Vec::new();
    for RawTensor { name: raw_name, file, info } in tensors {
        let role = keys.role(raw_name);
        let name = match &role {
            Role::Other => continue,
            Role::Unknown => {
                sorted.unknown.push(raw_name.clone());
                continue;
            }
            Role::Decoder(name) | Role::Scale(name) => name.clone(),
        };
        let Some(dtype) = Dtype::from_file(info.dtype) else {
            refused.push((raw_name.clone(), info.dtype.to_string()));
            continue;
        };
        let shape = keys.names.shape(&name, info.shape.clone());
        let (file, raw_name, range) = (*file, raw_name.clone(), info.range.clone());
        let stored = Stored { file, raw_name, dtype, shape, range, scales: Vec::new() };
        match role {
            Role::Scale(_) => scales.push((name, stored)),
            _ => insert(path, &mut sorted.weights, name, stored)?,
        }
    }
    if !refused.is_empty() {
        return Err(CheckpointError::Dtypes { path: path.into(), weights: refused });
    }
    for (name, scale) in scales {
        match sorted.weights.get_mut(&name) {
            Some(weight) => attach(path, files, weight, &scale)?,
            // Nothing reads it, which `verify` tells.
            None => insert(path, &mut sorted.weights, scale.raw_name.clone(), scale)?,
        }
    }
    Ok(sorted)
}

fn insert(
    path: &Path,
    weights: &mut BTreeMap<String, Stored>,
    name: String,
    stored: Stored,
) -> Result<(), CheckpointError> {
    match weights.entry(name) {
        Entry::Vacant(slot) => {
            slot.insert(stored);
            Ok(())
        }
        Entry::Occupied(slot) => Err(CheckpointError::Duplicate {
            path: path.into(),
            name: slot.key().clone(),
            first: slot.get().raw_name.clone(),
            second: stored.raw_name,
        }),
    }
}

/// Reads the factors of a weight: one, or one for each output channel, `[out, 1, ...]`.
fn attach(
    path: &Path,
    files: &[Storage],
    weight: &mut Stored,
    scale: &Stored,
) -> Result<(), CheckpointError> {
    let problem = |problem| Err(CheckpointError::Scale { path: path.into(), problem });
    let [name, scaled_by] = [&weight.raw_name, &scale.raw_name].map(|name| text::escaped(name));
    if !weight.scales.is_empty() {
        return problem(format!("scales {name} twice; expected one of the two"));
    }
    let factors: usize = scale.shape.iter().product();
    let per_channel = scale.shape.len() > 1 && scale.shape.first() == weight.shape.first();
    if factors != 1 && !(per_channel && scale.shape.first() == Some(&factors)) {
        let [extents, shape] = [&scale.shape, &weight.shape].map(|shape| text::shape(shape));
        return problem(format!(
            "scales {name} of {shape} by {scaled_by} of {extents}; expected one factor, or one for \
             each output channel"
        ));
    }
    weight.scales = vec![0.0; factors];
    dtype::to_f32(scale.dtype, &files[scale.file][scale.range.clone()], &mut weight.scales);
    Ok(())
}
