//! The index of shards in torch's own format, which are not read, but converted.

use std::path::{Path, PathBuf};

use super::index;
use crate::checkpoint::convert;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::file_names;
use crate::files::sniff::sniff;
use crate::files::storage::read_head;
use crate::files::text::escaped;

/// The shards that such an index names.
pub(super) struct TorchIndex {
    shards: Vec<PathBuf>,
    /// The file that would hold all of them.
    whole: PathBuf,
}

impl TorchIndex {
    /// Reads the index at `path`.
    ///
    /// # Errors
    /// As of the index of shards that are read, but shards need not be there.
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let shards = index::shards(path)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let whole = file_names::torch_index(name).unwrap_or_else(|| name.to_owned());
        Ok(Self { shards, whole: path.with_file_name(whole) })
    }

    pub(super) fn names(&self, file: &Path) -> bool {
        self.shards.iter().any(|shard| shard == file)
    }

    /// What its shards are and what to do with them, as the end of a sentence about the index.
    pub(super) fn remedy(&self) -> String {
        let other = self.shards.iter().find_map(|shard| {
            let kind = sniff(&read_head(shard).ok()?).filter(|kind| !kind.is_torch())?;
            let name = shard.file_name().unwrap_or_default().to_string_lossy();
            Some(format!("its shard `{}` is {kind}{}", escaped(&name), kind.remedy()))
        });
        other.unwrap_or_else(|| {
            let command = convert::from_torch_shards(&self.shards, &self.whole);
            format!("its shards are in torch's own format, {command}")
        })
    }
}
