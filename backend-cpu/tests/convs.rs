//! Convolutions of images and videos against the sum as it is written, in f64, at every level of
//! instructions that the machine has, and on several numbers of threads.

use halovae_cpu::kernels::*;
use proptest::prelude::*;

mod common;
use common::conv::*;
use common::*;

fn any_padding(most: usize) -> impl Strategy<Value = Margins> {
    [0..=most, 0..=most, 0..=most, 0..=most].prop_map(Margins::of_frame)
}

/// What stays the same for all shapes: prologue, bias, residual, seed.
fn fusions(prologues: u8) -> impl Strategy<Value = (u8, bool, bool, u64)> {
    (0..prologues, any::<bool>(), any::<bool>(), any::<u32>().prop_map(u64::from))
}

fn any_edges() -> impl Strategy<Value = [Edge; 2]> {
    let edge =
        || prop_oneof![2 => Just(Edge::Zeros), 1 => Just(Edge::Repeat), 1 => Just(Edge::Reflect)];
    [edge(), edge()]
}

fn images(
    shape: ConvShape,
    size: [usize; 3],
    (padding, edges): (Margins, [Edge; 2]),
    (prologue, bias, residual, seed): (u8, bool, bool, u64),
) -> ConvCase {
    ConvCase { padding, edges, prologue, bias, residual, seed, ..ConvCase::of_images(shape, size) }
}

/// Output frames that read frames in any order, some of them none.
fn any_taps(time: usize, frames: usize) -> impl Strategy<Value = Vec<Option<usize>>> {
    let shuffled = prop::collection::vec(prop::option::weighted(0.8, 0..frames), time..=6 * time)
        .prop_map(move |mut taps| {
            taps.truncate(taps.len() / time * time);
            taps
        });
    // A causal convolution: zeros in front, or the first frame again.
    let causal = any::<bool>().prop_map(move |edge| {
        let tap = |output: usize, tap: usize| match (output + tap).checked_sub(time - 1) {
            None if edge => Some(0),
            frame => frame,
        };
        (0..frames).flat_map(|output| (0..time).map(move |t| tap(output, t))).collect()
    });
    prop_oneof![shuffled, causal]
}

prop_compose! {
    fn any_conv()(
        channels in [1usize..40, 1usize..80],
        kernel in [1usize..=5, 1usize..=5],
        stride in [1usize..=3, 1usize..=2],
        padding in (any_padding(3), any_edges()),
        upsample in 1usize..=3,
        size in [1usize..3, 1usize..14, 1usize..14],
        fused in fusions(4),
    ) -> ConvCase {
        let shape = ConvShape {
            in_channels: channels[0], out_channels: channels[1],
            kernel: [1, kernel[0], kernel[1]], stride, upsample,
        };
        images(shape, size, padding, fused)
    }
}

prop_compose! {
    fn transformed_conv()(
        in_channels in 16usize..150,
        out_channels in prop_oneof![1usize..200, Just(3), Just(64)],
        padding in (any_padding(2), any_edges()),
        upsample in 1usize..=2,
        size in [1usize..3, 1usize..30, 1usize..30],
        fused in fusions(4),
    ) -> ConvCase {
        let shape = ConvShape {
            in_channels, out_channels, kernel: [1, 3, 3], stride: [1, 1], upsample,
        };
        images(shape, size, padding, fused)
    }
}

prop_compose! {
    /// Direct ones of any kernel, and 3x3 ones that go through the transforms.
    fn video_conv()(
        time in 1usize..=3,
        frames in 1usize..=5,
    )(
        in_channels in prop_oneof![1usize..40, 16usize..100],
        out_channels in 1usize..100,
        kernel in prop_oneof![3 => Just([3, 3]), 1 => Just([1, 1]), 1 => [1usize..=4, 1usize..=4]],
        upsample in prop_oneof![2 => Just(1usize), 1 => Just(2)],
        padding in any_padding(2),
        edges in any_edges(),
        size in [1usize..20, 1usize..20],
        taps in any_taps(time, frames),
        whole in any::<bool>(),
        fused in fusions(7),
        time in Just(time),
        frames in Just(frames),
    ) -> ConvCase {
        let shape = ConvShape {
            in_channels, out_channels, kernel: [time, kernel[0], kernel[1]],
            stride: [1, 1], upsample,
        };
        let (prologue, bias, residual, seed) = fused;
        let samples = if whole { 1 } else { frames };
        ConvCase {
            shape, padding, edges, frames, size, taps, samples, prologue, bias, residual, seed,
        }
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
    fn conv_of_videos(case in video_conv()) {
        check_conv(&case)?;
    }

    #[test]
    fn pointwise_conv(
        channels in [1usize..300, 1usize..200],
        size in [1usize..3, 1usize..20, 1usize..20],
        fused in fusions(4),
    ) {
        let shape = ConvShape {
            in_channels: channels[0], out_channels: channels[1], kernel: [1, 1, 1], stride: [1, 1],
            upsample: 1,
        };
        check_conv(&images(shape, size, Default::default(), fused))?;
    }
}

/// The transforms at the depth of the real networks, where their error is largest. The bound is the
/// one that 30 convolutions in a row can afford.
#[test]
fn transform_error_at_full_depth() {
    for (cin, cout, side, upsample, time) in [
        (512, 512, 26, 1, 1),
        (512, 64, 28, 1, 1),
        (256, 128, 24, 1, 1),
        (128, 3, 40, 1, 1),
        (512, 64, 12, 2, 1),
        (384, 320, 24, 1, 3),
        (96, 96, 24, 1, 3),
    ] {
        let kernel = [time, 3, 3];
        let shape =
            ConvShape { in_channels: cin, out_channels: cout, kernel, stride: [1, 1], upsample };
        let case = ConvCase {
            padding: Margins::of_frame([1; 4]),
            prologue: 3,
            bias: true,
            // Two outputs, each of them of all frames.
            taps: [0..time, 0..time].into_iter().flatten().map(Some).collect(),
            ..ConvCase::of_images(shape, [time, side, side])
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
                "{cin}->{cout} {level:?} time {time} upsampled {upsample}: max {relative:.1e} rms {rms:.1e}"
            );
            assert!(relative <= 3e-5, "{cin}->{cout} {level:?}: {relative}");
        }
    }
}

/// Strips above and to the left.
fn beside((top, left): &(Vec<f32>, Vec<f32>)) -> halovae_core::Margins<&[f32]> {
    halovae_core::Margins::of_frame([top, &[][..], left, &[][..]])
}

/// A part of each frame, whose neighbours above and to the left come as strips, with the factors of
/// their positions: the same as that part of the whole.
#[test]
fn parts_of_videos_within_strips() {
    let (whole, part, first) = ([24, 20], [16, 15], [8, 5]);
    let frames = 3;
    let edges = [[Edge::Zeros; 2], [Edge::Repeat, Edge::Reflect], [Edge::Reflect, Edge::Repeat]];
    for (channels, edges) in [8, 24].into_iter().flat_map(|c| edges.map(|edges| (c, edges))) {
        let shape = ConvShape {
            in_channels: channels,
            out_channels: 20,
            kernel: [3, 3, 3],
            stride: [1, 1],
            upsample: 1,
        };
        let x = values(frames * whole[0] * whole[1] * channels, 1);
        let factors = values(frames * whole[0] * whole[1], 2);
        let gamma = values(channels, 3);
        let weight = values(20 * channels * 27, 4);
        // Rows and columns of each frame of something with `c` values for each pixel.
        let cut = |all: &[f32], c: usize, rows: [usize; 2], columns: [usize; 2]| -> Vec<f32> {
            (0..frames)
                .flat_map(|frame| (rows[0]..rows[1]).map(move |row| frame * whole[0] + row))
                .flat_map(|row| {
                    all[(row * whole[1] + columns[0]) * c..][..(columns[1] - columns[0]) * c]
                        .to_vec()
                })
                .collect()
        };
        let (rows, columns) = ([first[0], whole[0]], [first[1], whole[1]]);
        let margins = Margins::of_frame([1, 0, 1, 0]);
        let around = |all: &[f32], c: usize| {
            let above = cut(all, c, [first[0] - 1, first[0]], [first[1] - 1, whole[1]]);
            (above, cut(all, c, rows, [first[1] - 1, first[1]]))
        };
        let (values_around, factors_around) = (around(&x, channels), around(&factors, 1));
        let own = (cut(&x, channels, rows, columns), cut(&factors, 1, rows, columns));
        let taps: Vec<Option<usize>> = [None, Some(0), Some(1), Some(0), Some(1), Some(2)].into();
        for &level in Level::available() {
            let conv = Conv::prepare(level, shape, &weight, None).unwrap();
            let run = |size: [usize; 2], x: &[f32], factors: &[f32], halo: Option<LateStrips>| {
                let [x, factors] = [x, factors]
                    .map(|all| all.chunks_exact(all.len() / frames).collect::<Vec<&[f32]>>());
                let mut out = Buffer::new(2 * size[0] * size[1] * 20).unwrap();
                let input = ConvInput {
                    frames: &x,
                    taps: &taps,
                    size,
                    padding: Margins::of_frame([1; 4]),
                    edges,
                    prologue: Prologue::Positions {
                        factors: &factors,
                        gamma: Some(&gamma),
                        silu: true,
                    },
                    residual: None,
                };
                conv.run(&pool(2), &mut Workspace::new(), input, halo, out.uninit()).unwrap();
                written(&out).to_vec()
            };
            let mut fetch = |resume: &mut Resume| {
                resume(&Strips {
                    margins,
                    values: beside(&values_around),
                    factors: beside(&factors_around),
                });
                Ok(())
            };
            let halo = LateStrips { margins, fetch: &mut fetch };
            let got = run(part, &own.0, &own.1, Some(halo));
            let all = run(whole, &x, &factors, None);
            let error = (0..got.len()).fold(0.0f32, |worst, i| {
                let (pixel, c) = (i / 20, i % 20);
                let (frame, y) = (pixel / part[1] / part[0], pixel / part[1] % part[0] + first[0]);
                let at = (frame * whole[0] + y) * whole[1] + pixel % part[1] + first[1];
                worst.max((got[i] - all[at * 20 + c]).abs())
            });
            assert!(error < 1e-3, "{level:?}, {channels} channels, {edges:?}: {error}");
        }
    }
}

/// What is mirrored at one end of a part may lie beyond its other end: a task that reads no halo but
/// for that waits for it, too.
#[test]
fn reflections_of_what_lies_in_a_strip() {
    let shape = ConvShape {
        in_channels: 2,
        out_channels: 3,
        kernel: [1, 1, 3],
        stride: [1, 1],
        upsample: 1,
    };
    let [x, weight] = [values(3 * 2, 1), values(3 * 2 * 3, 2)];
    for &level in Level::available() {
        let conv = Conv::prepare(level, shape, &weight, None).unwrap();
        // Two cells of padding at one end, which mirror the third cell from there.
        for at_start in [true, false] {
            let padding = Margins::of_frame(if at_start { [0, 0, 2, 0] } else { [0, 0, 0, 2] });
            let run = |x: &[f32], halo: Option<LateStrips>| {
                let width = x.len() / 2;
                let input = ConvInput {
                    frames: &[x],
                    taps: &[Some(0)],
                    size: [1, width],
                    padding,
                    edges: [Edge::Zeros, Edge::Reflect],
                    prologue: Prologue::None,
                    residual: None,
                };
                let mut out = Buffer::new(3 * width).unwrap();
                conv.run(&pool(1), &mut Workspace::new(), input, halo, out.uninit()).unwrap();
                written(&out).to_vec()
            };
            let (part, strip) = if at_start { (&x[..4], &x[4..]) } else { (&x[2..], &x[..2]) };
            let mut cells = [0; 4];
            let mut strips = [&[][..]; 4];
            let side = if at_start { 3 } else { 2 };
            (cells[side], strips[side]) = (1, strip);
            let margins = Margins::of_frame(cells);
            let mut fetch = |resume: &mut Resume| {
                let values = halovae_core::Margins::of_frame(strips);
                resume(&Strips { margins, values, factors: Default::default() });
                Ok(())
            };
            let got = run(part, Some(LateStrips { margins, fetch: &mut fetch }));
            let all = run(&x, None);
            let wanted = if at_start { &all[..6] } else { &all[3..] };
            assert_eq!(got, wanted, "{level:?}, at the start {at_start}");
        }
    }
}

#[test]
fn wrong_sizes_are_errors() {
    let shape = ConvShape {
        in_channels: 4,
        out_channels: 4,
        kernel: [2, 3, 3],
        stride: [1, 1],
        upsample: 1,
    };
    let level = Level::detect();
    assert!(matches!(
        Conv::prepare(level, shape, &[0.0; 7], None),
        Err(KernelError::Size { expected: 288, found: 7, .. })
    ));
    assert!(matches!(
        Conv::prepare(level, ConvShape { stride: [0, 1], ..shape }, &[0.0; 288], None),
        Err(KernelError::Shape { .. })
    ));
    let conv = Conv::prepare(level, shape, &[0.0; 288], None).unwrap();
    let input = ConvInput {
        frames: &[&[0.0; 8]],
        taps: &[None, Some(0)],
        size: [1, 2],
        padding: Margins::default(),
        edges: [Edge::Zeros; 2],
        prologue: Prologue::None,
        residual: None,
    };
    let run = |input: ConvInput, len: usize| {
        let mut out = Buffer::new(len).unwrap();
        conv.run(&pool(1), &mut Workspace::new(), input, None, out.uninit())
    };
    // Too small for the kernel.
    assert!(matches!(run(input, 0), Err(KernelError::Shape { .. })));
    let input = ConvInput { padding: Margins::of_frame([1; 4]), ..input };
    assert_eq!(run(input, 8), Ok(()));
    // Half of an output frame's taps; a frame that is not there; a residual of another shape.
    assert!(matches!(run(ConvInput { taps: &[None], ..input }, 0), Err(KernelError::Size { .. })));
    let taps = [None, Some(1)];
    assert!(matches!(run(ConvInput { taps: &taps, ..input }, 8), Err(KernelError::Shape { .. })));
    let residual: [&[f32]; 1] = [&[0.0; 4]];
    let input = ConvInput { residual: Some(&residual), ..input };
    assert!(matches!(run(input, 8), Err(KernelError::Size { .. })));
    // Reflections of two cells, which the transform for doubled images does not have.
    let doubled = ConvShape { in_channels: 16, kernel: [1, 3, 3], upsample: 2, ..shape };
    let conv = Conv::prepare(level, doubled, &[0.0; 576], None).unwrap();
    let input = ConvInput {
        frames: &[&[0.0; 256]],
        taps: &[Some(0)],
        size: [4, 4],
        padding: Margins::of_frame([1; 4]),
        edges: [Edge::Repeat, Edge::Reflect],
        residual: None,
        ..input
    };
    let run = |input: ConvInput, pixels: usize| {
        let mut out = Buffer::new(4 * pixels).unwrap();
        conv.run(&pool(1), &mut Workspace::new(), input, None, out.uninit())
    };
    assert_eq!(run(input, 64), Ok(()));
    let wide = Margins::of_frame([2, 1, 1, 1]);
    assert_eq!(run(ConvInput { padding: wide, ..input }, 72), Ok(()));
    let wide = Margins::of_frame([1, 1, 1, 2]);
    assert!(matches!(
        run(ConvInput { padding: wide, ..input }, 72),
        Err(KernelError::Shape { reason }) if reason.contains("reflections")
    ));
    assert!(matches!(Buffer::new(usize::MAX / 8), Err(KernelError::OutOfMemory { .. })));
}
