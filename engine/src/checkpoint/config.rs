//! The config of an `AutoencoderKL`, as diffusers writes it into `config.json`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::families;
use super::sniff::{FileKind, NotJson, parse_json};
use super::text::{listed, quoted};

/// Most levels of a decoder: beyond it a latent cell would be 65536 pixels wide.
pub const MAX_LEVELS: usize = 16;
const MAX_CHANNELS: u32 = 1 << 16;
const MAX_LAYERS: u32 = 64;
const MAX_SAMPLE_SIZE: u32 = 1 << 20;
/// A config is a few hundred bytes; what is larger is another file.
pub(crate) const MAX_JSON_BYTES: usize = 1 << 20;
/// Scaling and shift beyond this leave nothing of f32 latents.
const MAX_MAGNITUDE: f64 = 1e6;

/// What kind of JSON a `config.json` must hold; Flax' has the same fields.
const CLASS: &str = "AutoencoderKL";
const FLAX_CLASS: &str = "FlaxAutoencoderKL";
const UP_BLOCK: &str = "UpDecoderBlock2D";

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON at all.
    #[error("is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Larger than any config.
    #[error("has more than {limit} bytes, expected the config of one model")]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// A file of another kind.
    #[error("is {found}, expected a model's config.json{}", found.remedy())]
    OtherFormat {
        /// What it looks like.
        found: FileKind,
    },
    /// JSON, but no object.
    #[error("holds {found}, expected a JSON object with the fields of an {CLASS}")]
    NotAnObject {
        /// What it holds instead.
        found: String,
    },
    /// The config of another model.
    #[error("is of class {found}{}; only {CLASS} is supported", families::apposition(found))]
    Class {
        /// The class that it names.
        found: String,
    },
    /// A field that no decoder can have.
    #[error("`{field}` is {found}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
}

/// What a decoder's shape and its latents' scale follow from.
///
/// Fields are those of diffusers' `AutoencoderKL`. `act_fn` and `up_block_types` are not kept:
/// only SiLU and `UpDecoderBlock2D` exist in this family, and [`from_json`](Self::from_json)
/// refuses everything else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AutoencoderKlConfig {
    /// Channels of the picture that the encoder reads.
    pub in_channels: u32,
    /// Channels of the picture that the decoder makes.
    pub out_channels: u32,
    /// Channels of the latents.
    pub latent_channels: u32,
    /// Channels per level, shallowest first (the decoder runs through them backwards).
    pub block_out_channels: Vec<u32>,
    /// Resnets per level of the encoder; the decoder has one more.
    pub layers_per_block: u32,
    /// Groups of every group norm.
    pub norm_num_groups: u32,
    /// Height and width in pixels of what the model was trained on: the tile size.
    pub sample_size: [u32; 2],
    /// Latents are multiplied by it on their way from the VAE to the diffusion model.
    pub scaling_factor: f64,
    /// Subtracted from the latents before the scaling; 0 where the config has `null`.
    pub shift_factor: f64,
    /// Mean of the latents per channel.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of the latents per channel.
    pub latents_std: Option<Vec<f64>>,
    /// Whether a 1x1 conv follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 conv precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle block has attention.
    pub mid_block_add_attention: bool,
    /// Whether the model overflows in f16.
    pub force_upcast: bool,
}

impl Default for AutoencoderKlConfig {
    /// The defaults of diffusers' class: toy values, but what an absent field means.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![64],
            layers_per_block: 1,
            norm_num_groups: 32,
            sample_size: [32, 32],
            scaling_factor: 0.18215,
            shift_factor: 0.0,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            force_upcast: true,
        }
    }
}

impl AutoencoderKlConfig {
    /// Reads and validates the text of a `config.json`. Absent fields take the defaults of
    /// diffusers' class; unknown ones are ignored.
    ///
    /// # Errors
    /// [`ConfigError`] names the first thing that cannot be: no JSON, another class, a field.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        if json.len() > MAX_JSON_BYTES {
            return Err(ConfigError::TooLarge { limit: MAX_JSON_BYTES });
        }
        let value = parse_json(json, &FileKind::Json).map_err(|error| match error {
            NotJson::Syntax(error) => ConfigError::Json(error),
            NotJson::Other(found) => ConfigError::OtherFormat { found },
        })?;
        let Value::Object(map) = value else {
            return Err(ConfigError::NotAnObject { found: shown(&value) });
        };
        let fields = Fields(&map);
        if let Some(class) = fields.get("_class_name")
            && !matches!(class.as_str(), Some(CLASS | FLAX_CLASS))
        {
            return Err(ConfigError::Class { found: shown(class) });
        }
        let default = Self::default();
        let config = Self {
            in_channels: fields.count("in_channels", default.in_channels)?,
            out_channels: fields.count("out_channels", default.out_channels)?,
            latent_channels: fields.count("latent_channels", default.latent_channels)?,
            block_out_channels: fields
                .counts("block_out_channels")?
                .unwrap_or(default.block_out_channels),
            layers_per_block: fields.count("layers_per_block", default.layers_per_block)?,
            norm_num_groups: fields.count("norm_num_groups", default.norm_num_groups)?,
            sample_size: fields.sample_size(default.sample_size)?,
            scaling_factor: fields.number("scaling_factor")?.unwrap_or(default.scaling_factor),
            shift_factor: fields.number("shift_factor")?.unwrap_or(default.shift_factor),
            latents_mean: fields.numbers("latents_mean")?,
            latents_std: fields.numbers("latents_std")?,
            use_quant_conv: fields.flag("use_quant_conv", default.use_quant_conv)?,
            use_post_quant_conv: fields.flag("use_post_quant_conv", default.use_post_quant_conv)?,
            mid_block_add_attention: fields
                .flag("mid_block_add_attention", default.mid_block_add_attention)?,
            force_upcast: fields.flag("force_upcast", default.force_upcast)?,
        };
        fields.check_activation()?;
        config.validate()?;
        fields.check_up_blocks(config.block_out_channels.len())?;
        Ok(config)
    }

    /// Checks that a decoder of this config can exist. [`from_json`](Self::from_json) has done so.
    ///
    /// # Errors
    /// [`ConfigError::Field`] for the first field that is impossible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within = |field, value: u32, least: u32, most: u32| {
            ensure((least..=most).contains(&value), field, value, || {
                format!("a whole number from {least} to {most}")
            })
        };
        within("in_channels", self.in_channels, 1, MAX_CHANNELS)?;
        within("out_channels", self.out_channels, 1, MAX_CHANNELS)?;
        within("latent_channels", self.latent_channels, 1, MAX_CHANNELS)?;
        within("layers_per_block", self.layers_per_block, 1, MAX_LAYERS)?;
        within("norm_num_groups", self.norm_num_groups, 1, MAX_CHANNELS)?;
        let levels = self.block_out_channels.len();
        ensure(
            (1..=MAX_LEVELS).contains(&levels),
            "block_out_channels",
            format_args!("a list of {levels} levels"),
            || format!("1 to {MAX_LEVELS} levels"),
        )?;
        for &channels in &self.block_out_channels {
            within("block_out_channels", channels, 1, MAX_CHANNELS)?;
            let groups = self.norm_num_groups;
            ensure(channels.is_multiple_of(groups), "norm_num_groups", groups, || {
                let list = listed(&self.block_out_channels);
                format!("a divisor of every one of `block_out_channels` ({list})")
            })?;
        }
        for extent in self.sample_size {
            let scale = self.scale();
            ensure((scale..=MAX_SAMPLE_SIZE).contains(&extent), "sample_size", extent, || {
                format!("{scale} (the pixels of one latent cell) to {MAX_SAMPLE_SIZE} pixels")
            })?;
        }
        let scaling = self.scaling_factor;
        ensure(
            (MAX_MAGNITUDE.recip()..=MAX_MAGNITUDE).contains(&scaling),
            "scaling_factor",
            scaling,
            || format!("a number from {:e} to {MAX_MAGNITUDE:e}", MAX_MAGNITUDE.recip()),
        )?;
        check_magnitude("shift_factor", self.shift_factor)?;
        self.validate_per_channel("latents_mean", self.latents_mean.as_deref(), |_| true)?;
        self.validate_per_channel("latents_std", self.latents_std.as_deref(), |std| std > 0.0)
    }

    fn validate_per_channel(
        &self,
        field: &'static str,
        values: Option<&[f64]>,
        accepts: impl Fn(f64) -> bool,
    ) -> Result<(), ConfigError> {
        let Some(values) = values else { return Ok(()) };
        let channels = self.latent_channels;
        let found = values.len();
        ensure(found == channels as usize, field, format_args!("a list of {found}"), || {
            format!("one number per latent channel ({channels})")
        })?;
        for &value in values {
            check_magnitude(field, value)?;
            ensure(accepts(value), field, value, || "numbers above 0".into())?;
        }
        Ok(())
    }

    /// Pixels per latent cell, along each axis: 2^(levels - 1). Saturates for a config that
    /// [`validate`](Self::validate) refuses.
    pub fn scale(&self) -> u32 {
        let doublings = self.block_out_channels.len().saturating_sub(1);
        u32::try_from(doublings).ok().and_then(|by| 1u32.checked_shl(by)).unwrap_or(u32::MAX)
    }

    /// Height and width of a tile in pixels: `sample_size`.
    pub fn tile_sample_min_size(&self) -> [u32; 2] {
        self.sample_size
    }

    /// Height and width of a tile in latent cells: `int(sample_size / scale)`.
    pub fn tile_latent_min_size(&self) -> [u32; 2] {
        self.sample_size.map(|pixels| pixels / self.scale())
    }

    /// The part of a tile that it shares with the next: 0.25 in every `AutoencoderKL`.
    pub fn tile_overlap_factor(&self) -> f64 {
        0.25
    }
}

fn ensure(
    holds: bool,
    field: &'static str,
    found: impl std::fmt::Display,
    expected: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Field { field, found: found.to_string(), expected: expected() })
}

fn check_magnitude(field: &'static str, value: f64) -> Result<(), ConfigError> {
    ensure(value.abs() <= MAX_MAGNITUDE, field, value, || {
        format!("a number from -{MAX_MAGNITUDE:e} to {MAX_MAGNITUDE:e}")
    })
}

/// A JSON value for an error message, shortened.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".into(),
    }
}

fn wrong(field: &'static str, value: &Value, expected: &str) -> ConfigError {
    ConfigError::Field { field, found: shown(value), expected: expected.into() }
}

/// Typed access that names the field in every error, which serde's derive does not.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field)
    }

    fn count(&self, field: &'static str, default: u32) -> Result<u32, ConfigError> {
        self.get(field).map_or(Ok(default), |value| count(field, value))
    }

    fn counts(&self, field: &'static str) -> Result<Option<Vec<u32>>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let list =
            value.as_array().ok_or_else(|| wrong(field, value, "a list of whole numbers"))?;
        list.iter().map(|value| count(field, value)).collect::<Result<_, _>>().map(Some)
    }

    /// One number for a square, or height and width.
    fn sample_size(&self, default: [u32; 2]) -> Result<[u32; 2], ConfigError> {
        const FIELD: &str = "sample_size";
        match self.get(FIELD) {
            None => Ok(default),
            Some(Value::Array(list)) => match list.as_slice() {
                [height, width] => Ok([count(FIELD, height)?, count(FIELD, width)?]),
                _ => Err(ConfigError::Field {
                    field: FIELD,
                    found: format!("a list of {}", list.len()),
                    expected: "one number, or height and width".into(),
                }),
            },
            Some(value) => count(FIELD, value).map(|extent| [extent; 2]),
        }
    }

    fn number(&self, field: &'static str) -> Result<Option<f64>, ConfigError> {
        match self.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_f64().map(Some).ok_or_else(|| wrong(field, value, "a number or null"))
            }
        }
    }

    fn numbers(&self, field: &'static str) -> Result<Option<Vec<f64>>, ConfigError> {
        let value = match self.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let list =
            value.as_array().ok_or_else(|| wrong(field, value, "a list of numbers or null"))?;
        let numbers = list
            .iter()
            .map(|value| value.as_f64().ok_or_else(|| wrong(field, value, "only numbers in it")));
        numbers.collect::<Result<_, _>>().map(Some)
    }

    fn flag(&self, field: &'static str, default: bool) -> Result<bool, ConfigError> {
        self.get(field).map_or(Ok(default), |value| {
            value.as_bool().ok_or_else(|| wrong(field, value, "true or false"))
        })
    }

    /// `swish` is diffusers' other name of SiLU.
    fn check_activation(&self) -> Result<(), ConfigError> {
        match self.get("act_fn") {
            None => Ok(()),
            Some(value) if matches!(value.as_str(), Some("silu" | "swish")) => Ok(()),
            Some(value) => Err(wrong("act_fn", value, "\"silu\" or \"swish\"")),
        }
    }

    /// Where they are absent, every level is taken for the only type there is.
    fn check_up_blocks(&self, levels: usize) -> Result<(), ConfigError> {
        const FIELD: &str = "up_block_types";
        let Some(value) = self.get(FIELD) else { return Ok(()) };
        let expected = || format!("a list of \"{UP_BLOCK}\" for each of {levels} levels");
        let list = value.as_array().ok_or_else(|| wrong(FIELD, value, &expected()))?;
        if let Some(other) = list.iter().find(|block| block.as_str() != Some(UP_BLOCK)) {
            return Err(wrong(FIELD, other, &expected()));
        }
        ensure(list.len() == levels, FIELD, shown(value), expected)
    }
}

fn count(field: &'static str, value: &Value) -> Result<u32, ConfigError> {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| wrong(field, value, "a whole number below 4294967296"))
}
