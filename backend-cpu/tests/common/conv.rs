//! A convolution with its data, run and compared.

use proptest::prelude::*;

use super::*;

/// A convolution to test. The values follow from the seed.
#[derive(Debug, Clone)]
pub(crate) struct ConvCase {
    pub shape: ConvShape,
    pub padding: Margins,
    pub edges: [Edge; 2],
    pub frames: usize,
    /// Height and width of a frame.
    pub size: [usize; 2],
    pub taps: Vec<Option<usize>>,
    /// Samples that a norm has factors for.
    pub samples: usize,
    /// 0 none, 1 SiLU, 2 and 3 affine, 4 and 5 by position; the odd ones with SiLU.
    pub prologue: u8,
    pub bias: bool,
    pub residual: bool,
    pub seed: u64,
}

pub(crate) struct ConvData {
    /// Each frame has memory of its own.
    x: Vec<Vec<f32>>,
    pub w: Vec<f32>,
    pub bias: Option<Vec<f32>>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    factors: Vec<Vec<f32>>,
    residual: Option<Vec<Vec<f32>>>,
    /// Floats of an output frame.
    frame_len: usize,
}

fn slices(all: &[Vec<f32>]) -> Vec<&[f32]> {
    all.iter().map(Vec::as_slice).collect()
}

impl ConvCase {
    /// One frame for each output frame, as images have it.
    pub(crate) fn of_images(shape: ConvShape, [n, h, w]: [usize; 3]) -> Self {
        Self {
            shape,
            padding: Margins::default(),
            edges: [Edge::Zeros; 2],
            frames: n,
            size: [h, w],
            taps: (0..n).map(Some).collect(),
            samples: n,
            prologue: 0,
            bias: false,
            residual: false,
            seed: 7,
        }
    }

    fn outputs(&self) -> usize {
        self.taps.len() / self.shape.kernel[0]
    }

    pub(crate) fn data(&self) -> Option<ConvData> {
        let (s, [h, w]) = (&self.shape, self.size);
        let [oh, ow] = s.output_size(self.size, &self.padding)?;
        let fan_in = s.in_channels * s.kernel.iter().product::<usize>();
        let frame_len = oh * ow * s.out_channels;
        let weight = values(s.out_channels * fan_in, self.seed + 1);
        let split = |len: usize, frames: usize, seed: u64| -> Vec<Vec<f32>> {
            values(len * frames, seed).chunks_exact(len).map(<[f32]>::to_vec).collect()
        };
        Some(ConvData {
            x: split(h * w * s.in_channels, self.frames, self.seed),
            w: weight.iter().map(|v| v / (fan_in as f32).sqrt()).collect(),
            bias: self.bias.then(|| values(s.out_channels, self.seed + 2)),
            scale: values(self.samples * s.in_channels, self.seed + 3),
            shift: values(self.samples * s.in_channels, self.seed + 4),
            factors: split(h * w, self.frames, self.seed + 6),
            residual: self.residual.then(|| split(frame_len, self.outputs(), self.seed + 5)),
            frame_len,
        })
    }

    fn with_prologue<T>(&self, data: &ConvData, f: impl FnOnce(Prologue) -> T) -> T {
        let (scale, shift, factors) = (&data.scale, &data.shift, slices(&data.factors));
        f(match self.prologue {
            0 => Prologue::None,
            1 => Prologue::Silu,
            2 => Prologue::Affine { scale, shift },
            3 => Prologue::AffineSilu { scale, shift },
            kind => Prologue::Positions {
                factors: &factors,
                gamma: (kind != 6).then(|| &scale[..self.shape.in_channels]),
                silu: kind != 4,
            },
        })
    }

    /// Runs it for the output frames `from..to`.
    pub(crate) fn run_part(
        &self,
        conv: &Conv,
        data: &ConvData,
        threads: usize,
        [from, to]: [usize; 2],
    ) -> Vec<f32> {
        let mut out = Buffer::new(data.frame_len * (to - from)).unwrap();
        let (pool, mut workspace) = (pool(threads), Workspace::new());
        let residual = data.residual.as_ref().map(|r| slices(&r[from..to]));
        self.with_input(data, |input| {
            let time = self.shape.kernel[0];
            let taps = &input.taps[from * time..to * time];
            let input = ConvInput { taps, residual: residual.as_deref(), ..input };
            conv.run(&pool, &mut workspace, input, None, out.uninit()).unwrap();
        });
        let size = [to - from, self.size[0], self.size[1]];
        let bytes = conv.workspace_bytes(size, &self.padding, self.prologue != 0, threads);
        assert!(workspace.bytes() <= bytes + 64);
        written(&out).to_vec()
    }

    pub(crate) fn run(&self, conv: &Conv, data: &ConvData, threads: usize) -> Vec<f32> {
        self.run_part(conv, data, threads, [0, self.outputs()])
    }

    /// The input without a residual.
    fn with_input<T>(&self, data: &ConvData, f: impl FnOnce(ConvInput) -> T) -> T {
        self.with_prologue(data, |prologue| {
            f(ConvInput {
                frames: &slices(&data.x),
                taps: &self.taps,
                size: self.size,
                padding: self.padding,
                edges: self.edges,
                prologue,
                residual: None,
            })
        })
    }

    pub(crate) fn reference(&self, data: &ConvData) -> Vec<f64> {
        let (s, x) = (&self.shape, data.x.concat());
        let x =
            self.with_prologue(data, |p| reference::prologue(&x, self.frames, s.in_channels, &p));
        let bias = data.bias.as_deref();
        let mut out = reference::conv(
            s,
            (&self.padding, self.edges),
            self.size,
            &x,
            &self.taps,
            &data.w,
            bias,
        );
        for (o, r) in out.iter_mut().zip(data.residual.iter().flatten().flatten()) {
            *o += f64::from(*r);
        }
        out
    }
}

/// Compares a case with the reference at every level; the number of threads, the way into the
/// residual and how the output frames are shared out over calls must not show in any byte.
pub(crate) fn check_conv(case: &ConvCase) -> Result<(), TestCaseError> {
    let Some(data) = case.data() else { return Ok(()) };
    let want = case.reference(&data);
    let bound = 3e-5 * deviation(&want).max(0.5);
    for &level in Level::available() {
        // Where the transform for doubled images does not have the edges, the plain sum does.
        let bias = data.bias.as_deref();
        let conv = match case.shape.has_edges(&case.padding, case.edges) {
            true => Conv::prepare(level, case.shape, &data.w, bias),
            false => Conv::prepare_for(level, case.shape, &data.w, bias, Algorithm::Direct),
        };
        let conv = conv.unwrap();
        let one = case.run(&conv, &data, 1);
        let error = max_error(&one, &want);
        prop_assert!(
            error <= bound,
            "{level:?} {:?}: error {error}",
            conv.algorithm(case.size, &case.padding)
        );
        for threads in [2, 5] {
            prop_assert!(case.run(&conv, &data, threads) == one, "{level:?} on {threads} threads");
        }
        let outputs = case.outputs();
        if outputs > 1 {
            let cut = 1 + case.seed as usize % (outputs - 1);
            let mut parts = case.run_part(&conv, &data, 2, [0, cut]);
            parts.extend(case.run_part(&conv, &data, 2, [cut, outputs]));
            prop_assert!(parts == one, "{level:?} in two calls");
        }
        if let Some(residual) = &data.residual {
            let mut onto = residual.concat();
            case.with_input(&data, |input| {
                conv.run_onto(&pool(2), &mut Workspace::new(), input, None, &mut onto).unwrap();
            });
            prop_assert!(onto == one, "{level:?} onto the residual");
        }
    }
    Ok(())
}
