//! Small networks, and what the code bases that made them call their weights.

use std::collections::HashSet;

use halovae_engine::checkpoint::{
    AutoencoderKlConfig, AutoencoderKlFlux2Config, AutoencoderKlWanConfig, VaeConfig, WanClass,
};
use halovae_engine::program::WeightSpec;
use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::file::Tensor;

/// Most levels: more of them take more tensors, not other paths.
const MAX_LEVELS: usize = 5;

#[derive(Arbitrary, Debug)]
pub(crate) enum Network {
    AutoencoderKl {
        /// Shallowest first.
        channels: Vec<u8>,
        layers: u8,
        /// The upper half are FLUX.2's.
        latent_channels: u8,
        post_quant_conv: bool,
        attention: bool,
        /// Extents of 1 behind the attention's matrices in the original file.
        ones: u8,
    },
    Wan {
        /// Shallowest first, and whether frames are doubled into a level but the first.
        levels: Vec<(u8, bool)>,
        res_blocks: u8,
        /// The second quarter has shortcuts around levels, and the upper half sees no frames, either.
        z_dim: u8,
        out_channels: u8,
    },
}

/// Whose names a file has.
#[derive(Arbitrary, Debug)]
pub(crate) enum Named {
    Diffusers,
    Original,
    /// A bit for each weight says whose.
    Mixed(u64),
}

impl Named {
    fn is_original(&self, index: usize) -> bool {
        match self {
            Self::Diffusers => false,
            Self::Original => true,
            Self::Mixed(bits) => bits >> (index % 64) & 1 == 1,
        }
    }
}

impl Network {
    /// May be one that is refused.
    pub(crate) fn config(&self) -> Box<dyn VaeConfig> {
        match self {
            Self::AutoencoderKl {
                channels,
                layers,
                latent_channels,
                post_quant_conv,
                attention,
                ..
            } => {
                let channels = channels.iter().take(MAX_LEVELS).map(|&c| few(c, 8));
                let network = AutoencoderKlConfig {
                    block_out_channels: channels.collect(),
                    layers_per_block: few(*layers, 3),
                    latent_channels: few(*latent_channels, 16),
                    norm_num_groups: 1,
                    use_post_quant_conv: *post_quant_conv,
                    mid_block_add_attention: *attention,
                    ..AutoencoderKlConfig::default()
                };
                if !self.is_flux2() {
                    return network.into();
                }
                let default = AutoencoderKlFlux2Config::default();
                let AutoencoderKlConfig { scaling_factor, .. } = default.network;
                let block_out_channels = network.block_out_channels.clone();
                let network = AutoencoderKlConfig { scaling_factor, ..network };
                AutoencoderKlFlux2Config { network, block_out_channels, ..default }.into()
            }
            Self::Wan { levels, res_blocks, z_dim, out_channels } => {
                let levels = &levels[..levels.len().min(MAX_LEVELS)];
                let doubles = levels.iter().skip(1).map(|&(_, doubles)| doubles);
                let mut temperal_downsample: Vec<_> = doubles.collect();
                // Without any conv over time, networks of images are taken for the released one.
                if let (true, Some(deepest)) = (self.is_of_images(), temperal_downsample.last_mut())
                {
                    *deepest = true;
                }
                let of_time = temperal_downsample.iter().filter(|&&doubles| doubles).count();
                let z_dim = few(*z_dim, 17);
                let class = if self.is_of_images() { WanClass::QwenImage21 } else { WanClass::Wan };
                AutoencoderKlWanConfig {
                    class,
                    base_dim: 1,
                    decoder_base_dim: 1,
                    z_dim,
                    dim_mult: levels.iter().map(|&(channels, _)| few(channels, 8)).collect(),
                    num_res_blocks: few(*res_blocks, 3),
                    attn_scales: Vec::new(),
                    temperal_downsample,
                    latents_mean: vec![0.5; z_dim as usize],
                    latents_std: vec![2.5; z_dim as usize],
                    in_channels: 3,
                    // Beside shortcuts, more of them are taken for those of several pixels.
                    out_channels: few(*out_channels, if self.is_residual() { 4 } else { 8 }),
                    is_residual: self.is_residual(),
                    patch_size: None,
                    scale_factor_temporal: 1 << of_time,
                    scale_factor_spatial: 1 << levels.len().saturating_sub(1),
                }
                .into()
            }
        }
    }

    fn is_flux2(&self) -> bool {
        matches!(self, Self::AutoencoderKl { latent_channels: 128.., .. })
    }

    fn is_residual(&self) -> bool {
        matches!(self, Self::Wan { z_dim: 64.., .. })
    }

    fn is_of_images(&self) -> bool {
        matches!(self, Self::Wan { z_dim: 128.., .. })
    }

    /// Every weight of the decoder, each tensor once, and what tells FLUX.2's.
    pub(crate) fn tensors(&self, names: &Named, prefix: &str, dtype: u8) -> Vec<Tensor> {
        let Ok(program) = self.config().decoder() else { return Vec::new() };
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut seen = HashSet::new();
        for WeightSpec { name, shape, .. } in program.weights() {
            // Several weights may be parts of one tensor.
            if !seen.insert(name) {
                continue;
            }
            let mut shape: Vec<_> = shape.iter().map(|&extent| extent as u64).collect();
            let name = if names.is_original(tensors.len()) {
                shape.extend(self.ones(name, shape.len()));
                self.original(name)
            } else {
                name.clone()
            };
            tensors.push(Tensor::new(format!("{prefix}{name}"), dtype, shape));
        }
        let of_images = self.is_of_images().then(|| self.config());
        let of_images = of_images.as_ref().and_then(|config| config.downcast_ref());
        if let Some(config) = of_images {
            let temporal = AutoencoderKlWanConfig::temporal_upsample(config).enumerate();
            // What never runs is in files nevertheless.
            for (level, _) in temporal.filter(|&(_, doubles_frames)| doubles_frames) {
                let name = format!("decoder.up_blocks.{level}.upsampler.time_conv.weight");
                let is_original = names.is_original(tensors.len());
                let name = if is_original { self.original(&name) } else { name };
                tensors.push(Tensor::new(format!("{prefix}{name}"), dtype, vec![2, 1, 1, 1]));
            }
        }
        if let (true, Self::AutoencoderKl { latent_channels, .. }) = (self.is_flux2(), self) {
            let values = 4 * u64::from(few(*latent_channels, 16));
            for name in ["bn.running_mean", "bn.running_var"] {
                tensors.push(Tensor::new(format!("{prefix}{name}"), dtype, vec![values]));
            }
        }
        tensors
    }

    /// The first conv of an encoder.
    pub(crate) fn encoder(
        &self,
        names: &Named,
        prefix: &str,
        dtype: u8,
        channels: [u8; 2],
    ) -> Tensor {
        let is_original = names.is_original(0);
        let (name, axes) = match self {
            Self::AutoencoderKl { .. } => ("conv_in", 2),
            Self::Wan { .. } => {
                let axes = if self.is_of_images() { 2 } else { 3 };
                (if is_original { "conv1" } else { "conv_in" }, axes)
            }
        };
        let mut shape: Vec<_> = channels.map(|count| few(count, 8).into()).into();
        shape.extend(vec![1; axes]);
        Tensor::new(format!("{prefix}encoder.{name}.weight"), dtype, shape)
    }

    /// Extents that the original file has behind those of a weight.
    fn ones(&self, name: &str, axes: usize) -> Vec<u64> {
        match self {
            Self::AutoencoderKl { ones, .. } if axes == 2 && name.contains("attentions") => {
                vec![1; usize::from(ones % 3)]
            }
            _ => Vec::new(),
        }
    }

    /// What the original code calls a weight of diffusers.
    fn original(&self, name: &str) -> String {
        let Some(inner) = name.strip_prefix("decoder.") else {
            return match self {
                Self::AutoencoderKl { .. } if self.is_flux2() => format!("decoder.{name}"),
                Self::AutoencoderKl { .. } => name.into(),
                Self::Wan { .. } => name.replace("post_quant_conv", "conv2"),
            };
        };
        let mut parts = inner.split('.');
        let mut next = || parts.next().unwrap_or_default();
        let mut block = [next(), next(), next(), next()];
        if ["conv_in", "conv_out", "norm_out", "conv_norm_out"].contains(&block[0]) {
            let renamed = match (self, block[0]) {
                (Self::AutoencoderKl { .. }, "conv_norm_out") => "norm_out",
                (Self::AutoencoderKl { .. }, same) => same,
                (Self::Wan { .. }, "conv_in") => "conv1",
                (Self::Wan { .. }, "norm_out") => "head.0",
                (Self::Wan { .. }, _) => "head.2",
            };
            return format!("decoder.{renamed}.{}", block[1]);
        }
        if block[0] == "mid_block" {
            block = ["", block[0], block[1], block[2]];
        } else {
            // The level has a number.
            block = [block[1], block[0], block[2], block[3]];
        }
        let [level, _, kind, index] = block;
        // The only upsampler of a level with a shortcut has no number.
        let (module, index) = match kind {
            "upsampler" => (format!("{kind}."), "0"),
            _ => (format!("{kind}.{index}."), index),
        };
        let rest = inner.split_once(&module).map_or("", |(_, rest)| rest);
        match self {
            Self::AutoencoderKl { channels, .. } => {
                let levels = channels.len().min(MAX_LEVELS);
                of_ldm(levels, level, kind, index, rest)
            }
            Self::Wan { res_blocks, .. } => {
                let resnets = usize::from(res_blocks % 3) + 2;
                of_wan(resnets, self.is_residual(), [level, kind, index, rest])
            }
        }
    }
}

/// A count of at least one.
fn few(count: u8, most: u8) -> u32 {
    u32::from(count % most) + 1
}

/// LDM's name of a part of a module of that index, in the middle where no level is told.
fn of_ldm(levels: usize, level: &str, kind: &str, index: &str, part: &str) -> String {
    let part = part.replace("conv_shortcut", "nin_shortcut");
    let attention = [
        ("group_norm.", "norm."),
        ("to_q.", "q."),
        ("to_k.", "k."),
        ("to_v.", "v."),
        ("to_out.0.", "proj_out."),
    ];
    let Ok(level) = level.parse::<usize>() else {
        if kind == "resnets" {
            let number = usize::from(index == "1") + 1;
            return format!("decoder.mid.block_{number}.{part}");
        }
        let renamed = attention
            .iter()
            .find_map(|(new, original)| Some(format!("{original}{}", part.strip_prefix(new)?)));
        return format!("decoder.mid.attn_1.{}", renamed.unwrap_or(part));
    };
    let level = levels - 1 - level;
    match kind {
        "resnets" => format!("decoder.up.{level}.block.{index}.{part}"),
        _ => format!("decoder.up.{level}.upsample.{part}"),
    }
}

/// Wan's name of the same; a level has so many resnets, and an upsampler behind them.
fn of_wan(resnets: usize, is_residual: bool, [level, kind, index, part]: [&str; 4]) -> String {
    let of_resnet = [
        ("norm1.", "residual.0."),
        ("conv1.", "residual.2."),
        ("norm2.", "residual.3."),
        ("conv2.", "residual.6."),
        ("conv_shortcut.", "shortcut."),
    ];
    let renamed = of_resnet
        .iter()
        .filter(|_| kind == "resnets")
        .find_map(|(new, original)| Some(format!("{original}{}", part.strip_prefix(new)?)));
    let part = renamed.unwrap_or_else(|| part.into());
    let index: usize = index.parse().unwrap_or(0);
    let Ok(level) = level.parse::<usize>() else {
        let place = if kind == "resnets" { 2 * index } else { 1 };
        return format!("decoder.middle.{place}.{part}");
    };
    if is_residual {
        let place = if kind == "resnets" { index } else { resnets };
        return format!("decoder.upsamples.{level}.upsamples.{place}.{part}");
    }
    let first = level * (resnets + 1);
    let place = if kind == "resnets" { first + index } else { first + resnets };
    format!("decoder.upsamples.{place}.{part}")
}
