//! The operations as they are written in a textbook, in f64.

use halovae_cpu::kernels::{AttentionShape, ConvShape, Margins, Prologue};

pub(crate) fn prologue(x: &[f32], n: usize, c: usize, prologue: &Prologue) -> Vec<f64> {
    let item = x.len() / n;
    x.iter()
        .enumerate()
        .map(|(i, &x)| {
            let (x, at) = (f64::from(x), i / item * c + i % c);
            let silu = |x: f64| x / (1.0 + (-x).exp());
            match prologue {
                Prologue::None => x,
                Prologue::Silu => silu(x),
                Prologue::Affine { scale, shift } => {
                    x * f64::from(scale[at]) + f64::from(shift[at])
                }
                Prologue::AffineSilu { scale, shift } => {
                    silu(x * f64::from(scale[at]) + f64::from(shift[at]))
                }
            }
        })
        .collect()
}

pub(crate) fn conv2d(
    shape: &ConvShape,
    padding: &Margins,
    [n, h, w]: [usize; 3],
    x: &[f64],
    weight: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
) -> Vec<f64> {
    let [oh, ow] = shape.output_size([h, w], padding).unwrap();
    let (cin, cout, [kh, kw]) = (shape.in_channels, shape.out_channels, shape.kernel);
    let factor = shape.upsample;
    let mut out = Vec::with_capacity(n * oh * ow * cout);
    // `[tap][in][out]`, so that the inner loop runs along memory.
    let mut taps = vec![0.0; weight.len()];
    for (i, v) in weight.iter().enumerate() {
        let (tap, rest) = (i % (kh * kw), i / (kh * kw));
        let (ic, oc) = (rest % cin, rest / cin);
        taps[(tap * cin + ic) * cout + oc] = f64::from(*v);
    }
    for item in 0..n {
        for oy in 0..oh {
            for ox in 0..ow {
                let mut sums: Vec<f64> =
                    (0..cout).map(|oc| bias.map_or(0.0, |b| f64::from(b[oc]))).collect();
                for ky in 0..kh {
                    for kx in 0..kw {
                        let y = (oy * shape.stride[0] + ky).wrapping_sub(padding.top);
                        let x_at = (ox * shape.stride[1] + kx).wrapping_sub(padding.left);
                        if y >= h * factor || x_at >= w * factor {
                            continue;
                        }
                        let pixel = ((item * h + y / factor) * w + x_at / factor) * cin;
                        for ic in 0..cin {
                            let row = &taps[((ky * kw + kx) * cin + ic) * cout..][..cout];
                            let value = x[pixel + ic];
                            for (sum, weight) in sums.iter_mut().zip(row) {
                                *sum += value * weight;
                            }
                        }
                    }
                }
                out.extend(sums);
            }
        }
    }
    if let Some(residual) = residual {
        for (o, r) in out.iter_mut().zip(residual) {
            *o += f64::from(*r);
        }
    }
    out
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
