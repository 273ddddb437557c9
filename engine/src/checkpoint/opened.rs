//! An opened checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::{ConfigError, VaeConfig};
use super::config_file::{read_config, read_text};
use super::contents::Sorted;
use super::error::CheckpointError;
use super::family::{Family, Found, Inferred, UntoldSpace};
use super::folder::Located;
use super::keys::{Keys, Naming};
use super::registry::{ConfigText, Evidence};
use super::tensors::Stored;
use super::verify::WeightsError;
use super::view::TensorView;
use super::{contents, folder, prefix, registry, tensors, verify};
use crate::files::storage::Storage;
use crate::files::text;
use crate::latents::LatentSpace;

/// Where a checkpoint's config is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// This file.
    File(PathBuf),
    /// The caller gave it.
    Given,
    /// The shapes of the weights; [`Checkpoint::guessed`] names what they do not tell.
    Shapes,
}

/// The config and the decoder weights of a VAE.
///
/// The files stay mapped as long as this lives. A file that another process truncates meanwhile
/// ends this one (SIGBUS), as with any mapped file; replacing it by renaming another over it, as
/// download tools do, is safe.
#[derive(Debug)]
pub struct Checkpoint {
    pub(super) path: PathBuf,
    pub(super) variant: Option<String>,
    pub(super) weight_files: Vec<PathBuf>,
    pub(super) config: Box<dyn VaeConfig>,
    pub(super) config_source: ConfigSource,
    pub(super) sources: Vec<PathBuf>,
    pub(super) model: Option<&'static str>,
    pub(super) guessed: Vec<&'static str>,
    pub(super) untold: Option<UntoldSpace>,
    pub(super) keys: Keys,
    pub(super) files: Vec<Storage>,
    pub(super) weights: BTreeMap<String, Stored>,
    pub(super) ignored: Vec<String>,
}

impl Checkpoint {
    /// Opens the checkpoint at `path`.
    ///
    /// The config is that of the file `config_override`; else the `config.json` in the folder, or
    /// beside a file named `diffusion_pytorch_model...`; else it is inferred from the shapes.
    ///
    /// # Errors
    /// [`CheckpointError`] names the file and what is wrong with it. Whether the weights are those
    /// of a decoder of this config is for [`verify`](Self::verify) to say.
    pub fn open(path: &Path, config_override: Option<&Path>) -> Result<Self, CheckpointError> {
        Self::open_variant(path, config_override, None)
    }

    /// As [`open`](Self::open), with the weights of a folder that are called after `variant`: `fp16`
    /// for `diffusion_pytorch_model.fp16.safetensors`.
    ///
    /// Without a variant these are the plain weights; else those in another type (`fp32`, `fp16`,
    /// `bf16`, the first of them that is there); else the only ones.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`CheckpointError::Variant`] for a variant that is not there,
    /// or for several of which none is the plain one's and none was chosen.
    pub fn open_variant(
        path: &Path,
        config_override: Option<&Path>,
        variant: Option<&str>,
    ) -> Result<Self, CheckpointError> {
        let located = folder::locate(path, variant).map_err(explain_missing_weights)?;
        let config_path = config_override.map(PathBuf::from).or(located.config.clone());
        let config = match &config_path {
            None => None,
            Some(path) => Some(GivenConfig { text: read_text(path)?, file: Some(path.clone()) }),
        };
        let files = located
            .weights
            .iter()
            .map(|path| Storage::map(path).map_err(|source| CheckpointError::io(path, source)));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let index = located.index.as_ref().map(|index| index.path.clone());
        let mut sources = located.weights.clone();
        let beside = [config_path, located.reference.clone()].into_iter().flatten();
        sources.extend(index.into_iter().chain(beside));
        sources.extend(located.pipeline.as_ref().map(|pipeline| pipeline.file.clone()));
        Ok(Self { sources, ..Self::assemble(located, files, config)? })
    }

    /// Reads a checkpoint of one file from memory. `config` is as the override of
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), with `<memory>` for the file.
    pub fn from_bytes(
        bytes: Vec<u8>,
        config: Option<Box<dyn VaeConfig>>,
    ) -> Result<Self, CheckpointError> {
        let path = PathBuf::from("<memory>");
        let located = Located::alone(path.clone());
        if let Some(config) = &config {
            config.validate().map_err(|source| CheckpointError::Config { path, source })?;
        }
        let config = config.map(|config| GivenConfig { text: ConfigText::Of(config), file: None });
        Self::assemble(located, vec![Storage::Owned(bytes)], config)
    }

    fn assemble(
        located: Located,
        files: Vec<Storage>,
        config: Option<GivenConfig>,
    ) -> Result<Self, CheckpointError> {
        let tensors = contents::collect(&located, &files)?;
        let Located { path, weights: weight_files, variant, pipeline, .. } = located;
        let names = tensors.iter().map(|tensor| tensor.name.as_str());
        let prefix = prefix::find(names.clone(), registry::anchors()).map_err(|found| {
            let prefixes = found.into_iter().map(|prefix| format!("`{prefix}`")).collect();
            CheckpointError::Several { path: path.clone(), prefixes }
        })?;
        let of_vae = tensors::of_vae(&tensors, prefix);
        let (told, evidence) = match registry::of_tensors(of_vae.clone()) {
            Evidence::Family(family, evidence) => (family, evidence),
            Evidence::Unsupported(family, evidence) => {
                return Err(CheckpointError::Unsupported {
                    path,
                    models: family.models,
                    evidence: format!("{prefix}{evidence}"),
                    classes_are: registry::classes_are(),
                    supported: registry::models(),
                });
            }
        };
        let config = config.map(|given| given.beside(told, &path)).transpose()?;
        let family = match &config {
            None => told,
            Some((config, _)) => registry::of_config(&**config)
                .map_err(|source| CheckpointError::Config { path: path.clone(), source })?,
        };
        if let Some(evidence) = evidence.filter(|_| !registry::may_be(family, of_vae)) {
            return Err(CheckpointError::OtherFamily {
                path,
                told: told.about().class(),
                evidence: format!("{prefix}{evidence}"),
                class: family.about().class(),
            });
        }
        let mut names = names.filter_map(|name| name.strip_prefix(prefix));
        let keys = Keys { prefix: prefix.into(), names: family.names(&mut names) };
        let Sorted { weights, unknown } = contents::sort_out(&path, &keys, &files, &tensors)?;
        if weights.is_empty() {
            let problem = match unknown.is_empty() {
                true => "expected tensors `decoder.*`, alone or under a prefix such as \
                         `first_stage_model.` or `vae.`"
                    .into(),
                false => {
                    format!("expected tensors `decoder.*`, found {}", text::names(&unknown))
                }
            };
            return Err(CheckpointError::NoDecoder { path, problem });
        }
        let not_inferable = |problem| CheckpointError::NotInferable {
            path: path.clone(),
            class: family.about().class(),
            problem,
        };
        let pipeline = pipeline.as_ref().map(|pipeline| pipeline.class.as_str());
        let found = Found { weights: &weights, tensors: &tensors, files: &files, prefix, pipeline };
        let (inferred, config_source) = match config {
            Some((config, source)) => (Inferred::given(config), source),
            None => {
                let inferred = family.infer(&found).map_err(not_inferable)?;
                inferred.config.validate().map_err(|error| not_inferable(error.to_string()))?;
                (inferred, ConfigSource::Shapes)
            }
        };
        let Inferred { config, model, mut guessed, untold } = inferred;
        let config = family
            .complete(config, &found)
            .map_err(|problem| CheckpointError::Statistics { path: path.clone(), problem })?;
        guessed.extend(untold.iter().flat_map(|untold| untold.fields));
        Ok(Self {
            path,
            variant,
            weight_files,
            config,
            config_source,
            sources: Vec::new(),
            model,
            guessed,
            untold,
            keys,
            files,
            weights,
            ignored: unknown,
        })
    }

    /// The file, or the folder that holds the weights.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The variant that the names of the weights' files give, such as `fp16`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether the weights are the plain ones, in whatever type, by the names of their files.
    pub fn is_plain(&self) -> bool {
        self.variant.as_deref().is_none_or(folder::is_type)
    }

    /// The files of the weights: one, or all shards.
    pub fn weight_files(&self) -> &[PathBuf] {
        &self.weight_files
    }

    /// The config, validated.
    pub fn config(&self) -> &dyn VaeConfig {
        &*self.config
    }

    /// Where the config is from.
    pub fn config_source(&self) -> &ConfigSource {
        &self.config_source
    }

    /// Every file that this was read from: weights, the index of shards, the config, the hub cache's
    /// `refs/main` that told which snapshot is meant, and the index of the pipeline. Empty if it was read from memory.
    pub fn sources(&self) -> &[PathBuf] {
        &self.sources
    }

    /// The model that the VAE is part of, such as `SDXL`, where there is no config and the tensors
    /// beside the VAE tell.
    pub fn model(&self) -> Option<&'static str> {
        self.model
    }

    /// Fields of the config that neither shapes nor a [`model`](Self::model) tell, and that were set
    /// to those of the best known model of the same shapes; empty if there is a config file.
    ///
    /// Of an AutoencoderKL, `norm_num_groups` is 32, or the largest power of two that divides every
    /// channel count; 16 latent channels without post_quant_conv are taken for FLUX.1 (`sample_size`
    /// 1024), all else for SD 1.5 (512).
    pub fn guessed(&self) -> &[&'static str] {
        &self.guessed
    }

    /// Those of the [`guessed`](Self::guessed) fields that say how a pipeline's latents become what the
    /// decoder takes. They decode nothing: see [`latent_space`](Self::latent_space).
    pub fn guessed_of_space(&self) -> &'static [&'static str] {
        self.untold.as_ref().map_or(&[], |untold| untold.fields)
    }

    /// How latents of a pipeline become what the decoder takes.
    ///
    /// # Errors
    /// [`CheckpointError::UntoldSpace`] where there is neither a config nor a
    /// [`model`](Self::model), or parts of several that contradict each other, and VAEs of the same
    /// shapes have pipelines that scale latents differently: SD 1.5's and SDXL's, FLUX.1's and SD 3's.
    /// [`CheckpointError::NoStatistics`] where the weights should tell and do not.
    pub fn latent_space(&self) -> Result<LatentSpace, CheckpointError> {
        match &self.untold {
            None => self.config.latent_space().ok_or_else(|| {
                let family = registry::of_config(&*self.config);
                let tensors = family.map_or(&[][..], |family| family.about().space);
                CheckpointError::NoStatistics { path: self.path.clone(), tensors }
            }),
            Some(UntoldSpace { contradicting, reason, .. }) => Err(CheckpointError::UntoldSpace {
                path: self.path.clone(),
                models: contradicting.clone(),
                reason,
            }),
        }
    }

    /// How the file names its weights.
    pub fn naming(&self) -> Naming {
        self.keys.names.naming()
    }

    /// What precedes the names of the VAE's weights in the file, as `first_stage_model.`, or
    /// nothing. Letters, digits and `._-`, with a dot at the end.
    pub fn prefix(&self) -> &str {
        &self.keys.prefix
    }

    /// Names of the VAE's tensors that are outside the decoder and that are nothing known: left
    /// behind by a training, or a sign that this is another model. They may hold any character;
    /// [`listed_names`](super::listed_names) shows them. The encoder's weights are not among them.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Canonical names of the decoder's weights, `post_quant_conv` included, sorted. A decoder
    /// tensor that has no canonical name is among them under its own.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.weights.keys().map(String::as_str)
    }

    /// The weight of that canonical name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, stored) = self.weights.get_key_value(name)?;
        let bytes = self.files.get(stored.file)?.get(stored.range.clone())?;
        let Stored { dtype, shape, scales, .. } = stored;
        Some(TensorView { name, dtype: *dtype, shape, bytes, scales })
    }

    /// Compares the weights with the names and shapes that a decoder reads. What is
    /// [`ignored`](Self::ignored) does not count.
    ///
    /// # Errors
    /// One [`WeightsError`] with everything that is missing, misshapen, or that nothing reads.
    pub fn verify<'a>(
        &self,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<(), WeightsError> {
        verify::compare(&self.weights, expected).map_err(|error| {
            let (config, class) = match &self.config_source {
                ConfigSource::File(path) => {
                    (format!("`{}`", path.display()), Some(self.config.class()))
                }
                ConfigSource::Given => ("the given config".into(), Some(self.config.class())),
                ConfigSource::Shapes => {
                    ("the config inferred from some of its shapes".into(), None)
                }
            };
            WeightsError { path: self.path.as_path().into(), config: config.into(), class, ..error }
        })
    }
}

/// A config that was not inferred.
struct GivenConfig {
    text: ConfigText,
    /// Where it was read.
    file: Option<PathBuf>,
}

impl GivenConfig {
    /// The config, and where it is from, beside weights at `path` that are evidence of a family.
    fn beside(
        self,
        told: &dyn Family,
        path: &Path,
    ) -> Result<(Box<dyn VaeConfig>, ConfigSource), CheckpointError> {
        let Self { text, file } = self;
        let config = match text {
            ConfigText::Of(config) => config,
            ConfigText::OfNoClass(fields) => fields.beside(told).map_err(|source| {
                let path = file.clone().unwrap_or_else(|| path.into());
                CheckpointError::Config { path, source }
            })?,
        };
        Ok((config, file.map_or(ConfigSource::Given, ConfigSource::File)))
    }
}

/// A folder whose config is that of another model is first of all of another model.
fn explain_missing_weights(error: CheckpointError) -> CheckpointError {
    match &error {
        CheckpointError::NoWeights { config: Some(config), .. } => match read_config(config) {
            Err(wrong @ CheckpointError::Config { source: ConfigError::Class { .. }, .. }) => wrong,
            _ => error,
        },
        _ => error,
    }
}
