//! Configs out of the fields of a file, or of a network's shapes.

use super::config::{AutoencoderKlWanConfig, WanClass};
use super::statistics::Statistics;
use crate::checkpoint::config::{ConfigError, VaeConfig};
use crate::checkpoint::fields::{Fields, MAX_CHANNELS, ensure, ensure_within};

/// Fields of `AutoencoderKLQwenImage` that `AutoencoderKLWan` lacks.
const FIELDS_OF_QWEN_IMAGE: &[&str] = &["input_channels"];
/// Fields of `AutoencoderKLWan` that `AutoencoderKLQwenImage` lacks.
const FIELDS_OF_WAN: &[&str] = &[
    "decoder_base_dim",
    "in_channels",
    "out_channels",
    "is_residual",
    "patch_size",
    "scale_factor_temporal",
    "scale_factor_spatial",
];

impl AutoencoderKlWanConfig {
    /// Of the fields of an `AutoencoderKLWan`.
    pub(super) fn of_wan(fields: Fields<'_>) -> Result<Self, ConfigError> {
        Self::of_many_fields(fields, WanClass::Wan)
    }

    /// Of fields without a class, of a network that an `AutoencoderKLWan` has. Which of the two classes it
    /// is, is told by a field that the other lacks.
    pub(super) fn of_no_class(fields: Fields<'_>) -> Result<Self, ConfigError> {
        let has = |field: &&str| fields.get(field).is_some();
        if FIELDS_OF_QWEN_IMAGE.iter().any(has) {
            return Self::of_qwen_image(fields);
        }
        let config = Self::of_wan(fields)?;
        let class = if FIELDS_OF_WAN.iter().any(has) { WanClass::Wan } else { WanClass::Untold };
        Ok(Self { class, ..config })
    }

    /// Of the fields of an `AutoencoderKLQwenImage21`.
    pub(super) fn of_qwen_image_21(fields: Fields<'_>) -> Result<Self, ConfigError> {
        Self::of_many_fields(fields, WanClass::QwenImage21)
    }

    fn of_many_fields(fields: Fields<'_>, class: WanClass) -> Result<Self, ConfigError> {
        let config = Self::of_both(fields, class)?;
        let default = Self::default_of(class);
        let decoder_base_dim = match fields.get("decoder_base_dim") {
            None if class == WanClass::QwenImage21 => default.decoder_base_dim,
            _ => fields.count_or_null("decoder_base_dim")?.unwrap_or(config.base_dim),
        };
        let config = Self {
            decoder_base_dim,
            is_residual: fields.flag("is_residual", default.is_residual)?,
            patch_size: fields.count_or_null("patch_size")?,
            ..config
        };
        let (temporal, spatial) = match class {
            // The defaults of the class, whatever the levels are.
            WanClass::QwenImage21 => (default.scale_factor_temporal, default.scale_factor_spatial),
            _ => config.scales(),
        };
        let config = Self {
            in_channels: fields.count("in_channels", config.in_channels)?,
            out_channels: fields.count("out_channels", config.out_channels)?,
            scale_factor_temporal: fields
                .count_or_null("scale_factor_temporal")?
                .unwrap_or(temporal),
            scale_factor_spatial: fields.count_or_null("scale_factor_spatial")?.unwrap_or(spatial),
            ..config
        };
        config.validate()?;
        Ok(config)
    }

    /// Of the fields of an `AutoencoderKLQwenImage`.
    pub(super) fn of_qwen_image(fields: Fields<'_>) -> Result<Self, ConfigError> {
        let config = Self::of_both(fields, WanClass::QwenImage)?;
        let channels = fields.count("input_channels", config.in_channels)?;
        let config = Self { in_channels: channels, out_channels: channels, ..config };
        config.validate()?;
        Ok(config)
    }

    /// Of the fields that all classes have. What others say is said by these as well.
    fn of_both(fields: Fields<'_>, class: WanClass) -> Result<Self, ConfigError> {
        let default = Self::default_of(class);
        let base_dim = fields.count("base_dim", default.base_dim)?;
        let z_dim = fields.count("z_dim", default.z_dim)?;
        ensure_within("z_dim", z_dim, 1, MAX_CHANNELS)?;
        let per_channel = |field, of_class: Vec<f64>| {
            let absent = |values: &Vec<f64>| {
                ensure(values.len() == z_dim as usize, field, "absent", || {
                    format!(
                        "{z_dim} numbers, one for each latent channel (`z_dim`): those of the class are for \
                         {}",
                        values.len()
                    )
                })
            };
            match fields.numbers(field)? {
                Some(values) => Ok(values),
                None => absent(&of_class).map(|()| of_class),
            }
        };
        let mut config = Self {
            base_dim,
            decoder_base_dim: base_dim,
            z_dim,
            dim_mult: fields.counts("dim_mult")?.unwrap_or(default.dim_mult),
            num_res_blocks: fields.count("num_res_blocks", default.num_res_blocks)?,
            attn_scales: fields.numbers("attn_scales")?.unwrap_or_default(),
            temperal_downsample: fields
                .flags("temperal_downsample")?
                .unwrap_or(default.temperal_downsample),
            latents_mean: per_channel("latents_mean", default.latents_mean)?,
            latents_std: per_channel("latents_std", default.latents_std)?,
            ..default
        };
        (config.scale_factor_temporal, config.scale_factor_spatial) = config.scales();
        Ok(config)
    }

    /// Of a network that was found without a config. Channels are those of the decoder's levels,
    /// shallowest first, and `temporal` says which of them but the last doubles frames, in the order
    /// of the decoder. Mean and deviation are those of the released models, where these have as many
    /// channels.
    pub(super) fn of_network(
        channels: &[u32],
        temporal: &[bool],
        z_dim: u32,
        num_res_blocks: u32,
        (class, is_residual, patch_size): (WanClass, bool, Option<u32>),
    ) -> Self {
        let decoder_base_dim = channels.iter().copied().reduce(greatest_common_divisor);
        let decoder_base_dim = decoder_base_dim.unwrap_or(0).max(1);
        let mut config = Self {
            base_dim: decoder_base_dim,
            decoder_base_dim,
            z_dim,
            dim_mult: channels.iter().map(|channels| channels / decoder_base_dim).collect(),
            num_res_blocks,
            temperal_downsample: temporal.iter().rev().copied().collect(),
            is_residual,
            patch_size,
            ..Self::default_of(class)
        };
        (config.latents_mean, config.latents_std) = match config.known_statistics() {
            Some(Statistics { mean, std }) => (mean.to_vec(), std.to_vec()),
            None => {
                // A header may tell any number; of more than the most the config is refused.
                let channels = z_dim.min(MAX_CHANNELS) as usize;
                (vec![0.0; channels], vec![1.0; channels])
            }
        };
        (config.scale_factor_temporal, config.scale_factor_spatial) = config.scales();
        config
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
