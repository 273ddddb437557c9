//! Checkpoints: the config and the weights of a VAE decoder, as people have them on disk.
//!
//! Opened are a diffusers folder (`config.json` and `diffusion_pytorch_model.safetensors`, also its
//! `.fp16` and `.bf16` variants, also in shards with an index), a pipeline's folder with such a
//! folder `vae` in it, and a single `.safetensors` file in the naming of diffusers or of the
//! original LDM and BFL code, bare or under `first_stage_model.` or `vae.`.
//!
//! Weights are memory-mapped and known by their diffusers names whatever the file calls them. The
//! encoder's are not looked at. Files are not trusted: whatever a header claims is checked against
//! the bytes that are there, and no memory is set aside on its word.

mod config;
mod contents;
mod dtype;
mod error;
mod folder;
pub(crate) mod header;
mod infer;
mod keys;
pub(crate) mod storage;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use config::{AutoencoderKlConfig, ConfigError, MAX_LEVELS};
pub use dtype::Dtype;
pub use error::{CheckpointError, Misshapen, WeightsError};
pub use header::HeaderError;
pub use keys::Naming;

use contents::Stored;
use folder::Located;
use keys::KeyMap;
use storage::Storage;

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
    path: PathBuf,
    config: AutoencoderKlConfig,
    config_source: ConfigSource,
    sources: Vec<PathBuf>,
    key_map: KeyMap,
    files: Vec<Storage>,
    weights: BTreeMap<String, Stored>,
    unknown: Vec<String>,
}

/// One weight of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// The canonical (diffusers) name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, row major: `[out, in, kernel height, kernel width]` for a conv, `[out, in]` for
    /// the attention's projections, `[channels]` for norms and biases.
    pub shape: &'a [usize],
    /// Its elements, little endian, not aligned; as many as type and extents say.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Writes every element to `out` as f32, without rounding. Infinities and NaN stay what they
    /// are.
    ///
    /// # Panics
    /// If `out` has not exactly [`elements`](Self::elements) elements.
    pub fn to_f32_into(&self, out: &mut [f32]) {
        assert_eq!(
            out.len(),
            self.elements(),
            "`{}` has another number of elements than the buffer it is read into",
            self.name
        );
        dtype::to_f32(self.dtype, self.bytes, out);
    }
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
        let located = folder::locate(path).map_err(explain_missing_weights)?;
        let config_path = config_override.map(PathBuf::from).or(located.config.clone());
        let config = config_path
            .as_ref()
            .map(|path| read_config(path).map(|config| (config, ConfigSource::File(path.clone()))))
            .transpose()?;
        let files = located
            .weights
            .iter()
            .map(|path| Storage::map(path).map_err(|source| CheckpointError::io(path, source)));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let index = located.index.as_ref().map(|index| index.path.clone());
        let mut sources = located.weights.clone();
        sources.extend(index.into_iter().chain(config_path));
        Ok(Self { sources, ..Self::assemble(located, files, config)? })
    }

    /// Reads a checkpoint of one file from memory. `config` is as the override of
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), with `<memory>` for the file.
    pub fn from_bytes(
        bytes: Vec<u8>,
        config: Option<AutoencoderKlConfig>,
    ) -> Result<Self, CheckpointError> {
        let path = PathBuf::from("<memory>");
        let located =
            Located { path: path.clone(), config: None, weights: vec![path.clone()], index: None };
        if let Some(config) = &config {
            config.validate().map_err(|source| CheckpointError::Config { path, source })?;
        }
        let config = config.map(|config| (config, ConfigSource::Given));
        Self::assemble(located, vec![Storage::Owned(bytes)], config)
    }

    fn assemble(
        located: Located,
        files: Vec<Storage>,
        config: Option<(AutoencoderKlConfig, ConfigSource)>,
    ) -> Result<Self, CheckpointError> {
        let tensors = contents::collect(&located, &files)?;
        let path = located.path;
        let key_map = KeyMap::detect(tensors.iter().map(|tensor| tensor.name.as_str()));
        let surroundings = contents::surroundings(&tensors, key_map.prefix);
        let (weights, unknown) = contents::sort_out(&path, &key_map, tensors)?;
        if weights.is_empty() {
            let problem = match unknown.is_empty() {
                true => "expected tensors `decoder.*`, alone or under `first_stage_model.` or \
                         `vae.`"
                    .into(),
                false => format!(
                    "expected tensors `decoder.*`, found {}",
                    text::listed(unknown.iter().map(|name| text::escaped(name)))
                ),
            };
            return Err(CheckpointError::NoDecoder { path, problem });
        }
        let (config, config_source) = match config {
            Some(config) => config,
            None => {
                let config = infer::config(&weights, surroundings).map_err(|problem| {
                    CheckpointError::NotInferable { path: path.clone(), problem }
                })?;
                config.validate().map_err(|error| CheckpointError::NotInferable {
                    path: path.clone(),
                    problem: error.to_string(),
                })?;
                (config, ConfigSource::Shapes)
            }
        };
        let sources = Vec::new();
        Ok(Self { path, config, config_source, sources, key_map, files, weights, unknown })
    }

    /// The file, or the folder that holds the weights.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The config, validated.
    pub fn config(&self) -> &AutoencoderKlConfig {
        &self.config
    }

    /// Where the config is from.
    pub fn config_source(&self) -> &ConfigSource {
        &self.config_source
    }

    /// Every file that this was read from: weights, the index of shards, the config. Empty if it was
    /// read from memory.
    pub fn sources(&self) -> &[PathBuf] {
        &self.sources
    }

    /// Fields of the config that shapes do not tell and that were set to those of the best known
    /// model of the same shapes; empty if there is a config file.
    ///
    /// `norm_num_groups` is 32, or the largest power of two that divides every channel count.
    /// 16 latent channels without post_quant_conv are taken for FLUX.1 (`scaling_factor` 0.3611,
    /// `shift_factor` 0.1159, `sample_size` 1024), all else for SD 1.5 (0.18215, 0, 512). SDXL has
    /// the shapes of SD 1.5, and SD 3 those of FLUX.1. The scaling matters only for latents in the
    /// pipeline's space.
    pub fn guessed(&self) -> &'static [&'static str] {
        match self.config_source {
            ConfigSource::Shapes => &infer::GUESSED,
            ConfigSource::File(_) | ConfigSource::Given => &[],
        }
    }

    /// How the file names its weights.
    pub fn naming(&self) -> Naming {
        self.key_map.naming
    }

    /// What precedes the names of the VAE's weights in the file: `first_stage_model.`, `vae.`, or
    /// nothing.
    pub fn prefix(&self) -> &'static str {
        self.key_map.prefix
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
        Some(TensorView { name, dtype: stored.dtype, shape: &stored.shape, bytes })
    }

    /// Compares the weights with the names and shapes that a decoder reads.
    ///
    /// # Errors
    /// One [`WeightsError`] with everything that is missing, misshapen, or that nothing reads.
    pub fn verify<'a>(
        &self,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<(), WeightsError> {
        let expected: BTreeMap<_, _> = expected.into_iter().collect();
        let mut missing = Vec::new();
        let mut misshapen = Vec::new();
        for (&name, &shape) in &expected {
            match self.weights.get(name) {
                None => missing.push(name.to_owned()),
                Some(stored) if stored.shape != shape => misshapen.push(Misshapen {
                    name: name.into(),
                    expected: shape.into(),
                    found: stored.shape.clone(),
                }),
                Some(_) => {}
            }
        }
        let unread = self.weights.iter().filter(|(name, _)| !expected.contains_key(name.as_str()));
        let extra: Vec<_> = unread
            .map(|(_, stored)| stored.raw_name.clone())
            .chain(self.unknown.iter().cloned())
            .collect();
        if missing.is_empty() && extra.is_empty() && misshapen.is_empty() {
            return Ok(());
        }
        let config = match &self.config_source {
            ConfigSource::File(path) => format!("`{}`", path.display()),
            ConfigSource::Given => "the given config".into(),
            ConfigSource::Shapes => "the config inferred from some of its shapes".into(),
        };
        let path = self.path.clone();
        let expected = expected.len();
        Err(WeightsError { path, config: config.into(), expected, missing, extra, misshapen })
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

/// Reads a `config.json`: all that a plan needs of a VAE.
///
/// # Errors
/// [`CheckpointError::Io`] and [`CheckpointError::Config`] name the file.
pub fn read_config(path: &Path) -> Result<AutoencoderKlConfig, CheckpointError> {
    let limit = config::MAX_JSON_BYTES;
    let bytes =
        storage::read_small(path, limit).map_err(|source| CheckpointError::io(path, source))?;
    bytes
        .ok_or(ConfigError::TooLarge { limit })
        .and_then(|bytes| AutoencoderKlConfig::from_json(&bytes))
        .map_err(|source| CheckpointError::Config { path: path.into(), source })
}
