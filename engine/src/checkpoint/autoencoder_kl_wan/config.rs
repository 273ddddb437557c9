//! The config of an `AutoencoderKLWan` or an `AutoencoderKLQwenImage`.

use std::num::NonZeroU32;

use halovae_core::{AxisTiling, Scale, Strategy, Tiling, TimeScale};
use serde_json::{Value, json};

use crate::checkpoint::config::{ConfigError, Detail, VaeConfig};
use crate::checkpoint::fields::{MAX_CHANNELS, check_mean_and_std, ensure, ensure_within};
use crate::latents::{LatentSpace, Packing, TokenContent, TokenOrder};
use crate::program::MOST_FRAMES;

/// The classes of diffusers.
pub(super) const WAN_CLASS: &str = "AutoencoderKLWan";
pub(super) const QWEN_IMAGE_CLASS: &str = "AutoencoderKLQwenImage";

/// Most levels of a decoder, as of an `AutoencoderKL`.
pub(super) const MAX_LEVELS: usize = 16;
/// Most resnets per level of the encoder.
pub(super) const MAX_RES_BLOCKS: u32 = 64;

/// Channels of the latents of every released model.
pub(super) const Z_DIM: u32 = 16;
/// Mean and standard deviation of these latents, the same in both classes.
pub(super) const LATENTS_MEAN: [f64; Z_DIM as usize] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
    -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
];
pub(super) const LATENTS_STD: [f64; Z_DIM as usize] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
    1.6382, 1.1253, 2.8251, 1.9160,
];

/// Channels of Qwen-Image-Layered's pictures; no Wan has as many.
pub(super) const LAYERED_CHANNELS: u32 = 4;

/// What Wan's models were trained on, and their pipelines' videos are saved with.
const FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(16).unwrap();

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
    /// Either: there was no config. It is called an `AutoencoderKLWan`.
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
    /// Channels of the frames that the decoder makes.
    pub out_channels: u32,
    /// Whether blocks have shortcuts around all of their resnets: in Wan 2.2's 5B model alone.
    pub is_residual: bool,
    /// Rows and columns of pixels that lie in the channels of one cell of the network's output.
    pub patch_size: Option<u32>,
    /// Frames per latent frame behind the first.
    pub scale_factor_temporal: u32,
    /// Pixels per latent cell, along each axis.
    pub scale_factor_spatial: u32,
}

impl AutoencoderKlWanConfig {
    /// The defaults of the class.
    pub(super) fn default_of(class: WanClass) -> Self {
        Self {
            class,
            base_dim: 96,
            decoder_base_dim: 96,
            z_dim: Z_DIM,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: Vec::new(),
            temperal_downsample: vec![false, true, true],
            latents_mean: LATENTS_MEAN.into(),
            latents_std: LATENTS_STD.into(),
            in_channels: 3,
            out_channels: 3,
            is_residual: false,
            patch_size: None,
            scale_factor_temporal: 4,
            scale_factor_spatial: 8,
        }
    }

    /// Whether mean and standard deviation are those of the released models.
    pub(super) fn has_known_space(&self) -> bool {
        self.z_dim == Z_DIM
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
        (doubled(temporal), doubled(self.dim_mult.len().saturating_sub(1)))
    }

    fn is_qwen_image(&self) -> bool {
        self.class == WanClass::QwenImage
    }
}

impl VaeConfig for AutoencoderKlWanConfig {
    fn class(&self) -> &'static str {
        match self.class {
            WanClass::QwenImage => QWEN_IMAGE_CLASS,
            WanClass::Wan | WanClass::Untold => WAN_CLASS,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ensure(!self.is_residual, "is_residual", self.is_residual, || {
            "false: the VAE of Wan 2.2 TI2V-5B is not supported".into()
        })?;
        if let Some(patch) = self.patch_size {
            ensure(patch == 1, "patch_size", patch, || {
                "null or 1: no VAE that packs pixels is supported".into()
            })?;
        }
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
        let levels = self.dim_mult.len();
        ensure(
            (1..=MAX_LEVELS).contains(&levels),
            "dim_mult",
            format_args!("a list of {levels} levels"),
            || format!("1 to {MAX_LEVELS} levels"),
        )?;
        for (level, &mult) in self.dim_mult.iter().enumerate() {
            let channels = u64::from(mult) * u64::from(self.decoder_base_dim);
            // All levels but the shallowest hand on half of their channels.
            let least = if level == 0 { 1 } else { 2 };
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
            || format!("{spatial}, which {levels} levels come to"),
        )?;
        check_mean_and_std(self.z_dim, Some(&self.latents_mean), Some(&self.latents_std))
    }

    fn is_video(&self) -> bool {
        true
    }

    /// That of Wan 2.1 and of 2.2 but for its 5B model; Qwen-Image makes no videos.
    fn frames_per_second(&self) -> Option<NonZeroU32> {
        (!self.is_qwen_image()).then_some(FRAMES_PER_SECOND)
    }

    /// By the stride that both classes store.
    fn tiling(&self) -> Tiling {
        let axis = AxisTiling::Stride {
            tile_sample_min_size: TILE_SAMPLE_MIN_SIZE,
            tile_sample_stride: TILE_SAMPLE_STRIDE,
        };
        let time = TimeScale::first_alone(self.scale_factor_temporal);
        Tiling::new(axis, axis, Scale::video(time, self.scale_factor_spatial))
    }

    /// Pipelines divide by the reciprocal of the deviation.
    fn latent_space(&self) -> Option<LatentSpace> {
        let narrowed = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        let mean_and_std = Some((narrowed(&self.latents_mean), narrowed(&self.latents_std)));
        Some(LatentSpace { mean_and_std, ..LatentSpace::VAE })
    }

    /// Qwen-Image's pipelines pack, Wan's do not, and their latents have other numbers of axes. Of
    /// Qwen-Image-Layered, whose pictures alone have four channels, they pack layers.
    fn packing(&self) -> Option<Packing> {
        let content = match self.out_channels {
            LAYERED_CHANNELS => TokenContent::Layers,
            _ => TokenContent::Picture,
        };
        let order = TokenOrder::ChannelsFirst;
        let packing = Packing { patch_height: 2, patch_width: 2, order, content, in_place: false };
        (self.class != WanClass::Wan).then_some(packing)
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
            ("out_channels", Detail::Count(self.out_channels)),
            ("base_dim", Detail::Count(self.decoder_base_dim)),
            ("dim_mult", Detail::Counts(self.dim_mult.clone())),
            ("num_res_blocks", Detail::Count(self.num_res_blocks)),
            ("temperal_downsample", Detail::Flags(self.temperal_downsample.clone())),
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
