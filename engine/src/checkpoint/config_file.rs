//! A `config.json` by itself.

use std::path::Path;

use super::config::{self, ConfigError, VaeConfig};
use super::error::CheckpointError;
use super::registry::{ConfigText, parse_config};
use crate::files::sniff::{self, FileKind};
use crate::files::storage;

/// Reads a `config.json`: all that a plan needs of a VAE.
///
/// # Errors
/// [`CheckpointError::Io`] and [`CheckpointError::Config`] name the file.
pub fn read_config(path: &Path) -> Result<Box<dyn VaeConfig>, CheckpointError> {
    read(path, parse_config)
}

/// Reads a `config.json` that has weights beside it.
///
/// # Errors
/// As [`read_config`].
pub(super) fn read_text(path: &Path) -> Result<ConfigText, CheckpointError> {
    read(path, ConfigText::parse)
}

fn read<T>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, ConfigError>,
) -> Result<T, CheckpointError> {
    let limit = config::MAX_JSON_BYTES;
    let io = |source| CheckpointError::io(path, source);
    let config = match storage::read_small(path, limit).map_err(io)? {
        Some(bytes) => parse(&bytes),
        None => Err(match sniff::sniff(&storage::read_head(path).map_err(io)?) {
            None | Some(FileKind::Text(_)) => ConfigError::TooLarge { limit },
            Some(found) => ConfigError::OtherFormat { found },
        }),
    };
    config.map_err(|source| CheckpointError::Config { path: path.into(), source })
}
