//! The decoder of diffusers' AutoencoderKL, of burn's own modules.
//!
//! Fields have diffusers' names, so that burn's reader of safetensors finds the weights by itself.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::silu;
use burn::tensor::module::{attention_fallback, interpolate};
use burn::tensor::ops::{AttentionModuleOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor};
use serde::Deserialize;

/// What of a `config.json` shapes the decoder.
#[derive(Debug, Deserialize)]
pub struct Config {
    block_out_channels: Vec<usize>,
    latent_channels: usize,
    layers_per_block: usize,
    norm_num_groups: usize,
    out_channels: usize,
    #[serde(default = "yes")]
    mid_block_add_attention: bool,
    #[serde(default = "yes")]
    use_post_quant_conv: bool,
}

fn yes() -> bool {
    true
}

const EPSILON: f64 = 1e-6;

/// Makes modules on a device.
struct Maker<'a> {
    groups: usize,
    device: &'a Device,
}

impl Maker<'_> {
    fn conv(&self, channels: [usize; 2], kernel: usize) -> Conv2d {
        let around = kernel / 2;
        Conv2dConfig::new(channels, [kernel, kernel])
            .with_padding(PaddingConfig2d::Explicit(around, around, around, around))
            .init(self.device)
    }

    fn norm(&self, channels: usize) -> GroupNorm {
        GroupNormConfig::new(self.groups, channels).with_epsilon(EPSILON).init(self.device)
    }

    fn linear(&self, channels: usize) -> Linear {
        LinearConfig::new(channels, channels).init(self.device)
    }
}

/// burn's group norm, but each mean in two steps. Its own reduces a group in one loop, and llvmpipe
/// ends loops after 65,535 rounds without a word: from 64x64 pixels on (512 channels) the means lack
/// elements.
fn group_norm(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let groups = norm.num_groups;
    let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2);
    let x = x.reshape([batch, groups, channels / groups * height, width]);
    let x = x.clone() - mean(x);
    let variance = mean(x.clone().square());
    let x = x / (variance + norm.epsilon).sqrt();
    let x = x.reshape([batch, channels, height, width]);
    let each = |parameter: &Option<Param<Tensor<1>>>| {
        parameter.as_ref().expect("an affine norm").val().reshape([1, channels, 1, 1])
    };
    x * each(&norm.gamma) + each(&norm.beta)
}

#[derive(Module, Debug)]
struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl Resnet {
    fn new(make: &Maker, inputs: usize, outputs: usize) -> Self {
        Self {
            norm1: make.norm(inputs),
            conv1: make.conv([inputs, outputs], 3),
            norm2: make.norm(outputs),
            conv2: make.conv([outputs, outputs], 3),
            conv_shortcut: (inputs != outputs).then(|| make.conv([inputs, outputs], 1)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(silu(group_norm(&self.norm1, x.clone())));
        let y = self.conv2.forward(silu(group_norm(&self.norm2, y)));
        match &self.conv_shortcut {
            Some(conv) => conv.forward(x) + y,
            None => x + y,
        }
    }
}

#[derive(Module, Debug)]
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Vec<Linear>,
}

impl Attention {
    fn new(make: &Maker, channels: usize) -> Self {
        Self {
            group_norm: make.norm(channels),
            to_q: make.linear(channels),
            to_k: make.linear(channels),
            to_v: make.linear(channels),
            to_out: vec![make.linear(channels)],
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let y = group_norm(&self.group_norm, x.clone());
        let y = y.reshape([batch, channels, height * width]).swap_dims(1, 2);
        let [q, k, v] = [&self.to_q, &self.to_k, &self.to_v]
            .map(|linear| linear.forward(y.clone()).unsqueeze_dim::<4>(1));
        // Products and softmax. burn's fused kernel is unrolled over the 512 channels of the one head:
        // 170,000 variables of WGSL, which llvmpipe has not compiled after minutes.
        let y = attention_fallback(q, k, v, None, None, AttentionModuleOptions::default());
        let y = self.to_out[0].forward(y.squeeze_dim::<3>(1));
        x + y.swap_dims(1, 2).reshape([batch, channels, height, width])
    }
}

#[derive(Module, Debug)]
struct Mid {
    resnets: Vec<Resnet>,
    attentions: Vec<Attention>,
}

#[derive(Module, Debug)]
struct Upsampler {
    conv: Conv2d,
}

#[derive(Module, Debug)]
struct Up {
    resnets: Vec<Resnet>,
    upsamplers: Vec<Upsampler>,
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid_block: Mid,
    up_blocks: Vec<Up>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// What turns latents into a picture.
#[derive(Module, Debug)]
pub struct Vae {
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
}

impl Vae {
    /// With weights that are still to be read.
    pub fn new(config: &Config, device: &Device) -> Self {
        let make = Maker { groups: config.norm_num_groups, device };
        let latent = config.latent_channels;
        let widths: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let mut inputs = first;
        let mut up_blocks = Vec::new();
        for (level, &outputs) in widths.iter().enumerate() {
            let resnets = (0..=config.layers_per_block)
                .map(|_| Resnet::new(&make, std::mem::replace(&mut inputs, outputs), outputs));
            let resnets = resnets.collect();
            let upsampler = (level + 1 < widths.len())
                .then(|| Upsampler { conv: make.conv([outputs, outputs], 3) });
            up_blocks.push(Up { resnets, upsamplers: upsampler.into_iter().collect() });
        }
        let attention = config.mid_block_add_attention.then(|| Attention::new(&make, first));
        Self {
            post_quant_conv: config.use_post_quant_conv.then(|| make.conv([latent, latent], 1)),
            decoder: Decoder {
                conv_in: make.conv([latent, first], 3),
                mid_block: Mid {
                    resnets: vec![
                        Resnet::new(&make, first, first),
                        Resnet::new(&make, first, first),
                    ],
                    attentions: attention.into_iter().collect(),
                },
                up_blocks,
                conv_norm_out: make.norm(last),
                conv_out: make.conv([last, config.out_channels], 3),
            },
        }
    }

    /// The picture of latents as diffusers' `vae.decode` takes them, both NCHW.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let x = match &self.post_quant_conv {
            Some(conv) => conv.forward(latents),
            None => latents,
        };
        let decoder = &self.decoder;
        let x = decoder.mid_block.resnets[0].forward(decoder.conv_in.forward(x));
        let x = decoder.mid_block.attentions.iter().fold(x, |x, part| part.forward(x));
        let mut x = decoder.mid_block.resnets[1].forward(x);
        for block in &decoder.up_blocks {
            x = block.resnets.iter().fold(x, |x, resnet| resnet.forward(x));
            for upsampler in &block.upsamplers {
                let twice =
                    InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0]);
                x = upsampler.conv.forward(interpolate(x, twice));
            }
        }
        decoder.conv_out.forward(silu(group_norm(&decoder.conv_norm_out, x)))
    }
}
