//! The config of an `AutoencoderKLWan`, an `AutoencoderKLQwenImage` or an `AutoencoderKLQwenImage21`.

use std::num::NonZeroU32;

use halovae_core::{AxisTiling, Scale, Strategy, Tiling, TimeScale};
use serde_json::{Value, json};

use super::statistics::{QWEN_IMAGE_2_1, Statistics, WAN_2_1, WAN_2_2};
use crate::checkpoint::config::{ConfigError, Detail, VaeConfig};
use crate::checkpoint::fields::{MAX_CHANNELS, check_mean_and_std, ensure, ensure_within};
use crate::latents::{LatentSpace, Packing, TokenContent, TokenOrder};
use crate::program::MOST_FRAMES;

/// The classes of diffusers.
pub(super) const WAN_CLASS: &str = "AutoencoderKLWan";
pub(super) const QWEN_IMAGE_CLASS: &str = "AutoencoderKLQwenImage";
pub(super) const QWEN_IMAGE_21_CLASS: &str = "AutoencoderKLQwenImage21";

/// Most levels of a decoder, as of an `AutoencoderKL`.
pub(super) const MAX_LEVELS: usize = 16;
/// Most resnets per level of the encoder.
pub(super) const MAX_RES_BLOCKS: u32 = 64;

/// Channels of Qwen-Image-Layered's pictures; no Wan has as many.
pub(super) const LAYERED_CHANNELS: u32 = 4;

/// What Wan's models were trained on, and their pipelines' videos are saved with.
const FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(16).unwrap();
/// The same of the 5B model of Wan 2.2.
const FRAMES_PER_SECOND_OF_5B: NonZeroU32 = NonZeroU32::new(24).unwrap();

/// Most rows and columns of pixels in the channels of a cell.
const MAX_PATCH: u32 = 16;

/// Pixels of a tile along each axis, and from one tile to the next; neither depends on the config.
const TILE_SAMPLE_MIN_SIZE: u32 = 256;
const TILE_SAMPLE_STRIDE: u32 = 192;

/// Which of the classes a config is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WanClass {
    /// `AutoencoderKLWan`.
    Wan,
    /// `AutoencoderKLQwenImage`.
    QwenImage,
    /// `AutoencoderKLQwenImage21`, of images alone.
    QwenImage21,
    /// `AutoencoderKLWan` or `AutoencoderKLQwenImage`: there was no config. It is called an `AutoencoderKLWan`.
    Untold,
}

/// What a decoder's shape and its latents' space follow from. Fields are those of diffusers' classes;
/// `dropout` is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlWanConfig {
    /// The class; `AutoencoderKLQwenImage` has no `decoder_base_dim`, no scale factors, neither
    /// `is_residual` nor `patch_size`, and `input_channels` for both `in_channels` and `out_channels`.
    pub class: WanClass,
    /// Channels of the encoder's first level.
    pub base_dim: u32,
    /// Channels of the decoder's last level; `base_dim` where the config has `null`.
    pub decoder_base_dim: u32,
    /// Channels of the latents.
    pub z_dim: u32,
    /// Channels per level over those of the first, shallowest first (the decoder runs through them
    /// backwards).
    pub dim_mult: Vec<u32>,
    /// Resnets per level of the encoder; the decoder has one more.
    pub num_res_blocks: u32,
    /// Scales at which the encoder has attention. The decoder has it in its middle alone.
    pub attn_scales: Vec<f64>,
    /// Whether the encoder halves the frames behind each level but the last.
    pub temperal_downsample: Vec<bool>,
    /// Mean of the latents per channel.
    pub latents_mean: Vec<f64>,
    /// Standard deviation of the latents per channel.
    pub latents_std: Vec<f64>,
    /// Channels of the frames that the encoder reads.
    pub in_channels: u32,
    /// Channels of what the decoder's last conv makes: of the frames, times the pixels of a patch.
    pub out_channels: u32,
    /// Whether blocks have shortcuts around all of their resnets: in Wan 2.2's 5B model and Qwen-Image
    /// 2.1.
    pub is_residual: bool,
    /// Rows and columns of pixels that lie in the channels of one cell of the network's output.
    pub patch_size: Option<u32>,
    /// Frames per latent frame behind the first.
    pub scale_factor_temporal: u32,
    /// Pixels per latent cell, along each axis.
    pub scale_factor_spatial: u32,
}

impl AutoencoderKlWanConfig {
    /// Whether the decoder takes several frames.
    pub fn has_frames(&self) -> bool {
        self.class != WanClass::QwenImage21
    }

    /// Rows, and columns, of pixels that lie in the channels of one cell of the network's output.
    pub fn pixels_in_channels(&self) -> u32 {
        self.patch_size.unwrap_or(1)
    }

    /// Channels of the frames that are decoded; rounded down for a config that is refused.
    pub fn picture_channels(&self) -> u32 {
        let side = u64::from(self.pixels_in_channels().max(1));
        // No more than the channels they are of.
        (u64::from(self.out_channels) / (side * side)) as u32
    }

    /// Of the released model of the same class and shape, if it has as many channels.
    pub(super) fn known_statistics(&self) -> Option<Statistics> {
        let known = match (self.class, self.is_residual) {
            (WanClass::QwenImage21, _) => QWEN_IMAGE_2_1,
            (_, true) => WAN_2_2,
            (_, false) => WAN_2_1,
        };
        (known.channels() == self.z_dim).then_some(known)
    }

    /// Channels of the decoder's levels in the order in which it runs through them.
    pub fn decoder_channels(&self) -> impl ExactSizeIterator<Item = u32> {
        self.dim_mult.iter().rev().map(|mult| mult.saturating_mul(self.decoder_base_dim))
    }

    /// Whether the decoder doubles frames behind each of its levels but the last.
    pub fn temporal_upsample(&self) -> impl ExactSizeIterator<Item = bool> {
        self.temperal_downsample.iter().rev().copied()
    }

    /// Frames per latent frame behind the first, and pixels per latent cell, as the levels have them;
    /// saturates for a config that is refused.
    pub(super) fn scales(&self) -> (u32, u32) {
        let doubled = |times: usize| {
            u32::try_from(times).ok().and_then(|by| 1u32.checked_shl(by)).unwrap_or(u32::MAX)
        };
        let temporal = self.temperal_downsample.iter().filter(|&&halves| halves).count();
        let spatial = doubled(self.dim_mult.len().saturating_sub(1));
        (doubled(temporal), spatial.saturating_mul(self.pixels_in_channels()))
    }

    /// A level's shortcut repeats the channels that go into the level until they are the values that come
    /// out of it.
    fn validate_shortcuts(&self) -> Result<(), ConfigError> {
        if !self.is_residual {
            return Ok(());
        }
        let mut input = self.decoder_channels().next().unwrap_or(0);
        for (output, doubles_frames) in self.decoder_channels().zip(self.temporal_upsample()) {
            let values = u64::from(output) * if doubles_frames { 8 } else { 4 };
            ensure(
                input > 0 && values.is_multiple_of(u64::from(input)),
                "dim_mult",
                format_args!("a list with {input} channels before {output}"),
                || "levels whose shortcuts repeat whole channels".into(),
            )?;
            input = output;
        }
        Ok(())
    }

    fn is_qwen_image(&self) -> bool {
        self.class == WanClass::QwenImage
    }
}

impl VaeConfig for AutoencoderKlWanConfig {
    fn class(&self) -> &'static str {
        match self.class {
            WanClass::QwenImage => QWEN_IMAGE_CLASS,
            WanClass::QwenImage21 => QWEN_IMAGE_21_CLASS,
            WanClass::Wan | WanClass::Untold => WAN_CLASS,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let is_residual = self.is_residual || self.class != WanClass::QwenImage21;
        ensure(is_residual, "is_residual", self.is_residual, || {
            format!("true: no {QWEN_IMAGE_21_CLASS} without it is supported")
        })?;
        let has_neither = !self.is_residual && self.pixels_in_channels() == 1;
        ensure(has_neither || !self.is_qwen_image(), "is_residual", self.is_residual, || {
            format!("false, and no `patch_size`: an {QWEN_IMAGE_CLASS} has neither")
        })?;
        let side = self.pixels_in_channels();
        ensure_within("patch_size", side, 1, MAX_PATCH)?;
        ensure_within("base_dim", self.base_dim, 1, MAX_CHANNELS)?;
        ensure_within("decoder_base_dim", self.decoder_base_dim, 1, MAX_CHANNELS)?;
        ensure_within("z_dim", self.z_dim, 1, MAX_CHANNELS)?;
        ensure_within("num_res_blocks", self.num_res_blocks, 1, MAX_RES_BLOCKS)?;
        let [input, output] = match self.is_qwen_image() {
            true => ["input_channels"; 2],
            false => ["in_channels", "out_channels"],
        };
        ensure_within(input, self.in_channels, 1, MAX_CHANNELS)?;
        ensure_within(output, self.out_channels, 1, MAX_CHANNELS)?;
        ensure(self.out_channels.is_multiple_of(side * side), output, self.out_channels, || {
            format!("a multiple of {}, the pixels of a patch", side * side)
        })?;
        let levels = self.dim_mult.len();
        ensure(
            (1..=MAX_LEVELS).contains(&levels),
            "dim_mult",
            format_args!("a list of {levels} levels"),
            || format!("1 to {MAX_LEVELS} levels"),
        )?;
        for (level, &mult) in self.dim_mult.iter().enumerate() {
            let channels = u64::from(mult) * u64::from(self.decoder_base_dim);
            // Without shortcuts, all levels but the shallowest hand on half of their channels.
            let least = if level == 0 || self.is_residual { 1 } else { 2 };
            ensure(
                (least..=u64::from(MAX_CHANNELS)).contains(&channels),
                "dim_mult",
                mult,
                || {
                    format!(
                        "numbers that make {least} to {MAX_CHANNELS} channels of {}",
                        self.decoder_base_dim
                    )
                },
            )?;
        }
        let flags = self.temperal_downsample.len();
        ensure(
            flags + 1 == levels,
            "temperal_downsample",
            format_args!("a list of {flags}"),
            || format!("one flag for each level of `dim_mult` but the last ({})", levels - 1),
        )?;
        self.validate_shortcuts()?;
        let (temporal, spatial) = self.scales();
        ensure(
            temporal <= MOST_FRAMES,
            "temperal_downsample",
            format_args!("a list that comes to {temporal} frames"),
            || format!("no more than {MOST_FRAMES} frames for each of the latents"),
        )?;
        ensure(
            self.scale_factor_temporal == temporal,
            "scale_factor_temporal",
            self.scale_factor_temporal,
            || format!("{temporal}, which `temperal_downsample` comes to"),
        )?;
        ensure(
            self.scale_factor_spatial == spatial,
            "scale_factor_spatial",
            self.scale_factor_spatial,
            || format!("{spatial}, which {levels} levels and `patch_size` come to"),
        )?;
        let [mean, std] = [&self.latents_mean, &self.latents_std].map(|list| Some(list.as_slice()));
        check_mean_and_std(("z_dim", self.z_dim), mean, std)
    }

    fn is_video(&self) -> bool {
        self.has_frames()
    }

    /// Qwen-Image makes no videos.
    fn frames_per_second(&self) -> Option<NonZeroU32> {
        match self.class {
            WanClass::QwenImage | WanClass::QwenImage21 => None,
            WanClass::Wan | WanClass::Untold if self.is_residual => Some(FRAMES_PER_SECOND_OF_5B),
            WanClass::Wan | WanClass::Untold => Some(FRAMES_PER_SECOND),
        }
    }

    /// By the stride that all classes store. diffusers blends before it takes pixels out of channels.
    fn tiling(&self) -> Tiling {
        let axis = AxisTiling::Stride {
            tile_sample_min_size: TILE_SAMPLE_MIN_SIZE,
            tile_sample_stride: TILE_SAMPLE_STRIDE,
        };
        let time = match self.has_frames() {
            true => TimeScale::first_alone(self.scale_factor_temporal),
            false => TimeScale::SAME,
        };
        Tiling::new(axis, axis, Scale::video(time, self.scale_factor_spatial))
            .with_grain(self.pixels_in_channels())
    }

    /// Pipelines of Wan and Qwen-Image divide by the reciprocal of the deviation.
    fn latent_space(&self) -> Option<LatentSpace> {
        let narrowed = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        let mean_and_std = Some((narrowed(&self.latents_mean), narrowed(&self.latents_std)));
        Some(LatentSpace { mean_and_std, ..LatentSpace::VAE })
    }

    /// Qwen-Image's pipelines pack, Wan's do not, and their latents have other numbers of axes. Of
    /// Qwen-Image-Layered, whose pictures alone have four channels, they pack layers. A token of
    /// Qwen-Image 2.1 is one cell.
    fn packing(&self) -> Option<Packing> {
        let side = match self.class {
            WanClass::Wan => return None,
            WanClass::Untold if self.is_residual => return None,
            WanClass::QwenImage21 => 1,
            WanClass::QwenImage | WanClass::Untold => 2,
        };
        let content = match self.out_channels {
            LAYERED_CHANNELS if side > 1 => TokenContent::Layers,
            _ => TokenContent::Picture,
        };
        let order = TokenOrder::ChannelsFirst;
        let [patch_height, patch_width] = [side; 2];
        Some(Packing { patch_height, patch_width, order, content, in_place: false })
    }

    /// Qwen-Image's class leaves out the clamp where it has blended tiles.
    fn output_range(&self, strategy: Strategy) -> Option<[f32; 2]> {
        let is_clamped = !self.is_qwen_image() || strategy != Strategy::Tiled;
        is_clamped.then_some([-1.0, 1.0])
    }

    fn assumed_of_range(&self, strategy: Strategy) -> Option<&'static str> {
        let is_assumed = self.class == WanClass::Untold && strategy == Strategy::Tiled;
        is_assumed.then_some(
            "the weights may be Wan's or Qwen-Image's; values are cut off at -1 and 1, as diffusers \
             does with Wan's tiles and not with Qwen-Image's",
        )
    }

    fn details(&self) -> Vec<(&'static str, Detail)> {
        let mut details = Vec::new();
        if self.class == WanClass::Untold {
            let text = "not told: an AutoencoderKLQwenImage is the same network";
            details.push(("class", Detail::Text(text)));
        }
        details.extend([
            ("z_dim", Detail::Count(self.z_dim)),
            ("out_channels", Detail::Count(self.picture_channels())),
            ("base_dim", Detail::Count(self.decoder_base_dim)),
            ("dim_mult", Detail::Counts(self.dim_mult.clone())),
            ("num_res_blocks", Detail::Count(self.num_res_blocks)),
            ("temperal_downsample", Detail::Flags(self.temperal_downsample.clone())),
            ("is_residual", Detail::Flag(self.is_residual)),
            ("patch_size", Detail::Count(self.pixels_in_channels())),
            ("latents_mean, _std", Detail::Text("per channel")),
        ]);
        details
    }

    fn to_json(&self) -> Value {
        let mut fields = json!({
            "_class_name": self.class(),
            "base_dim": self.base_dim,
            "z_dim": self.z_dim,
            "dim_mult": self.dim_mult,
            "num_res_blocks": self.num_res_blocks,
            "attn_scales": self.attn_scales,
            "temperal_downsample": self.temperal_downsample,
            "latents_mean": self.latents_mean,
            "latents_std": self.latents_std,
        });
        if self.is_qwen_image() {
            fields["input_channels"] = self.in_channels.into();
            return fields;
        }
        for (name, value) in [
            ("decoder_base_dim", json!(self.decoder_base_dim)),
            ("in_channels", json!(self.in_channels)),
            ("out_channels", json!(self.out_channels)),
            ("is_residual", json!(self.is_residual)),
            ("patch_size", json!(self.patch_size)),
            ("scale_factor_temporal", json!(self.scale_factor_temporal)),
            ("scale_factor_spatial", json!(self.scale_factor_spatial)),
        ] {
            fields[name] = value;
        }
        fields
    }
}
