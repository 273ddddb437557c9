//! Every kernel against a slow f64 version of itself, at every level of instructions that the
//! machine has, and on several numbers of threads.

use halovae_cpu::kernels::*;
use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

mod reference;
use reference::*;

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Values that look like activations: mean 0, a few units wide.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            let mut sum = 0.0;
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sum += (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            }
            sum * 1.7
        })
        .collect()
}

/// The contents of a buffer that a kernel has filled; kernels write all of their output.
fn written(buffer: &Buffer) -> &[f32] {
    // SAFETY: only called after a kernel has returned `Ok` for this buffer.
    unsafe { buffer.assume_init() }
}

fn max_error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).fold(0.0, |worst, (g, w)| {
        let error = (f64::from(*g) - w).abs();
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    })
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[derive(Debug, Clone)]
struct ConvCase {
    shape: ConvShape,
    padding: Margins,
    size: [usize; 3],
    prologue: u8,
    bias: bool,
    residual: bool,
    seed: u64,
}

struct ConvData {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Option<Vec<f32>>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    residual: Option<Vec<f32>>,
    out_len: usize,
}

impl ConvCase {
    fn data(&self) -> Option<ConvData> {
        let [n, h, w] = self.size;
        let s = &self.shape;
        let [oh, ow] = s.output_size([h, w], &self.padding)?;
        let fan_in = s.in_channels * s.kernel[0] * s.kernel[1];
        let out_len = n * oh * ow * s.out_channels;
        let weight = values(s.out_channels * fan_in, self.seed + 1);
        Some(ConvData {
            x: values(n * h * w * s.in_channels, self.seed),
            w: weight.iter().map(|v| v / (fan_in as f32).sqrt()).collect(),
            bias: self.bias.then(|| values(s.out_channels, self.seed + 2)),
            scale: values(n * s.in_channels, self.seed + 3),
            shift: values(n * s.in_channels, self.seed + 4),
            residual: self.residual.then(|| values(out_len, self.seed + 5)),
            out_len,
        })
    }

    fn prologue<'a>(&self, data: &'a ConvData) -> Prologue<'a> {
        match self.prologue {
            0 => Prologue::None,
            1 => Prologue::Silu,
            2 => Prologue::Affine { scale: &data.scale, shift: &data.shift },
            _ => Prologue::AffineSilu { scale: &data.scale, shift: &data.shift },
        }
    }

    fn run(&self, conv: &Conv, data: &ConvData, threads: usize) -> Vec<f32> {
        let mut out = Buffer::new(data.out_len).unwrap();
        let input = ConvInput {
            values: &data.x,
            size: self.size,
            padding: self.padding,
            prologue: self.prologue(data),
            residual: data.residual.as_deref(),
        };
        let (pool, mut workspace) = (pool(threads), Workspace::new());
        conv.run(&pool, &mut workspace, input, None, out.uninit()).unwrap();
        let with_prologue = self.prologue != 0;
        assert!(
            workspace.bytes()
                <= conv.workspace_bytes(self.size, &self.padding, with_prologue, threads) + 64
        );
        written(&out).to_vec()
    }

    fn reference(&self, data: &ConvData) -> Vec<f64> {
        let x = prologue(&data.x, self.size[0], self.shape.in_channels, &self.prologue(data));
        conv2d(
            &self.shape,
            &self.padding,
            self.size,
            &x,
            &data.w,
            data.bias.as_deref(),
            data.residual.as_deref(),
        )
    }
}

fn check_conv(case: &ConvCase) -> Result<(), TestCaseError> {
    let Some(data) = case.data() else { return Ok(()) };
    let want = case.reference(&data);
    let bound = 3e-5 * deviation(&want).max(0.5);
    for &level in Level::available() {
        let conv = Conv::prepare(level, case.shape, &data.w, data.bias.as_deref()).unwrap();
        let one = case.run(&conv, &data, 1);
        let error = max_error(&one, &want);
        prop_assert!(
            error <= bound,
            "{level:?} {:?}: error {error}",
            conv.algorithm([case.size[1], case.size[2]], &case.padding)
        );
        for threads in [2, 5] {
            prop_assert!(case.run(&conv, &data, threads) == one, "{level:?} on {threads} threads");
        }
        if let Some(residual) = &data.residual {
            let mut onto = residual.clone();
            let input = ConvInput {
                values: &data.x,
                size: case.size,
                padding: case.padding,
                prologue: case.prologue(&data),
                residual: None,
            };
            conv.run_onto(&pool(2), &mut Workspace::new(), input, None, &mut onto).unwrap();
            prop_assert!(onto == one, "{level:?} onto the residual");
        }
    }
    Ok(())
}

fn any_padding(most: usize) -> impl Strategy<Value = Margins> {
    [0..=most, 0..=most, 0..=most, 0..=most].prop_map(Margins::of_frame)
}

prop_compose! {
    fn any_conv()(
        channels in [1usize..40, 1usize..80],
        kernel in [1usize..=5, 1usize..=5],
        stride in [1usize..=3, 1usize..=2],
        padding in any_padding(3),
        upsample in 1usize..=3,
        size in [1usize..3, 1usize..14, 1usize..14],
        prologue in 0u8..4,
        bias in any::<bool>(),
        residual in any::<bool>(),
        seed in any::<u32>(),
    ) -> ConvCase {
        let shape = ConvShape {
            in_channels: channels[0], out_channels: channels[1], kernel, stride, upsample,
        };
        ConvCase { shape, padding, size, prologue, bias, residual, seed: u64::from(seed) }
    }
}

prop_compose! {
    fn transformed_conv()(
        in_channels in 16usize..150,
        out_channels in prop_oneof![1usize..200, Just(3), Just(64)],
        padding in any_padding(2),
        upsample in 1usize..=2,
        size in [1usize..3, 1usize..30, 1usize..30],
        prologue in 0u8..4,
        bias in any::<bool>(),
        residual in any::<bool>(),
        seed in any::<u32>(),
    ) -> ConvCase {
        let shape = ConvShape {
            in_channels, out_channels,
            kernel: [3, 3], stride: [1, 1], upsample,
        };
        ConvCase { shape, padding, size, prologue, bias, residual, seed: u64::from(seed) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn conv_of_any_shape(case in any_conv()) {
        check_conv(&case)?;
    }

    #[test]
    fn conv_through_transforms(case in transformed_conv()) {
        check_conv(&case)?;
    }

    #[test]
    fn pointwise_conv(
        channels in [1usize..300, 1usize..200],
        size in [1usize..3, 1usize..20, 1usize..20],
        prologue in 0u8..4, residual in any::<bool>(), seed in any::<u32>(),
    ) {
        let shape = ConvShape {
            in_channels: channels[0], out_channels: channels[1], kernel: [1, 1], stride: [1, 1],
            upsample: 1,
        };
        let padding = Margins::default();
        check_conv(&ConvCase { shape, padding, size, prologue, bias: true, residual, seed: u64::from(seed) })?;
    }

    #[test]
    fn norm_statistics(
        groups in 1usize..9, of_group in 1usize..20, n in 1usize..=2, pixels in 1usize..3000,
        offset in prop_oneof![Just(0.0f32), Just(1000.0), Just(-30.0)], seed in any::<u32>(),
    ) {
        let channels = groups * of_group;
        let x: Vec<f32> = values(n * pixels * channels, u64::from(seed))
            .into_iter().map(|v| v + offset).collect();
        let want = group_moments_reference(&x, [n, pixels, channels], groups);
        for &level in Level::available() {
            let run = |threads| {
                let shape = [n, pixels, channels];
                group_moments(level, &pool(threads), &mut Workspace::new(), &x, shape, groups).unwrap()
            };
            let got = run(1);
            for (g, (mean, variance)) in got.iter().zip(&want) {
                prop_assert!((g.mean - mean).abs() <= 1e-6 * (1.0 + f64::from(offset.abs()) * 0.1));
                prop_assert!((g.variance() - variance).abs() <= 1e-5 * variance + 1e-9, "{} {variance}", g.variance());
            }
            prop_assert_eq!(&got, &run(3));
        }
    }

    #[test]
    fn attention_in_blocks(
        n in 1usize..=2, queries in 1usize..250, keys in 1usize..600,
        channels in prop_oneof![1usize..70, Just(64), Just(96)], spread in 0.1f32..6.0, seed in any::<u32>(),
    ) {
        let shape = AttentionShape { n, queries, keys, channels };
        let seed = u64::from(seed);
        let q: Vec<f32> = values(n * queries * channels, seed).iter().map(|v| v * spread).collect();
        let (k, v) = (values(n * keys * channels, seed + 1), values(n * keys * channels, seed + 2));
        let scale = 1.0 / (channels as f32).sqrt();
        let want = attention_reference(&shape, &q, &k, &v, f64::from(scale));
        for &level in Level::available() {
            let run = |threads| {
                let mut out = Buffer::new(q.len()).unwrap();
                let mut workspace = Workspace::new();
                attention(level, &pool(threads), &mut workspace, shape, [&q, &k, &v], scale, Part::All, out.uninit()).unwrap();
                assert!(workspace.bytes() <= shape.workspace_bytes(level, threads) + 64);
                written(&out).to_vec()
            };
            let got = run(1);
            let error = max_error(&got, &want);
            // A score's rounding error grows with the score, and is one in the weight's exponent.
            let bound = 5e-6 * f64::from(1.0 + spread);
            prop_assert!(error <= bound, "{level:?}: {error}");
            prop_assert!(run(4) == got, "{level:?}");
        }
    }

    #[test]
    fn maps_and_sums(
        n in 1usize..=3, pixels in 1usize..400, channels in 1usize..150, kind in 0u8..4, seed in any::<u32>(),
    ) {
        let seed = u64::from(seed);
        let x: Vec<f32> = values(n * pixels * channels, seed).iter().map(|v| v * 4.0).collect();
        let y = values(x.len(), seed + 1);
        let (scale, shift) = (values(n * channels, seed + 2), values(n * channels, seed + 3));
        let map = match kind {
            0 => Prologue::None,
            1 => Prologue::Silu,
            2 => Prologue::Affine { scale: &scale, shift: &shift },
            _ => Prologue::AffineSilu { scale: &scale, shift: &shift },
        };
        let want = prologue(&x, n, channels, &map);
        // A few roundings, each at most 6e-8 of the largest intermediate: the product, which the
        // shift (at most 4 or so) can bring down to what is compared.
        let bound = 3e-7 * (4.0 + want.iter().fold(0.0f64, |most, value| most.max(value.abs())));
        for &level in Level::available() {
            let mut out = Buffer::new(x.len()).unwrap();
            apply(level, &pool(2), &x, [n, pixels, channels], map, out.uninit()).unwrap();
            prop_assert!(max_error(written(&out), &want) <= bound);
            sum(level, &pool(2), &x, &y, out.uninit()).unwrap();
            let mut onto = x.clone();
            add_assign(level, &pool(2), &mut onto, &y).unwrap();
            let plain: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            prop_assert!(written(&out) == plain);
            prop_assert!(onto == plain);
        }
    }

    #[test]
    fn nearest_upsampling(
        shape in [1usize..3, 1usize..9, 1usize..9, 1usize..9], factor in [1usize..4, 1usize..4], seed in any::<u32>(),
    ) {
        let [n, h, w, c] = shape;
        let x = values(n * h * w * c, u64::from(seed));
        let mut out = Buffer::new(x.len() * factor[0] * factor[1]).unwrap();
        upsample(&pool(2), &x, shape, factor, out.uninit()).unwrap();
        let out = written(&out);
        let (oh, ow) = (h * factor[0], w * factor[1]);
        for (i, value) in out.iter().enumerate() {
            let (ch, rest) = (i % c, i / c);
            let (ox, rest) = (rest % ow, rest / ow);
            let (oy, item) = (rest % oh, rest / oh);
            prop_assert_eq!(*value, x[((item * h + oy / factor[0]) * w + ox / factor[1]) * c + ch]);
        }
    }
}

/// The transforms at the depth of the real networks, where their error is largest. The bound is the
/// one that 30 convolutions in a row can afford.
#[test]
fn transform_error_at_full_depth() {
    for (cin, cout, side, upsample) in
        [(512, 512, 26, 1), (512, 64, 28, 1), (256, 128, 24, 1), (128, 3, 40, 1), (512, 64, 12, 2)]
    {
        let case = ConvCase {
            shape: ConvShape {
                in_channels: cin,
                out_channels: cout,
                kernel: [3, 3],
                stride: [1, 1],
                upsample,
            },
            padding: Margins::of_frame([1; 4]),
            size: [1, side, side],
            prologue: 3,
            bias: true,
            residual: false,
            seed: 7,
        };
        let data = case.data().unwrap();
        let want = case.reference(&data);
        for &level in Level::available() {
            let conv = Conv::prepare(level, case.shape, &data.w, data.bias.as_deref()).unwrap();
            assert_ne!(conv.algorithm([side, side], &case.padding), Algorithm::Direct);
            let got = case.run(&conv, &data, 2);
            let relative = max_error(&got, &want) / deviation(&want);
            let rms =
                (got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum::<f64>()
                    / want.len() as f64)
                    .sqrt()
                    / deviation(&want);
            eprintln!(
                "{cin}->{cout} {level:?} upsampled {upsample}: max {relative:.1e} rms {rms:.1e}"
            );
            assert!(relative <= 3e-5, "{cin}->{cout} {level:?}: {relative}");
        }
    }
}

/// SiLU from where it vanishes to where it is the identity, in units of the last place.
#[test]
fn silu_is_accurate() {
    let x: Vec<f32> = (-8600..=9000).map(|i| i as f32 * 0.01 + 0.003).collect();
    for &level in Level::available() {
        let mut out = Buffer::new(x.len()).unwrap();
        let shape = [1, x.len(), 1];
        apply(level, &pool(1), &x, shape, Prologue::Silu, out.uninit()).unwrap();
        let worst = x.iter().zip(written(&out)).fold(0.0f64, |worst, (x, got)| {
            let x = f64::from(*x);
            let want = x / (1.0 + (-x).exp());
            worst.max(((f64::from(*got) - want) / want).abs() / f64::from(f32::EPSILON))
        });
        eprintln!("silu {level:?}: {worst:.2} ulp");
        assert!(worst <= 4.0, "{level:?}: {worst} ulp");
    }
    for &level in Level::available() {
        let x = [f32::NAN, -0.0, 0.0, -1e30, 1e30, f32::INFINITY];
        let mut out = Buffer::new(x.len()).unwrap();
        apply(level, &pool(1), &x, [1, 1, x.len()], Prologue::Silu, out.uninit()).unwrap();
        let got = written(&out);
        assert!(got[0].is_nan() && got[1] == 0.0 && got[2] == 0.0, "{got:?}");
        assert!(got[3].abs() < 1e-6 && got[4] == 1e30 && got[5] == f32::INFINITY, "{got:?}");
    }
}

#[test]
fn wrong_sizes_are_errors() {
    let shape =
        ConvShape { in_channels: 4, out_channels: 4, kernel: [3, 3], stride: [1, 1], upsample: 1 };
    let level = Level::detect();
    assert!(matches!(
        Conv::prepare(level, shape, &[0.0; 7], None),
        Err(KernelError::Size { expected: 144, found: 7, .. })
    ));
    assert!(matches!(
        Conv::prepare(level, ConvShape { stride: [0, 1], ..shape }, &[0.0; 144], None),
        Err(KernelError::Shape { .. })
    ));
    let conv = Conv::prepare(level, shape, &[0.0; 144], None).unwrap();
    let input = ConvInput {
        values: &[0.0; 8],
        size: [1, 1, 2],
        padding: Margins::default(),
        prologue: Prologue::None,
        residual: None,
    };
    let result = conv.run(&pool(1), &mut Workspace::new(), input, None, &mut []);
    assert!(matches!(result, Err(KernelError::Shape { .. })));
    assert!(matches!(Buffer::new(usize::MAX / 8), Err(KernelError::OutOfMemory { .. })));
}
