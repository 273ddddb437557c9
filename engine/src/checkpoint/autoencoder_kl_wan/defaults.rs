//! Configs of the classes' defaults, and of released models that differ from them.

use super::config::{AutoencoderKlWanConfig, WanClass};
use super::statistics::{QWEN_IMAGE_2_1, WAN_2_1, WAN_2_2};

impl AutoencoderKlWanConfig {
    /// The defaults of the class.
    pub(super) fn default_of(class: WanClass) -> Self {
        if class == WanClass::QwenImage21 {
            return Self {
                class,
                decoder_base_dim: 144,
                z_dim: QWEN_IMAGE_2_1.channels(),
                dim_mult: vec![1, 2, 4, 8, 8],
                temperal_downsample: vec![false, true, true, true],
                latents_mean: QWEN_IMAGE_2_1.mean.into(),
                latents_std: QWEN_IMAGE_2_1.std.into(),
                in_channels: 4,
                out_channels: 4,
                is_residual: true,
                scale_factor_temporal: 8,
                scale_factor_spatial: 16,
                ..Self::default_of(WanClass::Wan)
            };
        }
        Self {
            class,
            base_dim: 96,
            decoder_base_dim: 96,
            z_dim: WAN_2_1.channels(),
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: Vec::new(),
            temperal_downsample: vec![false, true, true],
            latents_mean: WAN_2_1.mean.into(),
            latents_std: WAN_2_1.std.into(),
            in_channels: 3,
            out_channels: 3,
            is_residual: false,
            patch_size: None,
            scale_factor_temporal: 4,
            scale_factor_spatial: 8,
        }
    }

    /// That of Wan 2.2 TI2V-5B.
    pub(super) fn of_wan_2_2_5b() -> Self {
        let channels = 12;
        Self {
            base_dim: 160,
            decoder_base_dim: 256,
            z_dim: WAN_2_2.channels(),
            latents_mean: WAN_2_2.mean.into(),
            latents_std: WAN_2_2.std.into(),
            in_channels: channels,
            out_channels: channels,
            is_residual: true,
            patch_size: Some(2),
            scale_factor_spatial: 16,
            ..Self::default_of(WanClass::Wan)
        }
    }
}
