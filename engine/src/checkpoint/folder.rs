//! Which files a path means: a VAE's folder, a pipeline's, a model's in the hub's cache, shards, or
//! one file.

mod index;
mod inventory;
mod listing;
mod pipeline;
mod torch_index;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use index::Index;
pub(crate) use listing::is_type;
pub(crate) use pipeline::Pipeline;

use super::error::CheckpointError;
use super::file_names::{self as names, Form};
use crate::files::hub;
use crate::files::storage::explain_absence;
use crate::files::text::{escaped, shell};
use listing::{Chosen, Listing, Source};
use torch_index::TorchIndex;

/// The folder of a pipeline's VAE.
const VAE: &str = "vae";

/// The files of a checkpoint.
#[derive(Debug)]
pub(crate) struct Located {
    /// The folder or file that messages name.
    pub(crate) path: PathBuf,
    /// The config that lies with the weights.
    pub(crate) config: Option<PathBuf>,
    pub(crate) weights: Vec<PathBuf>,
    /// Which of `weights` has which tensor, if an index tells.
    pub(crate) index: Option<Index>,
    /// The variant that the names of the files give.
    pub(crate) variant: Option<String>,
    /// The file of the hub's cache that told which snapshot is meant.
    pub(crate) reference: Option<PathBuf>,
    /// The pipeline whose VAE it is, where its index lies beside the folder.
    pub(crate) pipeline: Option<Pipeline>,
}

impl Located {
    /// One file of weights, without anything beside it.
    pub(crate) fn alone(file: PathBuf) -> Self {
        let (path, weights) = (file.clone(), vec![file]);
        Self {
            path,
            config: None,
            weights,
            index: None,
            variant: None,
            reference: None,
            pipeline: None,
        }
    }
}

/// Finds the files that `path` means.
///
/// # Errors
/// [`CheckpointError`] says what lies there instead, and what to do.
pub(crate) fn locate(path: &Path, variant: Option<&str>) -> Result<Located, CheckpointError> {
    let located = locate_weights(path, variant)?;
    let folder = located.weights.first().and_then(|file| file.parent());
    let pipeline = folder.filter(|folder| folder.ends_with(VAE)).and_then(Pipeline::around);
    Ok(Located { pipeline, ..located })
}

fn locate_weights(path: &Path, variant: Option<&str>) -> Result<Located, CheckpointError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| CheckpointError::io(path, explain_path(path, source)))?;
    if !metadata.is_dir() {
        return in_file(path, variant);
    }
    let snapshot =
        hub::snapshot(path).map_err(|found| CheckpointError::no_weights(path, None, found))?;
    let Some(hub::Snapshot { folder, reference }) = snapshot else {
        return in_folders(path, None, variant);
    };
    match in_folders(&folder, folder.parent(), variant) {
        Ok(located) => Ok(Located { reference, ..located }),
        Err(CheckpointError::NoWeights { path, config, found, mut sources }) => {
            sources.extend(reference);
            Err(CheckpointError::NoWeights { path, config, found, sources })
        }
        Err(error) => Err(error),
    }
}

/// In `folder`, or the VAE's in it; other snapshots of the model are in `around`.
fn in_folders(
    folder: &Path,
    around: Option<&Path>,
    variant: Option<&str>,
) -> Result<Located, CheckpointError> {
    let outer = Listing::read(folder)?;
    if let Some(chosen) = outer.choose(variant)? {
        return in_folder(&outer, chosen);
    }
    let inner = Some(folder.join(VAE)).filter(|inner| inner.is_dir());
    let inner = inner.map(|inner| Listing::read(&inner)).transpose()?;
    if let Some(inner) = &inner
        && let Some(chosen) = inner.choose(variant)?
    {
        return in_folder(inner, chosen);
    }
    let places: Vec<Listing> = inner.into_iter().chain([outer]).collect();
    let own = &places[0];
    if let Some(file) = own.only_file().filter(|_| variant.is_none()) {
        let config = own.config();
        return Ok(Located { config, ..Located::alone(file) });
    }
    let around = around.and_then(|around| Listing::read(around).ok());
    let found = inventory::explain(&places, around.as_ref());
    Err(CheckpointError::no_weights(&own.folder, own.config(), found))
}

fn in_folder(listing: &Listing, chosen: Chosen) -> Result<Located, CheckpointError> {
    let (weights, index) = match chosen.source {
        Source::Whole(file) => (vec![file], None),
        Source::Shards(files) => (files, None),
        Source::Index(index) => index::read(&index).map(|(files, index)| (files, Some(index)))?,
    };
    let variant = Some(chosen.variant).filter(|variant| !variant.is_empty());
    let (path, config) = (listing.folder.clone(), listing.config());
    Ok(Located { path, config, weights, index, variant, reference: None, pipeline: None })
}

/// One file, or all shards for one of them or for their index.
fn in_file(path: &Path, wanted: Option<&str>) -> Result<Located, CheckpointError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let known = names::weights(name);
    let variant = known.as_ref().map(|(variant, _)| *variant).unwrap_or_default();
    if let Some(wanted) = wanted.filter(|&wanted| wanted != variant) {
        let problem = format!(
            "is one file, which has no variant {}; leave the variant out, or give a folder",
            escaped(wanted)
        );
        return Err(CheckpointError::Variant { path: path.into(), problem });
    }
    let is_ours = name.starts_with(names::STEM);
    let config = Some(path.with_file_name("config.json"));
    let config = config.filter(|config| is_ours && config.symlink_metadata().is_ok());
    let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
    let located = Located { config, variant, ..Located::alone(path.into()) };
    let is_index = matches!(known, Some((_, Form::Index)))
        || (name.contains(".safetensors") && name.ends_with(".index.json"));
    if is_index {
        let (weights, index) = index::read(path)?;
        return Ok(Located { weights, index: Some(index), ..located });
    }
    if names::torch_index(name).is_some() {
        let problem = TorchIndex::read(path)?.remedy();
        return Err(CheckpointError::Index { path: path.into(), problem });
    }
    let Some(shard) = names::shard(name).filter(|_| name.ends_with(".safetensors")) else {
        return Ok(located);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let weights = listing::shards(folder, shard).map_err(|problem| {
        let problem = format!("is one of several shards; {problem}");
        CheckpointError::Shard { path: path.into(), problem }
    })?;
    Ok(Located { weights, ..located })
}

/// Why there is nothing at `path`, where more can be said than the system does.
fn explain_path(path: &Path, error: io::Error) -> io::Error {
    let kind = error.kind();
    let error = explain_absence(path, error);
    // `organisation/name` is how the hub calls models.
    let mut parts = path.components();
    let is_name = parts.next().is_some_and(|part| !Path::new(&part).exists())
        && parts.next().is_some()
        && parts.next().is_none()
        && path.is_relative()
        && path.extension().is_none_or(|ending| ending.len() < 3);
    if kind != io::ErrorKind::NotFound || !is_name {
        return error;
    }
    let hint = "if it is the name of a model on the Hugging Face hub, download it and give the folder \
                that this prints";
    io::Error::new(kind, format!("{error}; {hint}: `hf download {}`", shell(path)))
}
