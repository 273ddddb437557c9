//! Builds programs and keeps their promises.

use halovae_core::{Axes, Window};

use super::{
    Conv, Norm, Op, Program, ProgramError, Value, ValueId, ValueKind, WeightId, WeightSpec,
};

/// Most channels, groups or kernel extent that a program may have. Beyond it nothing real exists,
/// and below it sizes of single weights cannot overflow.
const LARGEST_EXTENT: u32 = 1 << 20;

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
    /// Starts a program that reads latents of so many channels.
    ///
    /// # Errors
    /// If there are none, or absurdly many.
    pub fn new(latent_channels: u32) -> Result<Self, ProgramError> {
        check_extent("latents", "channels", latent_channels)?;
        let input = Value {
            name: "latents".into(),
            kind: ValueKind::Features { channels: latent_channels, scale: 1 },
        };
        Ok(Self {
            program: Program {
                values: vec![input],
                weights: Vec::new(),
                ops: Vec::new(),
                input: ValueId(0),
                output: ValueId(0),
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

    /// A conv with bias, stride 1, and as much zero padding as keeps the extent.
    ///
    /// # Errors
    /// If the input is no feature map, or a size is zero, even (kernel) or absurd.
    pub fn conv(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
        kernel: u32,
    ) -> Result<ValueId, ProgramError> {
        let weight_shape = |input, kernel| vec![out_channels as usize, input, kernel, kernel];
        self.conv_with(name, input, out_channels, kernel, weight_shape)
    }

    /// A conv 1x1 with bias that the checkpoint keeps as a linear layer, weights `[out, in]`.
    ///
    /// # Errors
    /// As [`conv`](Self::conv).
    pub fn linear(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
    ) -> Result<ValueId, ProgramError> {
        self.conv_with(name, input, out_channels, 1, |input, _| vec![out_channels as usize, input])
    }

    fn conv_with(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
        kernel: u32,
        weight_shape: impl FnOnce(usize, usize) -> Vec<usize>,
    ) -> Result<ValueId, ProgramError> {
        let (in_channels, scale) = self.read_features(name, input)?;
        check_extent(name, "output channels", out_channels)?;
        check_extent(name, "kernel", kernel)?;
        if kernel.is_multiple_of(2) {
            return Err(ProgramError::Impossible {
                op: name.into(),
                what: format!("a kernel of {kernel} has no centre; expected an odd one"),
            });
        }
        let weight_shape = weight_shape(in_channels as usize, kernel as usize);
        let weight = self.weight(name, "weight", weight_shape)?;
        let bias = self.weight(name, "bias", vec![out_channels as usize])?;
        let output = self.features(name, out_channels, scale);
        let window = Window::centred(kernel);
        self.push(Op::Conv(Conv {
            input,
            output,
            weight,
            bias: Some(bias),
            windows: Axes::new(Window::POINT, window, window),
            in_channels,
            out_channels,
            norm: None,
            residual: None,
        }));
        Ok(output)
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
        let gamma = self.weight(name, "weight", vec![channels as usize])?;
        let beta = self.weight(name, "bias", vec![channels as usize])?;
        let stats = self.value(format!("{name}.stats"), ValueKind::Stats { groups });
        self.push(Op::NormStats { input, output: stats });
        let output = self.features(name, channels, scale);
        let norm = Norm { stats, gamma, beta, eps, silu: false };
        self.push(Op::NormApply { input, output, norm });
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
        let (channels, scale) = self.read_features(name, input)?;
        check_extent(name, "factor", factor)?;
        let scale =
            scale.checked_mul(factor).filter(|&s| s <= LARGEST_EXTENT).ok_or_else(|| {
                ProgramError::Impossible {
                    op: name.into(),
                    what: format!("scale {scale} times {factor} is beyond {LARGEST_EXTENT}"),
                }
            })?;
        let output = self.features(name, channels, scale);
        self.push(Op::Upsample { input, output, factor });
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

    /// Single-head attention, scores scaled by `1 / sqrt(channels)`.
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
    /// If `output` is no feature map.
    pub fn finish(mut self, output: ValueId) -> Result<Program, ProgramError> {
        self.read_features("output", output)?;
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

    fn features(&mut self, name: &str, channels: u32, scale: u32) -> ValueId {
        self.value(name.into(), ValueKind::Features { channels, scale })
    }

    fn weight(
        &mut self,
        module: &str,
        parameter: &str,
        shape: Vec<usize>,
    ) -> Result<WeightId, ProgramError> {
        let elements = shape.iter().fold(1u64, |n, &extent| n.saturating_mul(extent as u64));
        if elements > LARGEST_WEIGHT {
            return Err(ProgramError::Impossible {
                op: module.into(),
                what: format!("a weight of shape {shape:?} is beyond {LARGEST_WEIGHT} elements"),
            });
        }
        let id = WeightId(self.program.weights.len() as u32);
        self.program.weights.push(WeightSpec { name: format!("{module}.{parameter}"), shape });
        Ok(id)
    }

    fn read_features(&self, op: &str, id: ValueId) -> Result<(u32, u32), ProgramError> {
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
        scale: u32,
    ) -> Result<(), ProgramError> {
        let got = self.read_features(op, id)?;
        if got == (channels, scale) {
            return Ok(());
        }
        let words = |(channels, scale)| format!("{channels} channels at scale {scale}");
        Err(ProgramError::WrongOperand {
            op: op.into(),
            value: self.program.value(id).name.clone(),
            got: words(got),
            expected: words((channels, scale)),
        })
    }
}

fn check_extent(op: &str, what: &str, extent: u32) -> Result<(), ProgramError> {
    if (1..=LARGEST_EXTENT).contains(&extent) {
        return Ok(());
    }
    Err(ProgramError::Impossible {
        op: op.into(),
        what: format!("{what} = {extent}; expected 1 to {LARGEST_EXTENT}"),
    })
}
