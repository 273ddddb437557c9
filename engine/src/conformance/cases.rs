//! The suite: each function takes a way to make a backend and panics where it does not conform.

use halovae_core::{Axes, Region, Window};

use super::case::{Case, assert_close, random_stats, random_tensor, whole};
use super::{Make, Random, Reference, Rounding};
use crate::backend::{Backend, Operand, Operands};
use crate::execute::execute;
use crate::program::{Conv, FrameRepeat, Op, Program, ProgramBuilder, ValueId, ValueKind, fuse};
use crate::tensor::{HostTensor, Shape};

/// Tensors come back as they went, whole and in part.
pub fn transfers<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    let mut random = Random::new(1);
    for _ in 0..20 {
        let mut extent = |high| random.integer(1, high) as usize;
        let shape = Shape::new(extent(3), extent(9), extent(9), extent(40));
        let tensor = rounding.tensor(random_tensor(&mut random, shape));
        let uploaded = backend.upload(&tensor).expect("upload");
        assert_eq!(backend.shape(&uploaded), shape);
        assert_eq!(backend.download(&uploaded, whole(shape)).expect("download"), tensor);
        let top = random.integer(0, shape.height as u32 - 1);
        let left = random.integer(0, shape.width as u32 - 1);
        let height = random.integer(1, shape.height as u32 - top);
        let width = random.integer(1, shape.width as u32 - left);
        let region = Region::new(top, left, height, width);
        let part = backend.download(&uploaded, region).expect("download");
        let samples: Vec<f32> = (0..shape.batch)
            .flat_map(|b| tensor.crop(b, region).expect("crop").into_data())
            .collect();
        assert_eq!(part.data(), samples, "{region:?} of {shape}");
    }
}

/// A conv case of random shape; `fused` adds norm, upsample and residual at random.
fn random_conv(random: &mut Random, fused: bool) -> (Case, Op) {
    conv_of(random, fused, [9, 21], &[1, 3, 8, 16, 19, 32, 48, 64, 67])
}

/// One with up to `most[0]` channels in each group, and up to `most[1]` cells more along each side than
/// the kernel has.
pub(super) fn conv_of(
    random: &mut Random,
    fused: bool,
    most: [u32; 2],
    outs: &[u32],
) -> (Case, Op) {
    let batch = random.integer(1, 2) as usize;
    let groups = random.integer(1, 8);
    let in_channels = groups * random.integer(1, most[0]);
    let out_channels = random.choice(outs);
    let kernel = random.choice(&[[1, 1], [3, 3], [3, 3], [3, 3], [5, 3], [2, 2]]);
    let stride = random.choice(&[[1, 1], [1, 1], [1, 1], [2, 2], [1, 2]]);
    let side = |random: &mut Random, k: u32| random.integer(0, k / 2 + 1);
    let [before, behind] = match random.coin() {
        true => [[kernel[0] / 2; 2]; 2],
        false => [(); 2].map(|()| kernel.map(|taps| side(random, taps))),
    };
    let upsample = if fused { random.choice(&[1, 2, 2, 3]) } else { 1 };
    let window = |axis: usize| Window {
        kernel: kernel[axis],
        stride: stride[axis],
        before: before[axis],
        behind: behind[axis],
        repeat: upsample,
        ..Window::POINT
    };
    let norm = fused && random.coin();
    let residual = fused && random.coin();
    let extent =
        |random: &mut Random, kernel: u32| random.integer(kernel, kernel + most[1]) as usize;
    let [height, width] = [extent(random, kernel[0]), extent(random, kernel[1])];

    let mut case = Case::new();
    let shape = Shape::new(batch, height, width, in_channels as usize);
    let tensor = random_tensor(random, shape);
    let input = case.features("input", tensor);
    let norm = norm.then(|| {
        let stats = case.stats(random_stats(random, batch, groups as usize));
        case.norm(in_channels, stats, random.coin())
    });
    let weight_shape = [out_channels, in_channels, kernel[0], kernel[1]];
    let weight = case.weight("conv.weight", &weight_shape);
    let bias = random.coin().then(|| case.weight("conv.bias", &[out_channels]));
    let mut conv = Conv {
        input,
        output: ValueId(0),
        weight,
        bias,
        windows: Axes::new(Window::POINT, window(0), window(1)),
        edges: Axes::default(),
        in_channels,
        out_channels,
        norm,
        residual: None,
    };
    if residual {
        let tensor = random_tensor(random, conv.output_shape(shape));
        conv.residual = Some(case.features("residual", tensor));
    }
    conv.output = case.output(out_channels);
    (case, Op::Conv(conv))
}

/// Plain convs: kernels, strides, padding per side, any channels.
pub fn convs<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..60 {
        let (case, op) = random_conv(&mut Random::new(seed), false);
        assert!(backend.supports(&case.program, &op), "every plain op must be supported: {op:?}");
        case.check(&backend, &rounding, op, seed);
    }
}

/// Convs with norm, activation, upsample and residual fused into them, as far as supported.
pub fn fused_convs<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 1000..1080 {
        let (case, op) = random_conv(&mut Random::new(seed), true);
        case.check(&backend, &rounding, op, seed);
    }
}

/// Convs of as many channels as decoders have: what is large may be multiplied in another way.
pub fn convs_of_many_channels<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 3000..3030 {
        let outs = [72, 96, 128, 130, 264];
        let (case, op) = conv_of(&mut Random::new(seed), seed % 3 != 0, [40, 17], &outs);
        if backend.supports(&case.program, &op) {
            case.check(&backend, &rounding, op, seed);
        }
    }
}

/// 1x1 convs to few channels: their results may lie where the input was.
pub fn shrinking_convs<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 4000..4024 {
        let mut random = Random::new(seed);
        let channels = [[16, 8], [24, 8], [40, 3], [64, 30], [64, 32], [136, 68], [272, 72]];
        let [in_channels, out_channels] = random.choice(&channels);
        let batch = random.integer(1, 2) as usize;
        let [height, width] = [(); 2].map(|()| random.integer(1, 40) as usize);
        let mut case = Case::new();
        let shape = Shape::new(batch, height, width, in_channels as usize);
        let input = case.features("input", random_tensor(&mut random, shape));
        let weight = case.weight("conv.weight", &[out_channels, in_channels, 1, 1]);
        let bias = random.coin().then(|| case.weight("conv.bias", &[out_channels]));
        let output = case.output(out_channels);
        let conv = Conv {
            input,
            output,
            weight,
            bias,
            windows: Axes::new(Window::POINT, Window::POINT, Window::POINT),
            edges: Axes::default(),
            in_channels,
            out_channels,
            norm: None,
            residual: None,
        };
        case.check(&backend, &rounding, Op::Conv(conv), seed);
    }
}

/// Norm statistics, also of values far from zero, and their application.
pub fn norms<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let batch = random.integer(1, 2) as usize;
        let groups = random.integer(1, 8);
        let channels = groups * random.integer(1, 9);
        // Now and then as many positions as are shared out among threads.
        let most = random.choice(&[30, 30, 30, 120]);
        let mut extent = || random.integer(1, most) as usize;
        let shape = Shape::new(batch, extent(), extent(), channels as usize);

        let mut tensor = random_tensor(&mut random, shape);
        // With a mean far above the deviation, E[x^2] - E[x]^2 would lose every digit.
        let offset = random.choice(&[0.0, 0.0, 30.0, -300.0]);
        tensor.data_mut().iter_mut().for_each(|value| *value += offset);
        let mut case = Case::new();
        let input = case.features("input", tensor);
        let output = case.value("stats", ValueKind::Stats { groups });
        case.program.output = output;
        case.check(&backend, &rounding, Op::NormStats { input, output }, seed);

        let mut case = Case::new();
        let input = case.features("input", random_tensor(&mut random, shape));
        let stats = case.stats(random_stats(&mut random, batch, groups as usize));
        let norm = case.norm(channels, stats, random.coin());
        let output = case.output(channels);
        case.check(&backend, &rounding, Op::NormApply { input, output, norm }, seed);
    }
}

/// SiLU (also far out), nearest upsample, add, and clamps, as far as supported.
pub fn activations<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut extent = |high| random.integer(1, high) as usize;
        let shape = Shape::new(extent(2), extent(20), extent(20), extent(50));
        let channels = shape.channels as u32;

        let mut tensor = random_tensor(&mut random, shape);
        tensor.data_mut().iter_mut().for_each(|value| *value *= 60.0);
        let mut case = Case::new();
        let input = case.features("input", tensor.clone());
        let output = case.output(channels);
        case.check(&backend, &rounding, Op::Silu { input, output }, seed);

        let mut case = Case::new();
        let input = case.features("input", tensor.clone());
        let output = case.output(channels);
        let factor = random.integer(1, 3);
        case.check(
            &backend,
            &rounding,
            Op::Upsample { input, output, factor, frames: FrameRepeat::NONE },
            seed,
        );

        let mut case = Case::new();
        let input = case.features("input", tensor.clone());
        let output = case.output(channels);
        let low = random.uniform(-30.0, 10.0);
        let high = low + random.choice(&[0.0, 0.5, 40.0]);
        case.check(&backend, &rounding, Op::Clamp { input, output, low, high }, seed);

        let mut case = Case::new();
        let a = case.features("a", tensor);
        let b = case.features("b", random_tensor(&mut random, shape));
        let output = case.output(channels);
        case.check(&backend, &rounding, Op::Add { a, b, output }, seed);
    }
}

/// Keys that grow with their positions, so that scores of some are far above those of others.
fn growing(keys: &HostTensor) -> HostTensor {
    let (shape, data) = (keys.shape(), keys.data());
    let growth = |at: usize| 4.0 * at as f32 / data.len() as f32;
    let grown = data.iter().enumerate().map(|(at, value)| value * growth(at));
    HostTensor::new(shape, grown.collect()).expect("as many elements")
}

/// Attention, keys and values over as many positions as the queries or over others.
pub fn attention<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..24 {
        let mut random = Random::new(seed);
        let batch = random.integer(1, 2) as usize;
        let channels = random.choice(&[1, 8, 24, 32, 64, 96]);
        let mut positions = |most: u32| {
            let [height, width] = [random.integer(1, most), random.integer(1, most)];
            Shape::new(batch, height as usize, width as usize, channels)
        };
        let queries = positions(14);
        let keys = if seed % 2 == 0 { queries } else { positions(24) };
        // Scores of tens make the softmax sharp: an unshifted exponential would overflow.
        let scale = random.choice(&[0.1, 1.0, 8.0]) / (channels as f32).sqrt();
        let mut case = Case::new();
        let q = case.features("q", random_tensor(&mut random, queries));
        let k = random_tensor(&mut random, keys);
        let k = match seed % 3 {
            0 => growing(&k),
            // All scores of a query are far from zero, on the same side.
            1 => {
                let shifted = k.data().iter().map(|value| value + 5.0).collect();
                HostTensor::new(keys, shifted).expect("as many elements")
            }
            _ => k,
        };
        let k = case.features("k", k);
        let v = case.features("v", random_tensor(&mut random, keys));
        let output = case.output(channels as u32);
        case.check(&backend, &rounding, Op::Attention { q, k, v, output, scale }, seed);
    }
}

/// An operand that others read later is not touched.
pub fn out_of_place_operands<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    let mut random = Random::new(7);
    let shape = Shape::new(1, 9, 11, 16);
    let tensors = [(); 2].map(|()| rounding.tensor(random_tensor(&mut random, shape)));
    let mut case = Case::new();
    let a = case.features("a", tensors[0].clone());
    let b = case.features("b", tensors[1].clone());
    let output = case.output(16);
    let op = Op::Add { a, b, output };
    case.program.ops = vec![op];
    let weights = backend.prepare(&case.program, &rounding.weights(0)).expect("prepare");
    let uploaded = tensors.each_ref().map(|tensor| backend.upload(tensor).expect("upload"));
    let operands = Operands::new(uploaded.iter().map(Operand::Shared));
    backend.run(&case.program, &op, &weights, operands).expect("run");
    for (uploaded, tensor) in uploaded.iter().zip(&tensors) {
        assert_eq!(&backend.download(uploaded, whole(shape)).expect("download"), tensor);
    }
}

/// A small decoder with every kind of op.
fn small_decoder(channels: u32) -> Program {
    let build = || {
        let mut builder = ProgramBuilder::new(4)?;
        let mut x = builder.latents();
        x = builder.conv("conv_in", x, channels, 3)?;
        let normed = builder.group_norm("attn.norm", x, 8, 1e-6)?;
        let q = builder.linear("attn.q", normed, channels)?;
        let k = builder.linear("attn.k", normed, channels)?;
        let v = builder.linear("attn.v", normed, channels)?;
        let mixed = builder.attention("attn", [q, k, v])?;
        let projected = builder.linear("attn.out", mixed, channels)?;
        x = builder.add("attn.residual", projected, x)?;
        for level in 0..2 {
            let name = format!("level{level}");
            let mut h = builder.group_norm(&format!("{name}.norm"), x, 8, 1e-6)?;
            h = builder.silu(&format!("{name}.act"), h)?;
            h = builder.conv(&format!("{name}.conv"), h, channels, 3)?;
            x = builder.add(&name, h, x)?;
            x = builder.upsample(&format!("{name}.up"), x, 2)?;
            x = builder.conv(&format!("{name}.up.conv"), x, channels, 3)?;
        }
        x = builder.conv("conv_out", x, 3, 3)?;
        builder.finish(x)
    };
    build().unwrap_or_else(|error: crate::program::ProgramError| panic!("{error}"))
}

fn run_program<B: Backend>(
    backend: &B,
    rounding: &Rounding,
    program: &Program,
    latents: &HostTensor,
) -> HostTensor {
    let weights = backend.prepare(program, &rounding.weights(3)).expect("prepare");
    let input = backend.upload(latents).expect("upload");
    let output = execute(backend, program, &weights, input, |_| Ok::<(), ()>(()))
        .unwrap_or_else(|stop| panic!("{stop:?}"));
    backend.download(&output, whole(backend.shape(&output))).expect("download")
}

/// A whole decoder, plain and fused, gives what the reference gives, and the same bytes each time.
pub fn programs<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    let mut random = Random::new(11);
    for (channels, height, width, batch) in [(32, 7, 9, 1), (16, 5, 4, 2), (64, 6, 11, 1)] {
        let plain = small_decoder(channels);
        let fused = fuse(&plain, |program, op| backend.supports(program, op));
        let latents = random_tensor(&mut random, Shape::new(batch, height, width, 4));
        let latents = rounding.tensor(latents);
        let expected = run_program(&Reference, &rounding, &plain, &latents);
        for (what, program) in [("plain", &plain), ("fused", &fused)] {
            let got = run_program(&backend, &rounding, program, &latents);
            assert_close(&format!("{what} decoder"), &got, &expected, rounding.program);
            let again = run_program(&backend, &rounding, program, &latents);
            assert_eq!(got.data(), again.data(), "{what} decoder: other bytes the second time");
        }
    }
}

/// When everything is dropped, what the backend counts as held is what it was before.
pub fn memory_is_returned<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    let before = backend.memory().current;
    let program = fuse(&small_decoder(32), |program, op| backend.supports(program, op));
    let latents = random_tensor(&mut Random::new(5), Shape::new(1, 6, 6, 4));
    backend.reset_peak();
    run_program(&backend, &rounding, &program, &latents);
    let after = backend.memory();
    assert_eq!(after.current, before, "memory is still held after a decode");
    assert!(after.peak >= after.current, "the peak {after:?} is below what is held");
}
