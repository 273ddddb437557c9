//! Builds programs and keeps their promises.

mod conv;
mod scale;

use halovae_core::{Axes, Scale, TimeLaw, TimeScale, Window};

use super::{
    ChannelOrder, FrameRepeat, Norm, NormOver, Op, Program, ProgramError, Shuffle, Value, ValueId,
    ValueKind, WeightId, WeightSpec,
};

/// Most channels, groups or kernel extent that a program may have. Beyond it nothing real exists,
/// and below it sizes of single weights cannot overflow.
const LARGEST_EXTENT: u32 = 1 << 20;

/// Most frames of a value for each of the latents. Decoders have up to 8; decodes and their estimates go
/// through them one by one.
pub const MOST_FRAMES: u32 = 64;

/// Most elements of one weight.
const LARGEST_WEIGHT: u64 = 1 << 34;

/// Builds a [`Program`] of plain ops, op by op, checking each against its operands.
///
/// Names are those of the checkpoint's modules: a conv called `decoder.conv_in` reads the weights
/// `decoder.conv_in.weight` and `decoder.conv_in.bias`.
#[derive(Debug)]
pub struct ProgramBuilder {
    program: Program,
}

impl ProgramBuilder {
    /// Starts a program that reads latents of so many channels, whose frames are alike.
    ///
    /// # Errors
    /// If there are none, or absurdly many.
    pub fn new(latent_channels: u32) -> Result<Self, ProgramError> {
        Self::of_latents(latent_channels, TimeLaw::Even)
    }

    /// Starts a program that reads latents whose first frame becomes one frame, whatever the others
    /// become.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn first_frame_alone(latent_channels: u32) -> Result<Self, ProgramError> {
        Self::of_latents(latent_channels, TimeLaw::FirstAlone)
    }

    fn of_latents(channels: u32, law: TimeLaw) -> Result<Self, ProgramError> {
        check_extent("latents", "channels", channels)?;
        let scale = Scale { time: TimeScale { factor: 1, law }, space: 1 };
        let kind = ValueKind::Features { channels, scale };
        let input = Value { name: "latents".into(), kind };
        Ok(Self {
            program: Program {
                values: vec![input],
                weights: Vec::new(),
                ops: Vec::new(),
                input: ValueId(0),
                output: ValueId(0),
                one_frame: false,
            },
        })
    }

    /// The latents.
    pub fn latents(&self) -> ValueId {
        self.program.input
    }

    /// Channels of a value that was made by this builder.
    pub fn channels(&self, id: ValueId) -> u32 {
        self.program.features(id).0
    }

    /// A group norm: statistics, then their application.
    ///
    /// # Errors
    /// If the input is no feature map, or its channels cannot be divided into the groups.
    pub fn group_norm(
        &mut self,
        name: &str,
        input: ValueId,
        groups: u32,
        eps: f32,
    ) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, input)?;
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(ProgramError::Impossible {
                op: name.into(),
                what: format!("{channels} channels cannot be divided into {groups} norm groups"),
            });
        }
        let vector =
            |parameter: &str| WeightSpec::whole(format!("{name}.{parameter}"), [channels as usize]);
        let gamma = self.weight(name, vector("weight"))?;
        let beta = self.weight(name, vector("bias"))?;
        let stats = self.value(format!("{name}.stats"), ValueKind::Stats { groups });
        self.push(Op::NormStats { input, output: stats });
        let output = self.features(name, channels, scale);
        let norm = Norm { over: NormOver::Groups { stats, gamma, beta, eps }, silu: false };
        self.push(Op::NormApply { input, output, norm });
        Ok(output)
    }

    /// A norm over the channels of each position by their Euclidean norm, which is at least `floor`,
    /// without offset: `gamma` as the checkpoint has it has `[channels]` and `ones` more axes of one
    /// element.
    ///
    /// # Errors
    /// If the input is no feature map.
    pub fn channel_norm(
        &mut self,
        name: &str,
        input: ValueId,
        floor: f32,
        ones: usize,
    ) -> Result<ValueId, ProgramError> {
        let (channels, _) = self.read_features(name, input)?;
        let mut shape = vec![1; 1 + ones];
        shape[0] = channels as usize;
        let gamma = self.weight(name, WeightSpec::whole(format!("{name}.gamma"), shape))?;
        self.norm_over(name, input, NormOver::Channels { gamma: Some(gamma), eps: 0.0, floor })
    }

    /// A norm over the channels of each position by the root of their mean square, to which `eps` is
    /// added, without parameters.
    ///
    /// # Errors
    /// If the input is no feature map.
    pub fn rms_norm(
        &mut self,
        name: &str,
        input: ValueId,
        eps: f32,
    ) -> Result<ValueId, ProgramError> {
        self.norm_over(name, input, NormOver::Channels { gamma: None, eps, floor: 0.0 })
    }

    /// A layer norm over the channels of each position, with the weights `NAME.weight` and `NAME.bias`,
    /// `[channels]`.
    ///
    /// # Errors
    /// If the input is no feature map.
    pub fn layer_norm(
        &mut self,
        name: &str,
        input: ValueId,
        eps: f32,
    ) -> Result<ValueId, ProgramError> {
        let (channels, _) = self.read_features(name, input)?;
        let vector =
            |parameter: &str| WeightSpec::whole(format!("{name}.{parameter}"), [channels as usize]);
        let gamma = self.weight(name, vector("weight"))?;
        let beta = self.weight(name, vector("bias"))?;
        self.norm_over(name, input, NormOver::Layer { gamma, beta, eps })
    }

    /// A norm without statistics.
    fn norm_over(
        &mut self,
        name: &str,
        input: ValueId,
        over: NormOver,
    ) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, input)?;
        let output = self.features(name, channels, scale);
        self.push(Op::NormApply { input, output, norm: Norm { over, silu: false } });
        Ok(output)
    }

    /// SiLU.
    ///
    /// # Errors
    /// If the input is no feature map.
    pub fn silu(&mut self, name: &str, input: ValueId) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, input)?;
        let output = self.features(name, channels, scale);
        self.push(Op::Silu { input, output });
        Ok(output)
    }

    /// Repeats each row and column `factor` times.
    ///
    /// # Errors
    /// If the input is no feature map, or the scale gets absurd.
    pub fn upsample(
        &mut self,
        name: &str,
        input: ValueId,
        factor: u32,
    ) -> Result<ValueId, ProgramError> {
        self.upsample_over_time(name, input, factor, FrameRepeat::NONE)
    }

    /// Repeats each row and column `factor` times, and frames as `frames` says.
    ///
    /// # Errors
    /// If the input is no feature map, or the scale gets absurd.
    pub fn upsample_over_time(
        &mut self,
        name: &str,
        input: ValueId,
        factor: u32,
        frames: FrameRepeat,
    ) -> Result<ValueId, ProgramError> {
        let (channels, _) = self.read_features(name, input)?;
        check_extent(name, "factor", factor)?;
        check_extent(name, "factor", frames.factor)?;
        let frames = if frames.factor == 1 { FrameRepeat::NONE } else { frames };
        let of_frame = Window::repeated(factor);
        let windows = Axes::new(frames.window(), of_frame, of_frame);
        let scale = self.scale_through(name, input, &windows)?;
        let output = self.features(name, channels, scale);
        self.push(Op::Upsample { input, output, factor, frames });
        Ok(output)
    }

    /// The first frame of `first`, then the frames that lie in the channels of `rest`.
    ///
    /// # Errors
    /// If channels or scales do not fit: `rest` has what is computed of the frames behind the first
    /// one, and `factor` times the channels.
    pub fn join(
        &mut self,
        name: &str,
        first: ValueId,
        rest: ValueId,
        factor: u32,
    ) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, first)?;
        check_extent(name, "factor", factor)?;
        let time = TimeScale { law: TimeLaw::AfterFirst, ..scale.time };
        let expected = (channels.saturating_mul(factor), Scale { time, ..scale });
        self.expect_features(name, rest, expected.0, expected.1)?;
        let factor_there = scale.time.factor.saturating_mul(factor);
        check_frames(name, factor_there)?;
        let time = TimeScale { factor: factor_there, law: TimeLaw::FirstAlone };
        let output = self.features(name, channels, Scale { time, ..scale });
        self.push(Op::Join { first, rest, output, factor });
        Ok(output)
    }

    /// Takes cells out of channels: of each cell of the input a block of `space` rows and columns and of
    /// as many frames as `frames` says, of `channels` channels, in that order.
    ///
    /// # Errors
    /// If the input is no feature map or has too few channels, or the scale gets absurd.
    pub fn shuffle(
        &mut self,
        name: &str,
        input: ValueId,
        channels: u32,
        (space, frames): (u32, FrameRepeat),
        order: ChannelOrder,
    ) -> Result<ValueId, ProgramError> {
        let (in_channels, _) = self.read_features(name, input)?;
        check_extent(name, "output channels", channels)?;
        check_extent(name, "rows of a block", space)?;
        check_extent(name, "frames of a block", frames.factor)?;
        check_extent(name, "copies", order.copies)?;
        let last = match order.period {
            0 => {
                return Err(ProgramError::Impossible {
                    op: name.into(),
                    what: "period = 0; expected at least one channel until they begin again".into(),
                });
            }
            period => channels.min(period) - 1,
        };
        let last = order.of(last, [frames.factor - 1, space - 1, space - 1]);
        if last >= u64::from(in_channels) {
            return Err(ProgramError::Impossible {
                op: name.into(),
                what: format!(
                    "blocks of {channels} channels reach channel {last} of {in_channels} channels"
                ),
            });
        }
        let frames = if frames.factor == 1 { FrameRepeat::NONE } else { frames };
        let of_frame = Window::repeated(space);
        let scale =
            self.scale_through(name, input, &Axes::new(frames.window(), of_frame, of_frame))?;
        let output = self.features(name, channels, scale);
        self.push(Op::Shuffle(Shuffle { input, output, channels, space, frames, order }));
        Ok(output)
    }

    /// Cuts values off below `low` and above `high`.
    ///
    /// # Errors
    /// If the input is no feature map.
    pub fn clamp(
        &mut self,
        name: &str,
        input: ValueId,
        [low, high]: [f32; 2],
    ) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, input)?;
        let output = self.features(name, channels, scale);
        self.push(Op::Clamp { input, output, low, high });
        Ok(output)
    }

    /// Elementwise sum.
    ///
    /// # Errors
    /// If channels or scales differ.
    pub fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, a)?;
        self.expect_features(name, b, channels, scale)?;
        let output = self.features(name, channels, scale);
        self.push(Op::Add { a, b, output });
        Ok(output)
    }

    /// Single-head attention over each frame, scores scaled by `1 / sqrt(channels)`.
    ///
    /// # Errors
    /// If channels or scales of queries, keys and values differ.
    pub fn attention(
        &mut self,
        name: &str,
        [q, k, v]: [ValueId; 3],
    ) -> Result<ValueId, ProgramError> {
        let (channels, scale) = self.read_features(name, q)?;
        self.expect_features(name, k, channels, scale)?;
        self.expect_features(name, v, channels, scale)?;
        let output = self.features(name, channels, scale);
        let score_scale = 1.0 / (channels as f32).sqrt();
        self.push(Op::Attention { q, k, v, output, scale: score_scale });
        Ok(output)
    }

    /// Ends the program; `output` is the picture.
    ///
    /// # Errors
    /// If `output` is no feature map, or has no frames of the first frame of latents.
    pub fn finish(mut self, output: ValueId) -> Result<Program, ProgramError> {
        let (_, scale) = self.read_features("output", output)?;
        if scale.time.at(1).is_none_or(|frames| frames == 0) {
            return Err(ProgramError::Impossible {
                op: self.program.value(output).name.clone(),
                what: "it has no frame for a single frame of latents".into(),
            });
        }
        self.program.output = output;
        Ok(self.program)
    }

    fn push(&mut self, op: Op) {
        self.program.ops.push(op);
    }

    fn value(&mut self, name: String, kind: ValueKind) -> ValueId {
        // A program of 2^32 values would need a config of that many layers, which is refused.
        let id = ValueId(self.program.values.len() as u32);
        self.program.values.push(Value { name, kind });
        id
    }

    fn features(&mut self, name: &str, channels: u32, scale: Scale) -> ValueId {
        self.value(name.into(), ValueKind::Features { channels, scale })
    }

    fn weight(&mut self, op: &str, spec: WeightSpec) -> Result<WeightId, ProgramError> {
        let shape = &spec.shape;
        let elements = shape.iter().fold(1u64, |n, &extent| n.saturating_mul(extent as u64));
        if elements > LARGEST_WEIGHT {
            return Err(ProgramError::Impossible {
                op: op.into(),
                what: format!("a weight of shape {shape:?} is beyond {LARGEST_WEIGHT} elements"),
            });
        }
        let id = WeightId(self.program.weights.len() as u32);
        self.program.weights.push(spec);
        Ok(id)
    }

    fn read_features(&self, op: &str, id: ValueId) -> Result<(u32, Scale), ProgramError> {
        let value = self.program.value(id);
        match value.kind {
            ValueKind::Features { channels, scale } => Ok((channels, scale)),
            ValueKind::Stats { .. } => Err(ProgramError::WrongOperand {
                op: op.into(),
                value: value.name.clone(),
                got: "norm statistics".into(),
                expected: "a feature map".into(),
            }),
        }
    }

    fn expect_features(
        &self,
        op: &str,
        id: ValueId,
        channels: u32,
        scale: Scale,
    ) -> Result<(), ProgramError> {
        let got = self.read_features(op, id)?;
        if got == (channels, scale) {
            return Ok(());
        }
        let words = |(channels, scale): (u32, Scale)| match scale.time {
            TimeScale { factor: 1, law: TimeLaw::Even | TimeLaw::FirstAlone } => {
                format!("{channels} channels at scale {}", scale.space)
            }
            TimeScale { factor, law } => {
                let space = scale.space;
                format!("{channels} channels at scale {space}, {factor} frames each ({law:?})")
            }
        };
        Err(ProgramError::WrongOperand {
            op: op.into(),
            value: self.program.value(id).name.clone(),
            got: words(got),
            expected: words((channels, scale)),
        })
    }
}

fn check_extent(op: &str, what: &str, extent: u32) -> Result<(), ProgramError> {
    check_at_most(op, what, extent, LARGEST_EXTENT)
}

fn check_frames(op: &str, factor: u32) -> Result<(), ProgramError> {
    check_at_most(op, "frames for each of the latents", factor, MOST_FRAMES)
}

fn check_at_most(op: &str, what: &str, extent: u32, most: u32) -> Result<(), ProgramError> {
    if (1..=most).contains(&extent) {
        return Ok(());
    }
    Err(ProgramError::Impossible {
        op: op.into(),
        what: format!("{what} = {extent}; expected 1 to {most}"),
    })
}
