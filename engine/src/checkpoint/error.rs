//! What can be wrong with a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use super::config::ConfigError;
use crate::files::header::HeaderError;
use crate::files::text;

/// Why a checkpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A folder without weights that are read.
    #[error("`{}` has no weights{found}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// The config that lies there all the same.
        config: Option<PathBuf>,
        /// What lies there instead and what to do, with leading punctuation.
        found: String,
        /// The files that were read all the same: that config, and what the hub's cache has for a
        /// reference to the folder.
        sources: Vec<PathBuf>,
    },
    /// A variant that is not there, or several without a choice between them.
    #[error("`{}` {problem}", path.display())]
    Variant {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and which variants there are.
        problem: String,
    },
    /// Shards of which some are missing.
    #[error("`{}` {problem}", path.display())]
    Shard {
        /// One of the shards.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A file of weights that is none.
    #[error("`{}` {source}{help}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// A command that helps, with leading punctuation; empty if there is none.
        help: String,
        /// What is wrong.
        #[source]
        source: HeaderError,
    },
    /// The index of a sharded checkpoint.
    #[error("index `{}`: {problem}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A config, read or inferred.
    #[error("config `{}` {source}", path.display())]
    Config {
        /// The file that it was read from.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ConfigError,
    },
    /// No config, and the weights do not tell it.
    #[error(
        "the decoder in `{}` is not that of an {class}: {problem}; give the config.json that belongs \
         to it, if it is one",
        path.display()
    )]
    NotInferable {
        /// The file or folder of the weights.
        path: PathBuf,
        /// The class of diffusers that it was taken for.
        class: &'static str,
        /// What is missing or odd.
        problem: String,
    },
    /// No config, and nothing that tells how a pipeline scales latents.
    #[error(
        "{}; give the config.json in the folder `vae` of the model's pipeline",
        untold(.path, .models, .reason)
    )]
    UntoldSpace {
        /// The file or folder of the weights.
        path: PathBuf,
        /// The models that have parts in it, where these contradict each other: several, or one
        /// whose VAE is another.
        models: Vec<&'static str>,
        /// What makes a guess useless, as the end of a sentence.
        reason: &'static str,
    },
    /// Weights without what pipelines normalize latents by.
    #[error(
        "`{}` does not tell how latents of a pipeline are normalized: its statistics ({}) are missing or \
         damaged; take the complete VAE",
        path.display(),
        text::listed(tensors.iter().map(|name| format!("`{name}`")))
    )]
    NoStatistics {
        /// The file or folder of the weights.
        path: PathBuf,
        /// The tensors that should tell.
        tensors: &'static [&'static str],
    },
    /// What pipelines normalize latents by is damaged, or of another VAE.
    #[error("`{}` {problem}", path.display())]
    Statistics {
        /// The file or folder of the weights.
        path: PathBuf,
        /// What is wrong, with the name of the tensor.
        problem: String,
    },
    /// A model that is known and not supported.
    #[error(
        "`{}` holds {models}: it has {}; that is not supported, only {classes_are} ({supported})",
        path.display(),
        text::escaped(.evidence)
    )]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// What the model is.
        models: &'static str,
        /// The tensor that tells it.
        evidence: String,
        /// The classes that are supported, with their verb.
        classes_are: String,
        /// The models whose VAEs are supported.
        supported: String,
    },
    /// Weights of one family and the config of another.
    #[error(
        "`{}` holds the weights of an {told}: it has {}; its config is that of an {class}, give the \
         one that belongs to the weights",
        path.display(),
        text::escaped(.evidence)
    )]
    OtherFamily {
        /// The file or folder of the weights.
        path: PathBuf,
        /// The class of diffusers that has such weights.
        told: &'static str,
        /// The tensor that tells it.
        evidence: String,
        /// The class that the config is of.
        class: &'static str,
    },
    /// Several VAEs in one file.
    #[error(
        "`{}` holds several VAEs, under {}; expected one: save it to a file of its own",
        path.display(),
        text::listed(.prefixes)
    )]
    Several {
        /// The file or folder.
        path: PathBuf,
        /// What precedes the names of each.
        prefixes: Vec<String>,
    },
    /// Nothing of a decoder.
    #[error("`{}` holds no decoder: {problem}", path.display())]
    NoDecoder {
        /// The file or folder.
        path: PathBuf,
        /// What it holds instead.
        problem: String,
    },
    /// Weights in types that are not converted.
    #[error(
        "`{}` holds weights in unsupported types: {}; expected F32, F16, BF16, F8_E4M3 \
         or F8_E5M2, convert it first",
        path.display(),
        dtypes(.weights)
    )]
    Dtypes {
        /// The file or folder.
        path: PathBuf,
        /// Names and the types that the file gives.
        weights: Vec<(String, String)>,
    },
    /// A scale that does not fit its weight.
    #[error("`{}` {problem}", path.display())]
    Scale {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Two tensors for one weight.
    #[error(
        "`{}` has two tensors for {}: {} and {}; expected one naming and one copy",
        path.display(),
        text::escaped(.name),
        text::escaped(.first),
        text::escaped(.second)
    )]
    Duplicate {
        /// The file or folder.
        path: PathBuf,
        /// The weight's canonical name.
        name: String,
        /// A tensor, as the file calls it.
        first: String,
        /// The other.
        second: String,
    },
}

fn dtypes(weights: &[(String, String)]) -> String {
    text::listed(weights.iter().map(|(name, dtype)| format!("{} is {dtype}", text::escaped(name))))
}

fn untold(path: &Path, models: &[&str], reason: &str) -> String {
    let path = path.display();
    let contradiction =
        format!("the parts of `{path}` contradict each other in how a pipeline scales its latents");
    match models {
        [] => format!("nothing in `{path}` says how a pipeline scales its latents: {reason}"),
        [one] => format!(
            "{contradiction}: there are tensors of {one}, but the VAE has another number of latent \
             channels"
        ),
        [first, others @ ..] => format!(
            "{contradiction}: there are tensors of {first}, and such of {}",
            others.join(", and of ")
        ),
    }
}

impl CheckpointError {
    /// What was `found` in the folder `path` without weights, of whose files the config was read.
    pub(crate) fn no_weights(path: &Path, config: Option<PathBuf>, found: String) -> Self {
        let sources = config.iter().cloned().collect();
        Self::NoWeights { path: path.into(), config, found, sources }
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
