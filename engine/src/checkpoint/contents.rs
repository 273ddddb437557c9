//! The tensors of a checkpoint's files, and which of them are weights of the decoder.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::Path;

use super::dtype::Dtype;
use super::error::CheckpointError;
use super::folder::Located;
use super::header::{self, HeaderError, TensorInfo};
use super::infer::Surroundings;
use super::keys::{self, KeyMap, Role};
use super::sniff::FileKind;
use super::storage::Storage;
use super::{convert, hub, text};

/// A weight's place in the files.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) file: usize,
    /// The name in the file.
    pub(crate) raw_name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
}

/// A tensor as its file has it.
pub(crate) struct RawTensor {
    pub(crate) name: String,
    file: usize,
    info: TensorInfo,
}

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

/// What the tensors beside the decoder tell about the model.
pub(crate) fn surroundings(tensors: &[RawTensor], prefix: &str) -> Surroundings {
    let find = |wanted: &str| {
        tensors.iter().find(|tensor| tensor.name.strip_prefix(prefix) == Some(wanted))
    };
    let encoder_channels = find("encoder.conv_in.weight")
        .and_then(|tensor| u32::try_from(*tensor.info.shape.get(1)?).ok());
    Surroundings { has_quant_conv: find("quant_conv.weight").is_some(), encoder_channels }
}

/// The decoder's weights by canonical name, and names that are nothing known.
pub(crate) fn sort_out(
    path: &Path,
    key_map: &KeyMap,
    tensors: Vec<RawTensor>,
) -> Result<(BTreeMap<String, Stored>, Vec<String>), CheckpointError> {
    let mut weights = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut refused = Vec::new();
    for RawTensor { name: raw_name, file, info } in tensors {
        let name = match key_map.role(&raw_name) {
            Role::Other => continue,
            Role::Unknown => {
                unknown.push(raw_name);
                continue;
            }
            Role::Decoder(name) => name,
        };
        let Some(dtype) = Dtype::from_file(info.dtype) else {
            refused.push((raw_name, info.dtype.to_string()));
            continue;
        };
        let mut shape = info.shape;
        if keys::is_attention_matrix(&name) && matches!(shape[..], [_, _, 1] | [_, _, 1, 1]) {
            shape.truncate(2);
        }
        match weights.entry(name) {
            Entry::Vacant(slot) => {
                slot.insert(Stored { file, raw_name, dtype, shape, range: info.range });
            }
            Entry::Occupied(slot) => {
                return Err(CheckpointError::Duplicate {
                    path: path.into(),
                    name: slot.key().clone(),
                    first: slot.get().raw_name.clone(),
                    second: raw_name,
                });
            }
        }
    }
    if !refused.is_empty() {
        return Err(CheckpointError::Dtypes { path: path.into(), weights: refused });
    }
    Ok((weights, unknown))
}
