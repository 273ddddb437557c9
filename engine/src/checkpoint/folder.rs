//! Which files a path means: a VAE's folder, a pipeline's folder, shards, or one file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::error::CheckpointError;
use super::storage::read_small;
use super::text::quoted;

/// Beginning of the names that diffusers gives to weights.
const STEM: &str = "diffusion_pytorch_model";
const CONFIG: &str = "config.json";
/// Variants of a folder's weights; the plain one comes first.
const VARIANTS: [&str; 3] = ["", ".fp16", ".bf16"];
const MAX_INDEX_BYTES: usize = 16 << 20;
/// More shards than a VAE of any size has.
const MAX_SHARDS: usize = 1024;

/// The files of a checkpoint.
#[derive(Debug)]
pub(crate) struct Located {
    /// The folder or file that messages name.
    pub(crate) path: PathBuf,
    /// The config that lies with the weights.
    pub(crate) config: Option<PathBuf>,
    pub(crate) weights: Vec<PathBuf>,
    /// The shard that the index assigns to each tensor, as a position in `weights`.
    pub(crate) index: Option<Index>,
}

#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) path: PathBuf,
    pub(crate) assigned: BTreeMap<String, usize>,
}

/// Finds the files that `path` means.
pub(crate) fn locate(path: &Path) -> Result<Located, CheckpointError> {
    let metadata = std::fs::metadata(path).map_err(|source| CheckpointError::io(path, source))?;
    if !metadata.is_dir() {
        let config = sibling_config(path);
        return Ok(Located { path: path.into(), config, weights: vec![path.into()], index: None });
    }
    if let Some(located) = in_folder(path)? {
        return Ok(located);
    }
    let inner = path.join("vae");
    if inner.is_dir()
        && let Some(located) = in_folder(&inner)?
    {
        return Ok(located);
    }
    let folder = if inner.is_dir() { inner } else { path.into() };
    // A config of another class explains more than its missing weights.
    let config = Some(folder.join(CONFIG)).filter(|config| config.is_file());
    let pickled = folder.join(format!("{STEM}.bin")).is_file();
    Err(CheckpointError::NoWeights { path: folder, config, pickled })
}

/// The config beside a file that is part of a diffusers folder.
fn sibling_config(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    name.strip_prefix(STEM)?;
    Some(file.with_file_name(CONFIG)).filter(|config| config.is_file())
}

fn in_folder(folder: &Path) -> Result<Option<Located>, CheckpointError> {
    let config = Some(folder.join(CONFIG)).filter(|config| config.is_file());
    let located = |weights, index| Located { path: folder.into(), config, weights, index };
    for variant in VARIANTS {
        let whole = folder.join(format!("{STEM}{variant}.safetensors"));
        if whole.is_file() {
            return Ok(Some(located(vec![whole], None)));
        }
        let index = folder.join(format!("{STEM}.safetensors.index{variant}.json"));
        if index.is_file() {
            let (weights, index) = read_index(folder, index)?;
            return Ok(Some(located(weights, Some(index))));
        }
    }
    Ok(None)
}

fn read_index(folder: &Path, path: PathBuf) -> Result<(Vec<PathBuf>, Index), CheckpointError> {
    let bytes =
        read_small(&path, MAX_INDEX_BYTES).map_err(|source| CheckpointError::io(&path, source))?;
    let problem = |problem: String| CheckpointError::Index { path: path.clone(), problem };
    let bytes =
        bytes.ok_or_else(|| problem(format!("it has more than {MAX_INDEX_BYTES} bytes")))?;
    let names = weight_map(&bytes).map_err(problem)?;

    let shards: BTreeSet<&str> = names.values().map(String::as_str).collect();
    if shards.len() > MAX_SHARDS {
        return Err(problem(format!("it names {} shards, at most {MAX_SHARDS}", shards.len())));
    }
    let mut weights = Vec::with_capacity(shards.len());
    let mut positions = BTreeMap::new();
    for shard in shards {
        if !stays_inside(shard) {
            let shard = quoted(shard);
            return Err(problem(format!(
                "shard {shard} lies outside the folder; expected a plain file name"
            )));
        }
        let file = folder.join(shard);
        if let Err(source) = std::fs::metadata(&file)
            && source.kind() == io::ErrorKind::NotFound
        {
            return Err(problem(format!(
                "shard {} is missing; download the folder again",
                quoted(shard)
            )));
        }
        positions.insert(shard, weights.len());
        weights.push(file);
    }
    let assigned =
        names.iter().map(|(name, shard)| (name.clone(), positions[shard.as_str()])).collect();
    Ok((weights, Index { path, assigned }))
}

fn weight_map(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    const EXPECTED: &str = "expected an object `weight_map` from tensor names to file names";
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON ({error})"))?;
    let Some(Value::Object(map)) = value.get("weight_map") else { return Err(EXPECTED.into()) };
    if map.is_empty() {
        return Err(format!("its `weight_map` is empty, {EXPECTED}"));
    }
    map.iter()
        .map(|(name, shard)| match shard {
            Value::String(shard) => Ok((name.clone(), shard.clone())),
            _ => Err(format!("the shard of {} is not a string, {EXPECTED}", quoted(name))),
        })
        .collect()
}

/// Whether a relative path names something below the folder. Links are followed: the caches that
/// people download into are made of them.
fn stays_inside(shard: &str) -> bool {
    let normal = |component| matches!(component, Component::Normal(_));
    !shard.is_empty() && !shard.contains('\0') && Path::new(shard).components().all(normal)
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn only_paths_below_the_folder_are_shards() {
        for inside in ["a.safetensors", "parts/a.safetensors", "..a", "a..b"] {
            assert!(stays_inside(inside), "{inside}");
        }
        for outside in ["", "/a", "..", "../a", "a/../../b", "a/..", "./../a", "a\0b"] {
            assert!(!stays_inside(outside), "{outside}");
        }
    }
}
