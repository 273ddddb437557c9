//! Configs of every family, of small networks and of any numbers.

use halovae_engine::checkpoint::{
    AutoencoderKlConfig, AutoencoderKlHunyuanImageConfig, AutoencoderKlLtxConfig,
    AutoencoderKlWanConfig, LtxClass, UpsampleType, VaeConfig, WanClass,
};
use halovae_engine::program::Edge;

use crate::input::{Input, Ltx, LtxBlock, Number, Wan};

/// Fusion looks at every op for every op; beyond that many resnets it takes long, not other paths.
const MAX_RESNETS: u32 = 32;

/// Longest lists of statistics: lists of other lengths than the channels are refused.
const MAX_STATISTICS: u32 = 1 << 12;

/// A config, and what the checks choose by.
pub(crate) struct Config {
    pub(crate) config: Box<dyn VaeConfig>,
    pub(crate) latent_channels: u32,
    pub(crate) out_channels: u32,
    pub(crate) levels: usize,
    /// Resnets of the levels.
    resnets: u32,
    /// Whether the decoder decodes in no time.
    pub(crate) is_small: bool,
}

impl Config {
    /// A valid config whose decoder does not have too many resnets.
    pub(crate) fn of(input: &Input) -> Option<Self> {
        let config = match (&input.wan, input.hunyuan_image, &input.ltx) {
            (Some(wan), ..) => Self::wan(wan),
            (None, Some(upsamplers), _) => Self::hunyuan_image(input, upsamplers),
            (None, None, Some(ltx)) => Self::ltx(ltx),
            (None, None, None) => Self::autoencoder_kl(input),
        };
        (config.config.validate().is_ok() && config.resnets <= MAX_RESNETS).then_some(config)
    }

    fn autoencoder_kl(input: &Input) -> Self {
        let groups = input.groups.get();
        let factor = if input.channels_per_group { groups } else { 1 };
        let channels = input.channels.iter().map(|c| c.get().wrapping_mul(factor));
        let config = AutoencoderKlConfig {
            block_out_channels: channels.collect(),
            norm_num_groups: groups,
            latent_channels: input.latent_channels.get(),
            out_channels: input.out_channels.get(),
            layers_per_block: input.layers.get(),
            sample_size: input.sample_size.map(Number::get),
            use_post_quant_conv: input.post_quant_conv,
            mid_block_add_attention: input.attention,
            ..AutoencoderKlConfig::default()
        };
        let levels = config.block_out_channels.len();
        Self {
            latent_channels: config.latent_channels,
            out_channels: config.out_channels,
            levels,
            resnets: resnets(levels, config.layers_per_block),
            is_small: levels <= 3
                && config.block_out_channels.iter().all(|&channels| channels <= 8)
                && config.layers_per_block <= 2
                && config.latent_channels <= 8
                && config.out_channels <= 8,
            config: config.into(),
        }
    }

    fn hunyuan_image(input: &Input, upsamplers: u8) -> Self {
        let groups = AutoencoderKlHunyuanImageConfig::GROUPS;
        let channels = input.channels.iter().map(|c| c.get().wrapping_mul(groups));
        let config = AutoencoderKlHunyuanImageConfig {
            block_out_channels: channels.collect(),
            latent_channels: input.latent_channels.get(),
            out_channels: input.out_channels.get(),
            layers_per_block: input.layers.get(),
            spatial_compression_ratio: 1u32.checked_shl(upsamplers.into()).unwrap_or(u32::MAX),
            sample_size: input.sample_size[0].get(),
            upsample_match_channel: input.attention,
            ..AutoencoderKlHunyuanImageConfig::default()
        };
        let levels = config.block_out_channels.len();
        Self {
            latent_channels: config.latent_channels,
            out_channels: config.out_channels,
            levels,
            resnets: resnets(levels, config.layers_per_block),
            is_small: levels <= 2
                && config.block_out_channels.iter().all(|&channels| channels == groups)
                && config.layers_per_block == 1
                && config.out_channels <= 8,
            config: config.into(),
        }
    }

    fn wan(wan: &Wan) -> Self {
        let class = match (wan.is_qwen_image, wan.is_residual) {
            (true, true) => WanClass::QwenImage21,
            (true, false) => WanClass::QwenImage,
            (false, _) => WanClass::Wan,
        };
        let z_dim = wan.z_dim.get();
        let levels = wan.levels.len();
        let doubles = wan.levels.iter().skip(1).map(|&(_, doubles_frames)| doubles_frames);
        let temperal_downsample: Vec<_> = doubles.collect();
        let doubled = |times: usize| 1u32.checked_shl(times as u32).unwrap_or(u32::MAX);
        let of_time = temperal_downsample.iter().filter(|&&doubles| doubles).count();
        let side = wan.patch_size.unwrap_or(1);
        let spatial = doubled(levels.saturating_sub(1)).saturating_mul(side);
        let own = [doubled(of_time), spatial];
        let [temporal, spatial] = wan.scales.map_or(own, |scales| scales.map(Number::get));
        let [decoder_base_dim, out_channels] = [wan.base_dim, wan.out_channels].map(Number::get);
        // Qwen-Image's class has one field for both.
        let encoder =
            wan.encoder.filter(|_| class != WanClass::QwenImage).map(|of| of.map(Number::get));
        let [base_dim, in_channels] = encoder.unwrap_or([decoder_base_dim, out_channels]);
        let config = AutoencoderKlWanConfig {
            class,
            base_dim,
            decoder_base_dim,
            z_dim,
            dim_mult: wan.levels.iter().map(|(mult, _)| mult.get()).collect(),
            num_res_blocks: wan.res_blocks.get(),
            attn_scales: Vec::new(),
            temperal_downsample,
            latents_mean: vec![0.5; z_dim.min(MAX_STATISTICS) as usize],
            latents_std: vec![2.5; z_dim.min(MAX_STATISTICS) as usize],
            in_channels,
            out_channels,
            is_residual: wan.is_residual,
            patch_size: wan.patch_size,
            scale_factor_temporal: temporal,
            scale_factor_spatial: spatial,
        };
        Self {
            latent_channels: z_dim,
            out_channels: config.picture_channels(),
            levels,
            resnets: resnets(levels, config.num_res_blocks),
            // Decodes over time are run only where they take no time.
            is_small: config.has_frames()
                || levels <= 3
                    && config.decoder_channels().all(|channels| channels <= 8)
                    && config.num_res_blocks <= 2
                    && z_dim <= 8
                    && out_channels <= 8,
            config: config.into(),
        }
    }
}

impl Config {
    fn ltx(ltx: &Ltx) -> Self {
        let edges = [Edge::Zeros, Edge::Reflect, Edge::Repeat];
        let types = [UpsampleType::Spatial, UpsampleType::Temporal, UpsampleType::Spatiotemporal];
        let is_ltx2 = ltx.is_ltx2;
        let doubles =
            |block: &LtxBlock| types[if is_ltx2 { block.doubles as usize % 3 } else { 2 }];
        // All lists but one are backwards.
        let backwards = || ltx.levels.iter().rev();
        let layers = backwards().map(|block| u32::from(block.resnets));
        let config = AutoencoderKlLtxConfig {
            class: if is_ltx2 { LtxClass::Ltx2 } else { LtxClass::Ltx },
            out_channels: ltx.out_channels.get(),
            latent_channels: ltx.latent_channels.get(),
            decoder_block_out_channels: backwards().map(|block| block.channels.get()).collect(),
            decoder_layers_per_block: layers.chain([u32::from(ltx.middle_resnets)]).collect(),
            decoder_spatio_temporal_scaling: backwards().map(|block| block.is_scaled).collect(),
            upsample_type: ltx.levels.iter().map(doubles).collect(),
            upsample_residual: backwards().map(|block| block.has_shortcut).collect(),
            upsample_factor: backwards().map(|block| u32::from(block.factor)).collect(),
            patch_size: ltx.patch_size.into(),
            resnet_norm_eps: 1e-6,
            scaling_factor: 1.0,
            decoder_causal: ltx.is_causal,
            decoder_spatial_padding_mode: edges[if is_ltx2 { ltx.edge as usize % 3 } else { 0 }],
            statistics: None,
        };
        // One more in each level, where channels change.
        let resnets = config.decoder_layers_per_block.iter().map(|&layers| layers + 1).sum();
        Self {
            latent_channels: config.latent_channels,
            out_channels: config.out_channels,
            levels: config.decoder_block_out_channels.len(),
            resnets,
            // Decodes over time are run only where they take no time.
            is_small: true,
            config: config.into(),
        }
    }
}

/// One more for each level than a config says.
fn resnets(levels: usize, layers: u32) -> u32 {
    layers.saturating_add(1).saturating_mul(levels as u32)
}
