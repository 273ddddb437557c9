//! The config of an `AutoencoderKLHunyuanImage`.

use halovae_core::{AxisTiling, Tiling};
use serde::Serialize;
use serde_json::Value;

use crate::checkpoint::config::{ConfigError, Detail, VaeConfig};
use crate::checkpoint::fields::{
    Fields, MAX_CHANNELS, check_scaling, ensure, ensure_within, wrong,
};
use crate::latents::{LatentSpace, Packing};

/// The class of diffusers.
pub(super) const CLASS: &str = "AutoencoderKLHunyuanImage";

/// Most levels of a decoder, as of an `AutoencoderKL`.
pub(super) const MAX_LEVELS: usize = 16;
const MAX_LAYERS: u32 = 64;
const MAX_SAMPLE_SIZE: u32 = 1 << 20;

/// Of the class's tiles.
const TILE_OVERLAP_FACTOR: f64 = 0.25;

/// What a decoder's shape and its latents' scale follow from. Fields are those of diffusers' class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AutoencoderKlHunyuanImageConfig {
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
    /// Pixels per latent cell, along each axis: the decoder's first levels double them until there are
    /// as many.
    pub spatial_compression_ratio: u32,
    /// Height and width in pixels of a tile.
    pub sample_size: u32,
    /// Latents are multiplied by it on their way from the VAE to the diffusion model.
    pub scaling_factor: f64,
    /// Whether the encoder's downsamplers make the channels of the next level.
    pub downsample_match_channel: bool,
    /// Whether the decoder's upsamplers make the channels of the next level.
    pub upsample_match_channel: bool,
}

impl Default for AutoencoderKlHunyuanImageConfig {
    /// HunyuanImage 2.1's. diffusers' class has no defaults for most of its fields.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 64,
            block_out_channels: vec![128, 256, 512, 512, 1024, 1024],
            layers_per_block: 2,
            spatial_compression_ratio: 32,
            sample_size: 384,
            scaling_factor: 0.75289,
            downsample_match_channel: true,
            upsample_match_channel: true,
        }
    }
}

impl AutoencoderKlHunyuanImageConfig {
    /// Groups of every group norm.
    pub const GROUPS: u32 = 32;

    /// Absent fields take HunyuanImage 2.1's values; unknown ones are ignored.
    pub(super) fn from_fields(fields: Fields<'_>) -> Result<Self, ConfigError> {
        const SCALING: &str = "scaling_factor";
        // With the class's own default, null, its pipelines cannot decode.
        if let Some(null @ Value::Null) = fields.get(SCALING) {
            return Err(wrong(SCALING, null, "a number, by which pipelines divide; 1 for none"));
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
            spatial_compression_ratio: fields
                .count("spatial_compression_ratio", default.spatial_compression_ratio)?,
            sample_size: fields.count("sample_size", default.sample_size)?,
            scaling_factor: fields.number(SCALING)?.unwrap_or(default.scaling_factor),
            downsample_match_channel: fields
                .flag("downsample_match_channel", default.downsample_match_channel)?,
            upsample_match_channel: fields
                .flag("upsample_match_channel", default.upsample_match_channel)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// Channels of the decoder's levels in the order in which it runs through them.
    pub fn decoder_channels(&self) -> impl ExactSizeIterator<Item = u32> {
        self.block_out_channels.iter().rev().copied()
    }

    /// How many of the decoder's levels, from the first one on, have an upsampler.
    pub fn upsamplers(&self) -> u32 {
        self.spatial_compression_ratio.checked_ilog2().unwrap_or(0)
    }

    fn validate_levels(&self) -> Result<(), ConfigError> {
        const CHANNELS: &str = "block_out_channels";
        const RATIO: &str = "spatial_compression_ratio";
        let levels = self.block_out_channels.len();
        ensure(
            (1..=MAX_LEVELS).contains(&levels),
            CHANNELS,
            format_args!("a list of {levels} levels"),
            || format!("1 to {MAX_LEVELS} levels"),
        )?;
        for &channels in &self.block_out_channels {
            ensure_within(CHANNELS, channels, 1, MAX_CHANNELS)?;
            ensure(channels.is_multiple_of(Self::GROUPS), CHANNELS, channels, || {
                format!("multiples of {}, the groups of the class's norms", Self::GROUPS)
            })?;
        }
        let ratio = self.spatial_compression_ratio;
        let most = 1u32 << (levels - 1);
        ensure(ratio.is_power_of_two() && ratio <= most, RATIO, ratio, || {
            format!("a power of two from 1 to {most}, which {levels} levels come to")
        })?;
        let deepest = self.decoder_channels().next().unwrap_or(0);
        let z = self.latent_channels;
        ensure(deepest.is_multiple_of(z), "latent_channels", z, || {
            format!("a divisor of {deepest}, the last of `{CHANNELS}`: the class repeats channels")
        })?;
        let below = self.decoder_channels().skip(1);
        for (place, (input, output)) in self.decoder_channels().zip(below).enumerate() {
            // Resnets that change channels are what the class cannot run.
            ensure(place < self.upsamplers() as usize || input == output, RATIO, ratio, || {
                format!("{most}: only upsamplers change channels, as from {input} to {output}")
            })?;
            let is_matched = self.upsample_match_channel || input == output;
            ensure(is_matched, "upsample_match_channel", false, || {
                format!("true, where channels change as from {input} to {output}")
            })?;
            let places = 4 * u64::from(output);
            ensure(
                places.is_multiple_of(u64::from(input)),
                CHANNELS,
                format_args!("a list with {output} channels before {input}"),
                || "levels whose shortcuts repeat whole channels".into(),
            )?;
        }
        Ok(())
    }
}

impl VaeConfig for AutoencoderKlHunyuanImageConfig {
    fn class(&self) -> &'static str {
        CLASS
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ensure_within("in_channels", self.in_channels, 1, MAX_CHANNELS)?;
        ensure_within("out_channels", self.out_channels, 1, MAX_CHANNELS)?;
        ensure_within("latent_channels", self.latent_channels, 1, MAX_CHANNELS)?;
        ensure_within("layers_per_block", self.layers_per_block, 1, MAX_LAYERS)?;
        self.validate_levels()?;
        let (pixels, ratio) = (self.sample_size, self.spatial_compression_ratio);
        ensure((ratio..=MAX_SAMPLE_SIZE).contains(&pixels), "sample_size", pixels, || {
            format!("{ratio} (the pixels of one latent cell) to {MAX_SAMPLE_SIZE} pixels")
        })?;
        check_scaling("scaling_factor", self.scaling_factor)
    }

    /// By overlap factor, of `sample_size`, and of as many whole latent cells as fit into it.
    fn tiling(&self) -> Tiling {
        let ratio = self.spatial_compression_ratio;
        let axis = AxisTiling::Overlap {
            tile_sample_min_size: self.sample_size,
            tile_latent_min_size: self.sample_size / ratio.max(1),
            tile_overlap_factor: TILE_OVERLAP_FACTOR,
        };
        Tiling::new(axis, axis, ratio)
    }

    fn latent_space(&self) -> Option<LatentSpace> {
        let scaling_factor = self.scaling_factor as f32;
        Some(LatentSpace { scaling_factor, ..LatentSpace::VAE })
    }

    fn packing(&self) -> Option<Packing> {
        None
    }

    fn details(&self) -> Vec<(&'static str, Detail)> {
        vec![
            ("latent_channels", Detail::Count(self.latent_channels)),
            ("out_channels", Detail::Count(self.out_channels)),
            ("block_out_channels", Detail::Counts(self.block_out_channels.clone())),
            ("layers_per_block", Detail::Count(self.layers_per_block)),
            ("scaling_factor", Detail::Number(self.scaling_factor)),
            ("sample_size", Detail::Sides([self.sample_size; 2])),
        ]
    }

    fn to_json(&self) -> Value {
        let mut fields =
            serde_json::to_value(self).expect("numbers, flags and lists of them can be written");
        fields["_class_name"] = CLASS.into();
        fields
    }
}
