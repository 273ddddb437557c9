//! The config of an `AutoencoderKL`, as diffusers writes it into `config.json`.

use halovae_core::{AxisTiling, Tiling};
use serde::Serialize;
use serde_json::Value;

use super::space;
use crate::checkpoint::config::{ConfigError, Detail, VaeConfig};
use crate::checkpoint::fields::{
    Fields, MAX_CHANNELS, check_magnitude, check_mean_and_std, check_scaling, count, ensure,
    ensure_within, shown, wrong,
};
use crate::files::text::listed;
use crate::latents::{LatentSpace, Packing};

/// The class of diffusers.
pub(super) const CLASS: &str = "AutoencoderKL";

/// Most levels of a decoder: beyond it a latent cell would be 65536 pixels wide.
pub const MAX_LEVELS: usize = 16;
const MAX_LAYERS: u32 = 64;
const MAX_SAMPLE_SIZE: u32 = 1 << 20;

const UP_BLOCK: &str = "UpDecoderBlock2D";
/// Of the tiles of every `AutoencoderKL`.
const TILE_OVERLAP_FACTOR: f64 = 0.25;

/// What a decoder's shape and its latents' scale follow from.
///
/// Fields are those of diffusers' `AutoencoderKL`. `act_fn` and `up_block_types` are not kept:
/// only SiLU and `UpDecoderBlock2D` exist in this family, and everything else is refused.
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
    /// Absent fields take those of `default`; unknown ones are ignored.
    pub(in crate::checkpoint) fn from_fields(
        fields: Fields<'_>,
        default: Self,
    ) -> Result<Self, ConfigError> {
        let config = Self {
            in_channels: fields.count("in_channels", default.in_channels)?,
            out_channels: fields.count("out_channels", default.out_channels)?,
            latent_channels: fields.count("latent_channels", default.latent_channels)?,
            block_out_channels: fields
                .counts("block_out_channels")?
                .unwrap_or(default.block_out_channels),
            layers_per_block: fields.count("layers_per_block", default.layers_per_block)?,
            norm_num_groups: fields.count("norm_num_groups", default.norm_num_groups)?,
            sample_size: sample_size(fields, default.sample_size)?,
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
        check_activation(fields)?;
        config.validate()?;
        check_up_blocks(fields, config.block_out_channels.len())?;
        Ok(config)
    }

    /// Pixels per latent cell, along each axis: 2^(levels - 1). Saturates for a config that
    /// [`validate`](Self::validate) refuses.
    pub fn scale(&self) -> u32 {
        let doublings = self.block_out_channels.len().saturating_sub(1);
        u32::try_from(doublings).ok().and_then(|by| 1u32.checked_shl(by)).unwrap_or(u32::MAX)
    }
}

impl VaeConfig for AutoencoderKlConfig {
    fn class(&self) -> &'static str {
        CLASS
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ensure_within("in_channels", self.in_channels, 1, MAX_CHANNELS)?;
        ensure_within("out_channels", self.out_channels, 1, MAX_CHANNELS)?;
        ensure_within("latent_channels", self.latent_channels, 1, MAX_CHANNELS)?;
        ensure_within("layers_per_block", self.layers_per_block, 1, MAX_LAYERS)?;
        ensure_within("norm_num_groups", self.norm_num_groups, 1, MAX_CHANNELS)?;
        let levels = self.block_out_channels.len();
        ensure(
            (1..=MAX_LEVELS).contains(&levels),
            "block_out_channels",
            format_args!("a list of {levels} levels"),
            || format!("1 to {MAX_LEVELS} levels"),
        )?;
        for &channels in &self.block_out_channels {
            ensure_within("block_out_channels", channels, 1, MAX_CHANNELS)?;
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
        check_scaling("scaling_factor", self.scaling_factor)?;
        check_magnitude("shift_factor", self.shift_factor)?;
        let [mean, std] = [&self.latents_mean, &self.latents_std].map(Option::as_deref);
        check_mean_and_std(("latent_channels", self.latent_channels), mean, std)
    }

    /// By overlap factor, of `sample_size`, and of `int(sample_size / scale)` latent cells.
    fn tiling(&self) -> Tiling {
        let scale = self.scale();
        let [height, width] = self.sample_size.map(|pixels| AxisTiling::Overlap {
            tile_sample_min_size: pixels,
            tile_latent_min_size: pixels / scale,
            tile_overlap_factor: TILE_OVERLAP_FACTOR,
        });
        Tiling::new(height, width, scale)
    }

    fn latent_space(&self) -> Option<LatentSpace> {
        Some(space::latent_space(
            [self.scaling_factor, self.shift_factor],
            self.latents_mean.as_deref().zip(self.latents_std.as_deref()),
        ))
    }

    fn packing(&self) -> Option<Packing> {
        space::packing(self.latent_channels, self.shift_factor)
    }

    fn details(&self) -> Vec<(&'static str, Detail)> {
        let mut details = vec![
            ("latent_channels", Detail::Count(self.latent_channels)),
            ("out_channels", Detail::Count(self.out_channels)),
            ("block_out_channels", Detail::Counts(self.block_out_channels.clone())),
            ("layers_per_block", Detail::Count(self.layers_per_block)),
            ("norm_num_groups", Detail::Count(self.norm_num_groups)),
            ("post_quant_conv", Detail::Flag(self.use_post_quant_conv)),
            ("mid_block_attention", Detail::Flag(self.mid_block_add_attention)),
            ("scaling_factor", Detail::Number(self.scaling_factor)),
            ("shift_factor", Detail::Number(self.shift_factor)),
        ];
        if self.latents_mean.is_some() && self.latents_std.is_some() {
            let instead = Detail::Text("per channel, instead of shift_factor");
            details.push(("latents_mean, _std", instead));
        }
        details.push(("sample_size", Detail::Sides(self.sample_size)));
        details
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("numbers, flags and lists of them can be written")
    }
}
/// One number for a square, or height and width.
fn sample_size(fields: Fields<'_>, default: [u32; 2]) -> Result<[u32; 2], ConfigError> {
    const FIELD: &str = "sample_size";
    match fields.get(FIELD) {
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

/// `swish` is diffusers' other name of SiLU.
fn check_activation(fields: Fields<'_>) -> Result<(), ConfigError> {
    match fields.get("act_fn") {
        None => Ok(()),
        Some(value) if matches!(value.as_str(), Some("silu" | "swish")) => Ok(()),
        Some(value) => Err(wrong("act_fn", value, "\"silu\" or \"swish\"")),
    }
}

/// Where they are absent, every level is taken for the only type there is.
fn check_up_blocks(fields: Fields<'_>, levels: usize) -> Result<(), ConfigError> {
    const FIELD: &str = "up_block_types";
    let Some(value) = fields.get(FIELD) else { return Ok(()) };
    let expected = || format!("a list of \"{UP_BLOCK}\" for each of {levels} levels");
    let list = value.as_array().ok_or_else(|| wrong(FIELD, value, &expected()))?;
    if let Some(other) = list.iter().find(|block| block.as_str() != Some(UP_BLOCK)) {
        return Err(wrong(FIELD, other, &expected()));
    }
    ensure(list.len() == levels, FIELD, shown(value), expected)
}
