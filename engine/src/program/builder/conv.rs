//! Convs, with their weights as the checkpoint has them.

use halovae_core::{Axes, Axis, Window};

use super::{ProgramBuilder, check_extent};
use crate::program::{Conv, Edge, Op, ProgramError, ValueId, WeightPart, WeightSpec};

/// What a conv 1x1 reads.
const POINTWISE: (Axes<Window>, Axes<Edge>) = (
    Axes::new(Window::POINT, Window::POINT, Window::POINT),
    Axes::new(Edge::Zeros, Edge::Zeros, Edge::Zeros),
);

impl ProgramBuilder {
    /// A conv with bias over rows and columns, stride 1, and as much zero padding as keeps the
    /// extent; weights `[out, in, rows, columns]`.
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
        let window = Window::centred(kernel);
        let windows = Axes::new(Window::POINT, window, window);
        let weight = |input| {
            WeightSpec::whole(
                format!("{name}.weight"),
                [out_channels, input, kernel, kernel].map(|extent| extent as usize),
            )
        };
        self.conv_of(name, input, out_channels, (windows, Axes::default()), weight)
    }

    /// A conv with bias over frames, rows and columns, with what stands beyond the input along each
    /// axis; weights `[out, in, frames, rows, columns]`.
    ///
    /// # Errors
    /// If the input is no feature map, a size is zero, even (kernel of rows and columns) or absurd,
    /// or the output does not keep in proportion to the latents.
    pub fn conv_over_time(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
        windows: Axes<Window>,
        edges: Axes<Edge>,
    ) -> Result<ValueId, ProgramError> {
        let Axes { time, height, width } = windows.map(|window| window.kernel);
        let weight = |input| {
            WeightSpec::whole(
                format!("{name}.weight"),
                [out_channels, input, time, height, width].map(|extent| extent as usize),
            )
        };
        self.conv_of(name, input, out_channels, (windows, edges), weight)
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
        let weight = |input| {
            WeightSpec::whole(
                format!("{name}.weight"),
                [out_channels, input].map(|extent| extent as usize),
            )
        };
        self.conv_of(name, input, out_channels, POINTWISE, weight)
    }

    /// Several convs 1x1 of `out_channels` channels each, whose weights lie in one tensor
    /// `[of * out, in, 1, 1]` one behind the other, as do their biases.
    ///
    /// # Errors
    /// As [`conv`](Self::conv).
    pub fn fused_projections<const OF: usize>(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
    ) -> Result<[ValueId; OF], ProgramError> {
        let all = out_channels as usize * OF;
        let mut outputs = [input; OF];
        for (index, output) in outputs.iter_mut().enumerate() {
            let part = WeightPart::Share { index, of: OF };
            let of_part = |parameter: &str, shape: Vec<usize>| WeightSpec {
                part,
                ..WeightSpec::whole(format!("{name}.{parameter}"), shape)
            };
            let weight = |input| of_part("weight", vec![all, input as usize, 1, 1]);
            let bias = of_part("bias", vec![all]);
            let name = format!("{name}.{index}");
            *output = self.conv_with_bias(&name, input, out_channels, POINTWISE, weight, bias)?;
        }
        Ok(outputs)
    }

    fn conv_of(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
        geometry: (Axes<Window>, Axes<Edge>),
        weight: impl FnOnce(u32) -> WeightSpec,
    ) -> Result<ValueId, ProgramError> {
        let bias = WeightSpec::whole(format!("{name}.bias"), [out_channels as usize]);
        self.conv_with_bias(name, input, out_channels, geometry, weight, bias)
    }

    fn conv_with_bias(
        &mut self,
        name: &str,
        input: ValueId,
        out_channels: u32,
        (windows, edges): (Axes<Window>, Axes<Edge>),
        weight: impl FnOnce(u32) -> WeightSpec,
        bias: WeightSpec,
    ) -> Result<ValueId, ProgramError> {
        let (in_channels, _) = self.read_features(name, input)?;
        check_extent(name, "output channels", out_channels)?;
        for axis in Axis::ALL {
            let kernel = windows[axis].kernel;
            check_extent(name, "kernel", kernel)?;
            if axis != Axis::Time && kernel.is_multiple_of(2) {
                return Err(ProgramError::Impossible {
                    op: name.into(),
                    what: format!("a kernel of {kernel} has no centre; expected an odd one"),
                });
            }
        }
        if edges.time == Edge::Reflect {
            return Err(ProgramError::Impossible {
                op: name.into(),
                what: "frames are padded with zeros or with repeats, not with reflections".into(),
            });
        }
        let scale = self.scale_through(name, input, &windows)?;
        for axis in [Axis::Height, Axis::Width] {
            if edges[axis] == Edge::Reflect && !windows[axis].reflects_within() {
                return Err(ProgramError::Impossible {
                    op: name.into(),
                    what: format!(
                        "with {} cells of padding before, a kernel of {} does not reach what they \
                         mirror; expected as much padding before as behind",
                        windows[axis].before, windows[axis].kernel
                    ),
                });
            }
        }
        let weight = self.weight(name, weight(in_channels))?;
        let bias = Some(self.weight(name, bias)?);
        let output = self.features(name, out_channels, scale);
        self.push(Op::Conv(Conv {
            input,
            output,
            weight,
            bias,
            windows,
            edges,
            in_channels,
            out_channels,
            norm: None,
            residual: None,
        }));
        Ok(output)
    }
}
