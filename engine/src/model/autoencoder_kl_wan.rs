//! The decoder of `AutoencoderKLWan` and `AutoencoderKLQwenImage`.
//!
//! Follows diffusers' `WanDecoder3d`, `WanMidBlock`, `WanUpBlock`, `WanResidualBlock` and
//! `WanResample`, whose convs over time see the frames before and zeros before the first one. diffusers
//! runs it frame by frame and keeps what convs look back to; here it is one program over all frames.

use halovae_core::{Axes, Window};

use crate::checkpoint::AutoencoderKlWanConfig;
use crate::program::{Model, Program, ProgramBuilder, ProgramError, ValueId};

/// What the Euclidean norm of the channels is at least, where it is divided by.
const FLOOR: f32 = 1e-12;

/// Reads one cell.
const POINT: Axes<Window> = Axes::new(Window::POINT, Window::POINT, Window::POINT);

impl Model for AutoencoderKlWanConfig {
    /// Without the clamp to -1..1 behind it, which diffusers does after it has blended tiles:
    /// [`output_range`](crate::checkpoint::VaeConfig::output_range).
    fn decoder(&self) -> Result<Program, ProgramError> {
        let mut builder = ProgramBuilder::first_frame_alone(self.z_dim)?;
        let mut x = builder.latents();
        x = conv(&mut builder, "post_quant_conv", x, self.z_dim, POINT)?;
        let mut levels = self.decoder_channels().peekable();
        let deepest = levels.peek().copied().unwrap_or(0);
        x = conv(&mut builder, "decoder.conv_in", x, deepest, causal(3))?;

        x = resnet(&mut builder, "decoder.mid_block.resnets.0", x, deepest)?;
        x = attention(&mut builder, "decoder.mid_block.attentions.0", x)?;
        x = resnet(&mut builder, "decoder.mid_block.resnets.1", x, deepest)?;

        let mut temporal = self.temporal_upsample();
        for (level, channels) in levels.enumerate() {
            let block = format!("decoder.up_blocks.{level}");
            for layer in 0..=self.num_res_blocks {
                x = resnet(&mut builder, &format!("{block}.resnets.{layer}"), x, channels)?;
            }
            if let Some(doubles_frames) = temporal.next() {
                x = upsample(&mut builder, &format!("{block}.upsamplers.0"), x, doubles_frames)?;
            }
        }

        x = builder.channel_norm("decoder.norm_out", x, FLOOR, 3)?;
        x = builder.silu("decoder.nonlinearity", x)?;
        x = conv(&mut builder, "decoder.conv_out", x, self.out_channels, causal(3))?;
        builder.finish(x)
    }
}

/// A cube of so many cells that ends with the frame that it is computed for.
const fn causal(kernel: u32) -> Axes<Window> {
    Axes::new(Window::causal(kernel), Window::centred(kernel), Window::centred(kernel))
}

fn conv(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    channels: u32,
    windows: Axes<Window>,
) -> Result<ValueId, ProgramError> {
    builder.conv_over_time(name, input, channels, windows, Axes::default())
}

/// norm, SiLU, conv, norm, SiLU, conv, plus the input, through a conv 1x1x1 where channels change.
fn resnet(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    channels: u32,
) -> Result<ValueId, ProgramError> {
    let mut h = input;
    let mut skip = input;
    for half in 1..=2 {
        h = builder.channel_norm(&format!("{name}.norm{half}"), h, FLOOR, 3)?;
        h = builder.silu(&format!("{name}.act{half}"), h)?;
        h = conv(builder, &format!("{name}.conv{half}"), h, channels, causal(3))?;
        // Between the two convs, as in the resnets of AutoencoderKL.
        if half == 1 && builder.channels(input) != channels {
            skip = conv(builder, &format!("{name}.conv_shortcut"), input, channels, POINT)?;
        }
    }
    builder.add(name, h, skip)
}

/// Single-head attention over each frame, with a norm before and a residual around.
fn attention(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
) -> Result<ValueId, ProgramError> {
    let channels = builder.channels(input);
    let normed = builder.channel_norm(&format!("{name}.norm"), input, FLOOR, 2)?;
    let qkv = builder.fused_projections(&format!("{name}.to_qkv"), normed, channels)?;
    let mixed = builder.attention(&format!("{name}.attention"), qkv)?;
    let out = builder.conv(&format!("{name}.proj"), mixed, channels, 1)?;
    builder.add(name, out, input)
}

/// Twice the rows and columns and half the channels; before that, where frames are doubled, two frames
/// out of each but the first, by a conv that does not see the first one either.
fn upsample(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    doubles_frames: bool,
) -> Result<ValueId, ProgramError> {
    let channels = builder.channels(input);
    let mut x = input;
    if doubles_frames {
        let behind_first = Window { skip: 1, ..Window::causal(3) };
        let windows = Axes { time: behind_first, ..POINT };
        let pairs = conv(builder, &format!("{name}.time_conv"), x, 2 * channels, windows)?;
        x = builder.join(&format!("{name}.frames"), x, pairs, 2)?;
    }
    x = builder.upsample(&format!("{name}.resample.0"), x, 2)?;
    builder.conv(&format!("{name}.resample.1"), x, channels / 2, 3)
}
