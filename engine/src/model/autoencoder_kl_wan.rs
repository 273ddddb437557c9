//! The decoders of `AutoencoderKLWan`, `AutoencoderKLQwenImage` and `AutoencoderKLQwenImage21`.
//!
//! Follows diffusers' `WanDecoder3d`, `WanMidBlock`, `WanUpBlock` and `WanResidualUpBlock`, and the
//! copies of them that the other classes have. diffusers runs it frame by frame and keeps what convs look
//! back to; here it is one program over all frames.

use crate::checkpoint::AutoencoderKlWanConfig;
use crate::program::{ChannelOrder, FrameRepeat, Model, Program, ProgramError};

use super::wan_blocks::{Blocks, FLOOR, Upsampler};

impl Model for AutoencoderKlWanConfig {
    /// Without the clamp to -1..1 behind it, which diffusers does after it has blended tiles:
    /// [`output_range`](crate::checkpoint::VaeConfig::output_range). Pixels that lie in channels are taken
    /// out of them, which diffusers does behind the blend, too: tiles have a
    /// [grain](halovae_core::Tiling::grain).
    fn decoder(&self) -> Result<Program, ProgramError> {
        let mut blocks = Blocks::new(self.z_dim, self.has_frames())?;
        let mut x = blocks.builder.latents();
        x = blocks.conv("post_quant_conv", x, self.z_dim, 1)?;
        let mut levels = self.decoder_channels().peekable();
        let deepest = levels.peek().copied().unwrap_or(0);
        x = blocks.conv("decoder.conv_in", x, deepest, 3)?;

        x = blocks.resnet("decoder.mid_block.resnets.0", x, deepest)?;
        x = blocks.attention("decoder.mid_block.attentions.0", x)?;
        x = blocks.resnet("decoder.mid_block.resnets.1", x, deepest)?;

        let mut temporal = self.temporal_upsample();
        for (level, channels) in levels.enumerate() {
            let block = format!("decoder.up_blocks.{level}");
            let before = x;
            for layer in 0..=self.num_res_blocks {
                x = blocks.resnet(&format!("{block}.resnets.{layer}"), x, channels)?;
            }
            let Some(doubles_frames) = temporal.next() else { continue };
            x = match self.is_residual {
                true => {
                    let upsampler = Upsampler { channels, doubles_frames };
                    blocks.residual_upsample(&block, x, before, upsampler)?
                }
                false => {
                    let upsampler = Upsampler { channels: channels / 2, doubles_frames };
                    blocks.upsample(&format!("{block}.upsamplers.0"), x, upsampler, None)?
                }
            };
        }

        x = blocks.builder.channel_norm("decoder.norm_out", x, FLOOR, 3)?;
        x = blocks.builder.silu("decoder.nonlinearity", x)?;
        x = blocks.conv("decoder.conv_out", x, self.out_channels, 3)?;
        let mut builder = blocks.builder;
        let side = self.pixels_in_channels();
        if side > 1 {
            // Channel by channel all columns, of each column all rows.
            let order = ChannelOrder { row: 1, column: side, ..ChannelOrder::nested(1, side, 1) };
            let channels = self.picture_channels();
            x = builder.shuffle("unpatchify", x, channels, (side, FrameRepeat::NONE), order)?;
        }
        builder.finish(x)
    }
}
