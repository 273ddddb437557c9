//! The pipeline that a VAE's folder is part of.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checkpoint::config::MAX_JSON_BYTES;
use crate::files::storage::read_small;

/// What diffusers calls the index of a pipeline's folder.
const INDEX: &str = "model_index.json";

/// A pipeline of diffusers.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Its index.
    pub(crate) file: PathBuf,
    /// Its class.
    pub(crate) class: String,
}

impl Pipeline {
    /// The pipeline whose folder has `folder` in it, if there is an index that tells its class.
    pub(super) fn around(folder: &Path) -> Option<Self> {
        let file = match folder.parent()? {
            parent if parent.as_os_str().is_empty() => PathBuf::from(INDEX),
            parent => parent.join(INDEX),
        };
        let bytes = read_small(&file, MAX_JSON_BYTES).ok().flatten()?;
        let index: Value = serde_json::from_slice(&bytes).ok()?;
        let class = index.get("_class_name")?.as_str()?.to_owned();
        Some(Self { file, class })
    }
}
