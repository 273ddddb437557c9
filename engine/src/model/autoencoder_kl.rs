//! The decoder of `AutoencoderKL`: SD 1.5, SDXL, SD 3, FLUX.1, Z-Image.
//!
//! Follows diffusers' `Decoder`, `UNetMidBlock2D`, `UpDecoderBlock2D`, `ResnetBlock2D` and
//! `Upsample2D`: conv_in, a middle of resnet, attention, resnet, then per level
//! `layers_per_block + 1` resnets and (but for the last level) a nearest upsample with a conv, at
//! the end norm, SiLU and conv_out.

use crate::checkpoint::AutoencoderKlConfig;
use crate::program::{Model, Program, ProgramBuilder, ProgramError};

use super::kl_blocks::{AttentionParts, EPS, attention, resnet};

const ATTENTION: AttentionParts =
    AttentionParts { norm: "group_norm", out: "to_out.0", of_convs: false };

impl Model for AutoencoderKlConfig {
    /// `post_quant_conv` is included where the model has one.
    fn decoder(&self) -> Result<Program, ProgramError> {
        let groups = self.norm_num_groups;
        let mut builder = ProgramBuilder::new(self.latent_channels)?;
        let mut x = builder.latents();
        if self.use_post_quant_conv {
            x = builder.conv("post_quant_conv", x, self.latent_channels, 1)?;
        }
        let deepest = self.block_out_channels.last().copied().unwrap_or(0);
        x = builder.conv("decoder.conv_in", x, deepest, 3)?;

        x = resnet(&mut builder, "decoder.mid_block.resnets.0", x, deepest, groups)?;
        if self.mid_block_add_attention {
            x = attention(&mut builder, "decoder.mid_block.attentions.0", x, groups, ATTENTION)?;
        }
        x = resnet(&mut builder, "decoder.mid_block.resnets.1", x, deepest, groups)?;

        let levels = self.block_out_channels.len();
        for (level, &channels) in self.block_out_channels.iter().rev().enumerate() {
            let block = format!("decoder.up_blocks.{level}");
            for layer in 0..=self.layers_per_block {
                x = resnet(&mut builder, &format!("{block}.resnets.{layer}"), x, channels, groups)?;
            }
            if level + 1 < levels {
                let name = format!("{block}.upsamplers.0");
                x = builder.upsample(&name, x, 2)?;
                x = builder.conv(&format!("{name}.conv"), x, channels, 3)?;
            }
        }

        x = builder.group_norm("decoder.conv_norm_out", x, groups, EPS)?;
        x = builder.silu("decoder.conv_act", x)?;
        x = builder.conv("decoder.conv_out", x, self.out_channels, 3)?;
        builder.finish(x)
    }
}
