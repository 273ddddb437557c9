//! The operations as they are written in a textbook, in f64.

use halovae_cpu::kernels::{AttentionShape, ConvShape, Divisor, Edge, Margins, Prologue};

/// `x` is `[frames][pixels][c]`.
pub(crate) fn prologue(x: &[f32], frames: usize, c: usize, prologue: &Prologue) -> Vec<f64> {
    let len = x.len() / frames;
    x.iter()
        .enumerate()
        .map(|(i, &x)| {
            let (x, frame, channel) = (f64::from(x), i / len, i % c);
            let silu = |x: f64| x / (1.0 + (-x).exp());
            match *prologue {
                Prologue::None => x,
                Prologue::Silu => silu(x),
                Prologue::Affine { scale, shift } | Prologue::AffineSilu { scale, shift } => {
                    let frames_of_sample = frames / (scale.len() / c);
                    let at = frame / frames_of_sample * c + channel;
                    let y = x * f64::from(scale[at]) + f64::from(shift[at]);
                    if matches!(prologue, Prologue::Affine { .. }) { y } else { silu(y) }
                }
                Prologue::Positions { factors, gamma, silu: with_silu } => {
                    let factor = f64::from(factors[frame][i % len / c]);
                    let y = x * factor * gamma.map_or(1.0, |gamma| f64::from(gamma[channel]));
                    if with_silu { silu(y) } else { y }
                }
            }
        })
        .collect()
}

/// A convolution over frames `[h][w][in_channels]` of which each output frame reads those that its
/// row of `taps` names.
pub(crate) fn conv(
    shape: &ConvShape,
    (padding, edges): (&Margins, [Edge; 2]),
    [h, w]: [usize; 2],
    x: &[f64],
    taps: &[Option<usize>],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f64> {
    let [oh, ow] = shape.output_size([h, w], padding).unwrap();
    let (cin, cout, [time, kh, kw]) = (shape.in_channels, shape.out_channels, shape.kernel);
    let factor = shape.upsample;
    let mut out = Vec::with_capacity(taps.len() / time * oh * ow * cout);
    // `[tap][in][out]`, so that the inner loop runs along memory.
    let in_kernel = time * kh * kw;
    let mut weights = vec![0.0; weight.len()];
    for (i, v) in weight.iter().enumerate() {
        let (tap, rest) = (i % in_kernel, i / in_kernel);
        let (ic, oc) = (rest % cin, rest / cin);
        weights[(tap * cin + ic) * cout + oc] = f64::from(*v);
    }
    for frames in taps.chunks_exact(time) {
        for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
            let mut sums: Vec<f64> =
                (0..cout).map(|oc| bias.map_or(0.0, |b| f64::from(b[oc]))).collect();
            for tap in 0..in_kernel {
                let Some(frame) = frames[tap / (kh * kw)] else { continue };
                let (ky, kx) = (tap / kw % kh, tap % kw);
                let y = (oy * shape.stride[0] + ky) as i64 - padding.top as i64;
                let x_at = (ox * shape.stride[1] + kx) as i64 - padding.left as i64;
                let read = inside(edges[0], y, h * factor).zip(inside(edges[1], x_at, w * factor));
                let Some((y, x_at)) = read else { continue };
                let pixel = ((frame * h + y / factor) * w + x_at / factor) * cin;
                for ic in 0..cin {
                    let row = &weights[(tap * cin + ic) * cout..][..cout];
                    for (sum, weight) in sums.iter_mut().zip(row) {
                        *sum += x[pixel + ic] * weight;
                    }
                }
            }
            out.extend(sums);
        }
    }
    out
}

/// The cell of `cells` that stands at `at`, walking from there to the cells: by copies, or by steps
/// that turn at the outermost ones.
fn inside(edge: Edge, at: i64, cells: usize) -> Option<usize> {
    let last = cells as i64 - 1;
    let found = match edge {
        Edge::Zeros => at,
        Edge::Repeat => at.min(last).max(0),
        Edge::Reflect if last == 0 => 0,
        Edge::Reflect => {
            let mut at = at;
            while !(0..=last).contains(&at) {
                at = if at < 0 { -at } else { 2 * last - at };
            }
            at
        }
    };
    usize::try_from(found).ok().filter(|&at| at < cells)
}

/// The factor of each pixel's channel norm.
pub(crate) fn position_factors_reference(
    x: &[f32],
    channels: usize,
    Divisor { eps, floor }: Divisor,
) -> Vec<f64> {
    x.chunks_exact(channels)
        .map(|pixel| {
            let squares = pixel.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let norm = (squares + channels as f64 * f64::from(eps)).sqrt();
            (channels as f64).sqrt() / norm.max(f64::from(floor))
        })
        .collect()
}

/// Mean and biased variance of each batch item and group.
pub(crate) fn group_moments_reference(
    x: &[f32],
    [n, pixels, channels]: [usize; 3],
    groups: usize,
) -> Vec<(f64, f64)> {
    let of_group = channels / groups;
    let mut all = Vec::new();
    for item in 0..n {
        for group in 0..groups {
            let values: Vec<f64> = (0..pixels)
                .flat_map(|p| {
                    (0..of_group)
                        .map(move |c| (item * pixels + p) * channels + group * of_group + c)
                })
                .map(|i| f64::from(x[i]))
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            all.push((mean, square / values.len() as f64));
        }
    }
    all
}

pub(crate) fn attention_reference(
    shape: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    scale: f64,
) -> Vec<f64> {
    let AttentionShape { n, queries, keys, channels } = *shape;
    let mut out = Vec::new();
    for item in 0..n {
        for query in 0..queries {
            let row = &q[(item * queries + query) * channels..][..channels];
            let key_row = |key: usize| (item * keys + key) * channels;
            let scores: Vec<f64> = (0..keys)
                .map(|key| {
                    let other = &k[key_row(key)..][..channels];
                    let dot: f64 =
                        row.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    dot * scale
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            for c in 0..channels {
                let sum: f64 =
                    (0..keys).map(|key| weights[key] * f64::from(v[key_row(key) + c])).sum();
                out.push(sum / total);
            }
        }
    }
    out
}
