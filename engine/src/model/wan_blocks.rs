//! What decoders of Wan's kind are made of, for videos and, with convs that see no other frames, for images.

use halovae_core::{Axes, Window};

use crate::program::{ChannelOrder, FrameRepeat, ProgramBuilder, ProgramError, ValueId};

/// What the Euclidean norm of the channels is at least, where it is divided by.
pub(super) const FLOOR: f32 = 1e-12;

/// Reads one cell.
const POINT: Axes<Window> = Axes::new(Window::POINT, Window::POINT, Window::POINT);

/// Builds blocks.
pub(super) struct Blocks {
    pub(super) builder: ProgramBuilder,
    /// Whether there may be several frames: convs then see those before their own, and zeros before the
    /// first one.
    has_frames: bool,
}

/// What is behind the resnets of a level.
#[derive(Clone, Copy)]
pub(super) struct Upsampler {
    /// Channels that it hands on.
    pub(super) channels: u32,
    /// Whether it makes two frames of each but the first.
    pub(super) doubles_frames: bool,
}

impl Blocks {
    pub(super) fn new(latent_channels: u32, has_frames: bool) -> Result<Self, ProgramError> {
        let builder = match has_frames {
            true => ProgramBuilder::first_frame_alone(latent_channels)?,
            false => ProgramBuilder::new(latent_channels)?,
        };
        Ok(Self { builder, has_frames })
    }

    /// A conv of so many cells along each axis, of which those in time end with the frame that is computed.
    pub(super) fn conv(
        &mut self,
        name: &str,
        input: ValueId,
        channels: u32,
        kernel: u32,
    ) -> Result<ValueId, ProgramError> {
        if !self.has_frames {
            return self.builder.conv(name, input, channels, kernel);
        }
        let centred = Window::centred(kernel);
        let windows = Axes::new(Window::causal(kernel), centred, centred);
        self.builder.conv_over_time(name, input, channels, windows, Axes::default())
    }

    /// norm, SiLU, conv, norm, SiLU, conv, plus the input, through a conv of one cell where channels
    /// change.
    pub(super) fn resnet(
        &mut self,
        name: &str,
        input: ValueId,
        channels: u32,
    ) -> Result<ValueId, ProgramError> {
        let mut h = input;
        let mut skip = input;
        for half in 1..=2 {
            h = self.builder.channel_norm(&format!("{name}.norm{half}"), h, FLOOR, 3)?;
            h = self.builder.silu(&format!("{name}.act{half}"), h)?;
            h = self.conv(&format!("{name}.conv{half}"), h, channels, 3)?;
            // Between the two convs, as in the resnets of AutoencoderKL.
            if half == 1 && self.builder.channels(input) != channels {
                skip = self.conv(&format!("{name}.conv_shortcut"), input, channels, 1)?;
            }
        }
        self.builder.add(name, h, skip)
    }

    /// Single-head attention over each frame, with a norm before and a residual around.
    pub(super) fn attention(
        &mut self,
        name: &str,
        input: ValueId,
    ) -> Result<ValueId, ProgramError> {
        let builder = &mut self.builder;
        let channels = builder.channels(input);
        let normed = builder.channel_norm(&format!("{name}.norm"), input, FLOOR, 2)?;
        let qkv = builder.fused_projections(&format!("{name}.to_qkv"), normed, channels)?;
        let mixed = builder.attention(&format!("{name}.attention"), qkv)?;
        let out = builder.conv(&format!("{name}.proj"), mixed, channels, 1)?;
        builder.add(name, out, input)
    }

    /// Twice the rows and columns, with other channels; before that, where frames are doubled, two frames
    /// out of each but the first, by a conv that does not see the first one either. `beside` is what is to
    /// be computed of another value before rows and columns get twice as many.
    pub(super) fn upsample(
        &mut self,
        name: &str,
        input: ValueId,
        Upsampler { channels: out_channels, doubles_frames }: Upsampler,
        beside: Option<Shortcut<'_>>,
    ) -> Result<ValueId, ProgramError> {
        let channels = self.builder.channels(input);
        let mut x = input;
        if doubles_frames && self.has_frames {
            let behind_first = Window { skip: 1, ..Window::causal(3) };
            let windows = Axes { time: behind_first, ..POINT };
            let (conv, frames) = (format!("{name}.time_conv"), format!("{name}.frames"));
            let edges = Axes::default();
            let pairs = self.builder.conv_over_time(&conv, x, 2 * channels, windows, edges)?;
            x = self.builder.join(&frames, x, pairs, 2)?;
        }
        let skip = beside.map(|shortcut| self.shortcut(shortcut, out_channels)).transpose()?;
        x = self.builder.upsample(&format!("{name}.resample.0"), x, 2)?;
        x = self.builder.conv(&format!("{name}.resample.1"), x, out_channels, 3)?;
        match skip {
            Some(skip) => self.builder.add(&format!("{name}.sum"), x, skip),
            None => Ok(x),
        }
    }

    /// The same, with a shortcut around it and all resnets of its level.
    pub(super) fn residual_upsample(
        &mut self,
        block: &str,
        input: ValueId,
        before: ValueId,
        upsampler: Upsampler,
    ) -> Result<ValueId, ProgramError> {
        let name = format!("{block}.avg_shortcut");
        let shortcut =
            Shortcut { name: &name, input: before, doubles_frames: upsampler.doubles_frames };
        self.upsample(&format!("{block}.upsampler"), input, upsampler, Some(shortcut))
    }

    /// Twice the rows, the columns and perhaps the frames, out of channels: diffusers' `DupUp3D`. It
    /// repeats channels until there are enough, takes a block of cells out of them, and drops what of
    /// the first frame's block lies before its last frame.
    fn shortcut(
        &mut self,
        Shortcut { name, input, doubles_frames }: Shortcut<'_>,
        channels: u32,
    ) -> Result<ValueId, ProgramError> {
        const SIDE: u32 = 2;
        let frames = if doubles_frames { 2 } else { 1 };
        let places = channels.saturating_mul(frames * SIDE * SIDE);
        let copies = places / self.builder.channels(input).max(1);
        let mut order = ChannelOrder::nested(frames, SIDE, copies);
        let repeat = match self.has_frames {
            true => FrameRepeat { factor: frames, first_alone: true },
            false => {
                order.first = (frames - 1) * order.frame;
                FrameRepeat::NONE
            }
        };
        self.builder.shuffle(name, input, channels, (SIDE, repeat), order)
    }
}

/// A value that goes around a level.
#[derive(Clone, Copy)]
pub(super) struct Shortcut<'a> {
    name: &'a str,
    input: ValueId,
    doubles_frames: bool,
}
