//! Every kernel but the convolutions against a slow f64 version of itself, at every level of
//! instructions that the machine has, and on several numbers of threads.

use halovae_cpu::kernels::*;
use proptest::prelude::*;

mod common;
use common::reference::*;
use common::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

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
    fn channel_norms(
        frames in prop::collection::vec(0usize..300, 1..4), channels in 1usize..150,
        silu in any::<bool>(), scaled in any::<bool>(), by_eps in any::<bool>(), seed in any::<u32>(),
    ) {
        let seed = u64::from(seed);
        let divisor = match by_eps {
            true => Divisor { eps: 1e-8, floor: 0.0 },
            false => Divisor { eps: 0.0, floor: 1e-12 },
        };
        let mut x: Vec<Vec<f32>> =
            frames.iter().zip(seed..).map(|(n, s)| values(n * channels, s)).collect();
        // A position of zeros, whose norm is below the floor.
        x.iter_mut().for_each(|frame| frame.iter_mut().take(channels).for_each(|v| *v = 0.0));
        let gamma = values(channels, seed + 9);
        let slices: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
        for &level in Level::available() {
            let mut factors = Buffer::new(frames.iter().sum()).unwrap();
            position_factors(level, &pool(2), &slices, channels, divisor, factors.uninit()).unwrap();
            let mut first = 0;
            for frame in &x {
                let pixels = frame.len() / channels;
                let got = &written(&factors)[first..first + pixels];
                first += pixels;
                let want = position_factors_reference(frame, channels, divisor);
                for (got, want) in got.iter().zip(&want) {
                    prop_assert!((f64::from(*got) / want - 1.0).abs() < 1e-6, "{level:?}: {got} {want}");
                }
                let gamma = scaled.then_some(&gamma[..]);
                let map = Prologue::Positions { factors: &[got], gamma, silu };
                let mut in_place = frame.clone();
                let shape = [1, pixels, channels];
                apply_in_place(level, &pool(2), &mut in_place, shape, map).unwrap();
                let mut out = Buffer::new(frame.len()).unwrap();
                apply(level, &pool(1), frame, shape, map, out.uninit()).unwrap();
                prop_assert!(written(&out) == in_place);
                prop_assert!(max_error(&in_place, &prologue(frame, 1, channels, &map)) <= 1e-5);
            }
        }
    }

    #[test]
    fn layer_norms(
        pixels in 0usize..300, channels in 1usize..150, offset in -3.0f32..3.0, seed in any::<u32>(),
    ) {
        let seed = u64::from(seed);
        let x: Vec<f32> = values(pixels * channels, seed).iter().map(|v| v + offset).collect();
        let (gamma, beta) = (values(channels, seed + 1), values(channels, seed + 2));
        let mut out = Buffer::new(x.len()).unwrap();
        layer_norm(&pool(2), &x, [&gamma, &beta], 1e-2, out.uninit()).unwrap();
        let pixels = x.chunks_exact(channels).zip(written(&out).chunks_exact(channels));
        for (pixel, got) in pixels {
            let mean = pixel.iter().map(|v| f64::from(*v)).sum::<f64>() / channels as f64;
            let squares = pixel.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
            let root = (squares / channels as f64 + f64::from(1e-2f32)).sqrt();
            for (c, (x, got)) in pixel.iter().zip(got).enumerate() {
                let want = (f64::from(*x) - mean) / root * f64::from(gamma[c]) + f64::from(beta[c]);
                prop_assert!((f64::from(*got) - want).abs() <= 3e-5, "{got} {want}");
            }
        }
    }

    #[test]
    fn frames_out_of_channels(
        pixels in 1usize..200, channels in 1usize..50, factor in 1usize..4,
        first in 0usize..3, rest in 0usize..4, seed in any::<u32>(),
    ) {
        let of = |n: usize, c: usize, seed: u64| -> Vec<Vec<f32>> {
            (0..n as u64).map(|i| values(pixels * c, seed + i)).collect()
        };
        let a = of(first, channels, u64::from(seed));
        let b = of(rest, factor * channels, u64::from(seed) + 50);
        let (a, b): (Vec<&[f32]>, Vec<&[f32]>) =
            (a.iter().map(Vec::as_slice).collect(), b.iter().map(Vec::as_slice).collect());
        let len = pixels * channels;
        let mut out = Buffer::new((first + factor * rest) * len).unwrap();
        join_frames(&pool(2), &a, &b, factor, [pixels, channels], out.uninit()).unwrap();
        for (i, got) in written(&out).iter().enumerate() {
            let (frame, pixel, c) = (i / len, i % len / channels, i % channels);
            let want = match frame.checked_sub(first) {
                None => a[frame][pixel * channels + c],
                Some(at) => b[at / factor][(pixel * factor + at % factor) * channels + c],
            };
            prop_assert_eq!(*got, want);
        }
    }

    #[test]
    fn pixels_out_of_channels(
        shape in [1usize..9, 1usize..9, 1usize..20], space in 1usize..4, of_pixel in 1usize..12,
        seed in any::<u32>(),
    ) {
        let [h, w, c] = shape;
        let x = values(h * w * c, u64::from(seed));
        let channel = |row: usize, column: usize, at: usize| (at * 7 + row * 3 + column * 5) % c;
        let mut out = Buffer::new(h * w * space * space * of_pixel).unwrap();
        let order = |row, column| (0..of_pixel).map(|at| channel(row, column, at)).collect();
        shuffle(&pool(2), &x, shape, space, order, out.uninit()).unwrap();
        for (i, got) in written(&out).iter().enumerate() {
            let (at, pixel) = (i % of_pixel, i / of_pixel);
            let (column, row) = (pixel % (w * space), pixel / (w * space));
            let from = (row / space * w + column / space) * c;
            prop_assert_eq!(*got, x[from + channel(row % space, column % space, at)]);
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
fn clamps_keep_nan() {
    for &level in Level::available() {
        let mut x = values(70_000, 3);
        x[5] = f32::NAN;
        x[69_999] = f32::INFINITY;
        let want: Vec<u32> = x.iter().map(|v| v.clamp(-1.0, 0.5).to_bits()).collect();
        clamp(level, &pool(2), &mut x, [-1.0, 0.5]).unwrap();
        assert_eq!(x.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), want, "{level:?}");
        assert!(clamp(level, &pool(1), &mut x, [1.0, 0.5]).is_err());
    }
}
