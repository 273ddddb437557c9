//! The files of a checkpoint, how they name tensors, and what the config says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halovae_engine::checkpoint::{Checkpoint, ConfigSource, Detail, Naming};
use halovae_engine::program::Program;
use serde::{Serialize, Serializer};

/// A checkpoint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckpointFacts {
    /// The file or the folder.
    pub path: PathBuf,
    /// Names of the files with weights.
    pub files: Vec<String>,
    /// The class in diffusers.
    pub class: &'static str,
    /// Whose names of tensors it has, where they are not diffusers'.
    pub original: Option<&'static str>,
    /// What stands before the VAE's names in a file of a whole model; else empty.
    pub prefix: String,
    /// Where the config is from.
    pub config: ConfigOrigin,
    /// How many tensors of each type there are.
    pub dtypes: BTreeMap<String, usize>,
    /// Values of the decoder's weights.
    pub parameters: usize,
    /// What the config says of the decoder and its latents, in the order in which a reader wants to know it.
    #[serde(serialize_with = "as_map")]
    pub details: Vec<(&'static str, Detail)>,
}

/// Where a config is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigOrigin {
    /// A file.
    File(PathBuf),
    /// The caller.
    Given,
    /// The shapes of the weights.
    Shapes {
        /// The model that has them, if one is known.
        model: Option<&'static str>,
        /// Fields that they do not tell.
        guessed: Vec<&'static str>,
    },
}

impl CheckpointFacts {
    pub(super) fn new(checkpoint: &Checkpoint, program: &Program) -> Self {
        let names = checkpoint.weight_files().iter().filter_map(|file| file.file_name());
        let mut dtypes: BTreeMap<_, usize> = BTreeMap::new();
        for view in checkpoint.names().filter_map(|name| checkpoint.tensor(name)) {
            *dtypes.entry(view.dtype.to_string()).or_default() += 1;
        }
        let config = match checkpoint.config_source() {
            ConfigSource::File(path) => ConfigOrigin::File(path.clone()),
            ConfigSource::Given => ConfigOrigin::Given,
            ConfigSource::Shapes => ConfigOrigin::Shapes {
                model: checkpoint.model(),
                guessed: checkpoint.guessed().to_vec(),
            },
        };
        Self {
            path: checkpoint.path().into(),
            files: names.map(|name| name.to_string_lossy().into_owned()).collect(),
            class: checkpoint.config().class(),
            original: match checkpoint.naming() {
                Naming::Diffusers => None,
                Naming::Original(whose) => Some(whose),
            },
            prefix: checkpoint.prefix().into(),
            config,
            dtypes,
            parameters: program.weights().iter().map(|spec| spec.elements()).sum(),
            details: checkpoint.config().details(),
        }
    }
}

fn as_map<S: Serializer>(
    details: &[(&'static str, Detail)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(details.iter().map(|(name, detail)| (name, detail)))
}
