//! Speed of the convs and the attention of a full-size FLUX decoder (channels 512, 512, 256, 128), with
//! what is fused into them, in f32, f16 and bf16. Operations are those of the plain op.
//!
//! `cargo bench -p halovae-cuda --bench ops -- [rows and columns of the latents] [repetitions]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::time::Instant;

use halovae_core::Size;
use halovae_cuda::{CudaBackend, CudaDevice, DeviceChoice, Options, Precision};
use halovae_engine::backend::{Backend, Operand, Operands};
use halovae_engine::conformance::RandomWeights;
use halovae_engine::program::{Geometry, Op, Program, ProgramBuilder, ProgramError, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

/// What comes before a conv.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    Norm,
    Doubled,
}

use Before::{Doubled, Norm, Nothing};

/// Side of the input in that of the latents, channels in and out, kernel, how many in the decoder.
const CONVS: &[(usize, u32, u32, u32, Before, u32)] = &[
    (1, 16, 512, 3, Nothing, 1),
    (1, 512, 512, 3, Norm, 10),
    (1, 512, 512, 1, Nothing, 4),
    (1, 512, 512, 3, Doubled, 1),
    (2, 512, 512, 3, Norm, 6),
    (2, 512, 512, 3, Doubled, 1),
    (4, 512, 256, 3, Norm, 1),
    (4, 512, 256, 1, Nothing, 1),
    (4, 256, 256, 3, Norm, 5),
    (4, 256, 256, 3, Doubled, 1),
    (8, 256, 128, 3, Norm, 1),
    (8, 256, 128, 1, Nothing, 1),
    (8, 128, 128, 3, Norm, 5),
    (8, 128, 3, 3, Norm, 1),
];

fn conv(cin: u32, cout: u32, kernel: u32, before: Before) -> Result<Program, ProgramError> {
    let mut builder = ProgramBuilder::new(cin)?;
    let mut x = builder.latents();
    match before {
        Before::Nothing => {}
        Before::Norm => {
            x = builder.group_norm("norm", x, 32, 1e-6)?;
            x = builder.silu("silu", x)?;
        }
        Before::Doubled => x = builder.upsample("up", x, 2)?,
    }
    x = match kernel {
        1 => builder.linear("conv", x, cout)?,
        _ => builder.conv("conv", x, cout, kernel)?,
    };
    Ok(fuse(&builder.finish(x)?, |_, _| true))
}

fn attention(channels: u32) -> Result<Program, ProgramError> {
    let mut builder = ProgramBuilder::new(channels)?;
    let x = builder.latents();
    let mixed = builder.attention("attention", [x, x, x])?;
    builder.finish(mixed)
}

/// Seconds of the last op of a program, the median of some repetitions, and its operations.
fn measure(
    backend: &CudaBackend,
    program: &Program,
    side: usize,
    channels: u32,
    repetitions: usize,
) -> (f64, f64) {
    let weights = backend.prepare(program, &RandomWeights { seed: 1 }).expect("weights");
    let shape = Shape::new(1, side, side, channels as usize);
    let values = (0..shape.elements().expect("a small shape"))
        .map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5);
    let host = HostTensor::new(shape, values.collect()).expect("its elements");
    let input = backend.upload(&host).expect("room");
    let op = program.ops().last().expect("an op");
    let stats = match op {
        Op::Conv2d(conv) if conv.norm.is_some() => {
            let operands = Operands::new([Operand::Shared(&input)]);
            Some(backend.run(program, &program.ops()[0], &weights, operands).expect("statistics"))
        }
        _ => None,
    };
    let size = Size::new(side as u32, side as u32);
    let flops = Geometry::new(program, 1, size).flops(op) as f64;
    let mut times = Vec::new();
    for _ in 0..=repetitions {
        backend.synchronize().expect("a device");
        let before = Instant::now();
        let operands = match op {
            Op::Attention { .. } => vec![&input; 3],
            _ => [Some(&input), stats.as_ref()].into_iter().flatten().collect(),
        };
        let operands = Operands::new(operands.into_iter().map(Operand::Shared));
        backend.run(program, op, &weights, operands).expect("an op");
        backend.synchronize().expect("a device");
        times.push(before.elapsed().as_secs_f64());
    }
    // The first run takes memory from the system.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], flops)
}

fn main() {
    let numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let latents = numbers.first().copied().unwrap_or(128).max(1);
    let repetitions = numbers.get(1).copied().unwrap_or(5).max(1);
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        let options = Options { precision, ..Options::default() };
        let device = CudaDevice::open(&DeviceChoice::Auto, options);
        let device = device.unwrap_or_else(|error| panic!("{error}"));
        let backend = device.backend().expect("a stream");
        println!("{}", backend.description());
        println!("   size   cin  cout k          n |  TFLOP/s       ms");
        let (mut seconds_all, mut flops_all) = (0.0, 0.0);
        for &(times, cin, cout, kernel, before, count) in CONVS {
            let program = conv(cin, cout, kernel, before).expect("a possible conv");
            let side = times * latents;
            let (seconds, flops) = measure(&backend, &program, side, cin, repetitions);
            seconds_all += seconds * f64::from(count);
            flops_all += flops * f64::from(count);
            println!(
                "{side:>5}^2 {cin:>5} {cout:>5} {kernel} {:<7} {count:>3} | {:>8.2} {:>8.3}",
                format!("{before:?}"),
                flops / seconds / 1e12,
                seconds * 1e3,
            );
        }
        let program = attention(512).expect("a possible attention");
        let (seconds, flops) = measure(&backend, &program, latents, 512, repetitions);
        println!(
            "{latents:>5}^2   512       attention   1 | {:>8.2} {:>8.3}",
            flops / seconds / 1e12,
            seconds * 1e3,
        );
        println!(
            "all of them: {:.3} ms, {:.2} TFLOP/s",
            (seconds_all + seconds) * 1e3,
            (flops_all + flops) / (seconds_all + seconds) / 1e12
        );
    }
}
