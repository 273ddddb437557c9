//! The decoders of `AutoencoderKLLTX2Video` and `AutoencoderKLLTXVideo`.
//!
//! Follows diffusers' `LTX2VideoDecoder3d`, `LTX2VideoMidBlock3d`, `LTX2VideoUpBlock3d`,
//! `LTX2VideoResnetBlock3d` and `LTX2VideoUpsampler3d`, of which the other class has copies. Convs see frames
//! behind their own, unless they are causal, and copies of the first and the last one beyond these.

use halovae_core::{Axes, Window};

use crate::checkpoint::{AutoencoderKlLtxConfig, LtxUpsampler};
use crate::program::{
    ChannelOrder, Edge, FrameRepeat, Model, Program, ProgramBuilder, ProgramError, ValueId,
};

/// Added to the mean square of the channels; torch's default is another.
const EPS: f32 = 1e-8;

/// Reads one cell.
const POINT: Axes<Window> = Axes::new(Window::POINT, Window::POINT, Window::POINT);

impl Model for AutoencoderKlLtxConfig {
    fn decoder(&self) -> Result<Program, ProgramError> {
        let mut blocks = Blocks::new(self)?;
        let mut x = blocks.builder.latents();
        x = blocks.conv("decoder.conv_in", x, self.deepest_channels())?;
        for index in 0..self.middle_resnets() {
            let name = format!("decoder.mid_block.resnets.{index}");
            x = blocks.resnet(&name, x, self.deepest_channels())?;
        }
        for (index, level) in self.levels().enumerate() {
            let block = format!("decoder.up_blocks.{index}");
            let channels = level.channels;
            if blocks.builder.channels(x) / level.factor != channels {
                x = blocks.resnet(&format!("{block}.conv_in"), x, channels)?;
            }
            if let Some(upsampler) = level.upsampler {
                let name = format!("{block}.upsamplers.0");
                x = blocks.upsample(&name, x, (channels, level.factor), upsampler)?;
            }
            for resnet in 0..level.resnets {
                x = blocks.resnet(&format!("{block}.resnets.{resnet}"), x, channels)?;
            }
        }
        x = blocks.builder.rms_norm("decoder.norm_out", x, EPS)?;
        x = blocks.builder.silu("decoder.conv_act", x)?;
        let side = self.patch_size;
        x = blocks.conv("decoder.conv_out", x, self.out_channels.saturating_mul(side * side))?;
        let mut builder = blocks.builder;
        if side > 1 {
            // Channel by channel all columns, of each column all rows.
            let order = ChannelOrder { row: 1, column: side, ..ChannelOrder::nested(1, side, 1) };
            let channels = self.out_channels;
            x = builder.shuffle("unpatchify", x, channels, (side, FrameRepeat::NONE), order)?;
        }
        builder.finish(x)
    }
}

/// Builds blocks.
struct Blocks {
    builder: ProgramBuilder,
    /// What convs read, but for those of shortcuts.
    windows: Axes<Window>,
    edges: Axes<Edge>,
    /// Of norms ahead of shortcuts.
    shortcut_eps: f32,
}

impl Blocks {
    fn new(config: &AutoencoderKlLtxConfig) -> Result<Self, ProgramError> {
        let beside = config.decoder_spatial_padding_mode;
        let around = Window::centred(3);
        let time = if config.decoder_causal { Window::causal(3) } else { around };
        Ok(Self {
            builder: ProgramBuilder::first_frame_alone(config.latent_channels)?,
            windows: Axes::new(time, around, around),
            edges: Axes::new(Edge::Repeat, beside, beside),
            shortcut_eps: config.resnet_norm_eps as f32,
        })
    }

    fn conv(&mut self, name: &str, input: ValueId, channels: u32) -> Result<ValueId, ProgramError> {
        let name = format!("{name}.conv");
        self.builder.conv_over_time(&name, input, channels, self.windows, self.edges)
    }

    /// norm, SiLU, conv, norm, SiLU, conv, plus the input, through another norm and a conv of one cell
    /// where channels change.
    fn resnet(
        &mut self,
        name: &str,
        input: ValueId,
        channels: u32,
    ) -> Result<ValueId, ProgramError> {
        let mut h = input;
        let mut skip = input;
        for half in 1..=2 {
            h = self.builder.rms_norm(&format!("{name}.norm{half}"), h, EPS)?;
            h = self.builder.silu(&format!("{name}.act{half}"), h)?;
            h = self.conv(&format!("{name}.conv{half}"), h, channels)?;
            // Between the two convs, as in the resnets of AutoencoderKL.
            if half == 1 && self.builder.channels(input) != channels {
                let normed =
                    self.builder.layer_norm(&format!("{name}.norm3"), input, self.shortcut_eps)?;
                let conv = format!("{name}.conv_shortcut");
                let edges = Axes::default();
                skip = self.builder.conv_over_time(&conv, normed, channels, POINT, edges)?;
            }
        }
        self.builder.add(name, h, skip)
    }

    /// Twice the rows, the columns, the frames, or all of them, out of the channels of a conv. Around it,
    /// where there is a shortcut, the same cells out of the input's channels, all of which are repeated until
    /// they are as many.
    fn upsample(
        &mut self,
        name: &str,
        input: ValueId,
        (channels, factor): (u32, u32),
        LtxUpsampler { doubles, has_shortcut }: LtxUpsampler,
    ) -> Result<ValueId, ProgramError> {
        let (side, cells) = (doubles.side(), doubles.cells());
        let repeat = FrameRepeat { factor: doubles.frames(), first_alone: true };
        let order = ChannelOrder::nested(doubles.frames(), side, 1);
        let conv = self.conv(&format!("{name}.conv"), input, channels.saturating_mul(cells))?;
        let shuffled = format!("{name}.shuffle");
        let x = self.builder.shuffle(&shuffled, conv, channels, (side, repeat), order)?;
        if !has_shortcut {
            return Ok(x);
        }
        let period = channels.saturating_mul(factor) / cells;
        let order = ChannelOrder { period, ..order };
        let shortcut = format!("{name}.shortcut");
        let skip = self.builder.shuffle(&shortcut, input, channels, (side, repeat), order)?;
        self.builder.add(name, x, skip)
    }
}
