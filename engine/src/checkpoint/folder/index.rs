//! The index of a sharded checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::file_names::MAX_SHARDS;
use crate::files::hub;
use crate::files::sniff::{FileKind, NotJson, parse_json};
use crate::files::storage::{broken_link, read_small};
use crate::files::text::quoted;

const MAX_INDEX_BYTES: usize = 16 << 20;

/// Which shard holds what.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) path: PathBuf,
    /// The shard of each tensor, as a position in the list of them.
    pub(crate) assigned: BTreeMap<String, usize>,
}

/// Reads the index at `path`; the shards lie beside it.
pub(super) fn read(path: &Path) -> Result<(Vec<PathBuf>, Index), CheckpointError> {
    let (names, shards) = parse(path)?;
    let mut weights = Vec::with_capacity(shards.len());
    let mut positions = BTreeMap::new();
    for (shard, file) in shards {
        if let Some(missing) = missing(&file) {
            let problem = format!("shard {} {missing}", quoted(&shard));
            return Err(CheckpointError::Index { path: path.into(), problem });
        }
        positions.insert(shard, weights.len());
        weights.push(file);
    }
    let assigned = names.into_iter().map(|(name, shard)| (name, positions[&shard])).collect();
    Ok((weights, Index { path: path.into(), assigned }))
}

/// The shards that the index at `path` names, whether they are there or not.
pub(super) fn shards(path: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    parse(path).map(|(_, shards)| shards.into_values().collect())
}

/// The shard of each tensor, and the file of each shard.
type Parsed = (BTreeMap<String, String>, BTreeMap<String, PathBuf>);

fn parse(path: &Path) -> Result<Parsed, CheckpointError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let bytes =
        read_small(path, MAX_INDEX_BYTES).map_err(|source| CheckpointError::io(path, source))?;
    let problem = |problem: String| CheckpointError::Index { path: path.into(), problem };
    let bytes =
        bytes.ok_or_else(|| problem(format!("it has more than {MAX_INDEX_BYTES} bytes")))?;
    let names = weight_map(&bytes).map_err(problem)?;

    let shards: BTreeSet<&str> = names.values().map(String::as_str).collect();
    if shards.len() > MAX_SHARDS {
        return Err(problem(format!("it names {} shards, at most {MAX_SHARDS}", shards.len())));
    }
    if let Some(outside) = shards.iter().find(|shard| !stays_inside(shard)) {
        let shard = quoted(outside);
        return Err(problem(format!(
            "shard {shard} lies outside the folder; expected a plain file name"
        )));
    }
    let shards = shards.into_iter().map(|shard| (shard.to_owned(), folder.join(shard))).collect();
    Ok((names, shards))
}

/// If the shard is not there: that it is not, and what to do.
pub(super) fn missing(shard: &Path) -> Option<String> {
    if let Some(problem) = broken_link(shard) {
        return Some(format!("is missing: {problem}"));
    }
    if shard.exists() {
        return None;
    }
    Some(match hub::download(shard) {
        Some(command) => format!("is missing; download it: {command}"),
        None => "is missing; download the folder again".into(),
    })
}

fn weight_map(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    const EXPECTED: &str = "expected an object `weight_map` from tensor names to file names";
    let value = parse_json(bytes, &FileKind::ShardIndex).map_err(|error| match error {
        NotJson::Syntax(error) => format!("it is not JSON ({error})"),
        NotJson::Other(kind) => format!("it is {kind}{}", kind.remedy()),
    })?;
    let Some(Value::Object(map)) = value.get("weight_map") else {
        return Err(EXPECTED.into());
    };
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
