//! The decoder of `AutoencoderKLHunyuanImage`: HunyuanImage 2.1.
//!
//! Follows diffusers' `HunyuanImageDecoder2D`, `HunyuanImageMidBlock` and `HunyuanImageUpsample`: around
//! conv_in and each upsampler goes a shortcut that repeats channels, and an upsampler makes its cells in
//! channels. diffusers has the resnets and upsamplers of all levels in one list.

use crate::checkpoint::AutoencoderKlHunyuanImageConfig;
use crate::program::{
    ChannelOrder, FrameRepeat, Model, Program, ProgramBuilder, ProgramError, ValueId,
};

use super::kl_blocks::{AttentionParts, EPS, attention, resnet};

const ATTENTION: AttentionParts = AttentionParts { norm: "norm", out: "proj", of_convs: true };

/// Rows and columns of cells that an upsampler makes of one.
const SIDE: u32 = 2;

impl Model for AutoencoderKlHunyuanImageConfig {
    fn decoder(&self) -> Result<Program, ProgramError> {
        let groups = Self::GROUPS;
        let mut builder = ProgramBuilder::new(self.latent_channels)?;
        let latents = builder.latents();
        let mut levels = self.decoder_channels().peekable();
        let deepest = levels.peek().copied().unwrap_or(0);
        // Ahead of the conv, which then adds to it.
        let repeated = repeat(&mut builder, "decoder.conv_in.shortcut", latents, deepest, 1)?;
        let mut x = builder.conv("decoder.conv_in", latents, deepest, 3)?;
        x = builder.add("decoder.conv_in.sum", x, repeated)?;

        x = resnet(&mut builder, "decoder.mid_block.resnets.0", x, deepest, groups)?;
        x = attention(&mut builder, "decoder.mid_block.attentions.0", x, groups, ATTENTION)?;
        x = resnet(&mut builder, "decoder.mid_block.resnets.1", x, deepest, groups)?;

        let mut names = (0..).map(|place: u32| format!("decoder.up_blocks.{place}"));
        let mut next = || names.next().expect("there is no end of them");
        let mut upsamplers = self.upsamplers();
        while let Some(channels) = levels.next() {
            for _ in 0..=self.layers_per_block {
                x = resnet(&mut builder, &next(), x, channels, groups)?;
            }
            let Some(&below) = levels.peek().filter(|_| upsamplers > 0) else { continue };
            upsamplers -= 1;
            // Without match_channel the resnets behind it would change channels, which is refused.
            x = upsample(&mut builder, &next(), x, below)?;
        }

        x = builder.group_norm("decoder.norm_out", x, groups, EPS)?;
        x = builder.silu("decoder.nonlinearity", x)?;
        x = builder.conv("decoder.conv_out", x, self.out_channels, 3)?;
        builder.finish(x)
    }
}

/// A conv makes all cells of each block in its channels, and a shortcut repeats the input's channels
/// until there are as many.
fn upsample(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    channels: u32,
) -> Result<ValueId, ProgramError> {
    let h = builder.conv(&format!("{name}.conv"), input, places(channels, SIDE), 3)?;
    let h = repeat(builder, &format!("{name}.cells"), h, channels, SIDE)?;
    let skip = repeat(builder, &format!("{name}.shortcut"), input, channels, SIDE)?;
    builder.add(name, h, skip)
}

/// Blocks of `side` rows and columns of `channels` channels: the channels of the input, each repeated as
/// often as it takes, are all channels of a block's first cell, then all of the next one of its row.
fn repeat(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    channels: u32,
    side: u32,
) -> Result<ValueId, ProgramError> {
    let copies = places(channels, side) / builder.channels(input).max(1);
    let row = channels.saturating_mul(side);
    let nested = ChannelOrder::nested(1, side, copies);
    let order = ChannelOrder { channel: 1, column: channels, row, ..nested };
    builder.shuffle(name, input, channels, (side, FrameRepeat::NONE), order)
}

/// Values of a block.
fn places(channels: u32, side: u32) -> u32 {
    channels.saturating_mul(side * side)
}
