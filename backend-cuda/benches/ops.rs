//! Speed of the convs and the attention of a full-size FLUX decoder (channels 512, 512, 256, 128), with
//! what is fused into them, in f32, f16 and bf16: TFLOP/s, milliseconds and the share of what can be had, by
//! our own kernel, on Hopper also by that for other GPUs, and with cuDNN's engines where these were
//! chosen. Operations are those of the plain op, and shares are of what a large product of matrices
//! reaches; a conv over an upsampled input can be above it, since it multiplies less.
//!
//! `cargo bench -p halovae-cuda --bench ops -- [rows and columns of the latents] [repetitions] [f32] [f16]
//! [bf16] [own]`; `own` leaves cuDNN out.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod common;

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
        Op::Conv(conv) if conv.norm.is_some() => {
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

/// A device's convs and attention, one after the other: seconds and operations of each.
fn measure_all(backend: &CudaBackend, latents: usize, repetitions: usize) -> Vec<(f64, f64)> {
    let of_conv = |&(times, cin, cout, kernel, before, _)| {
        let program = conv(cin, cout, kernel, before).expect("a possible conv");
        measure(backend, &program, times * latents, cin, repetitions)
    };
    let mut all: Vec<_> = CONVS.iter().map(of_conv).collect();
    let program = attention(512).expect("a possible attention");
    all.push(measure(backend, &program, latents, 512, repetitions));
    all
}

/// Operations a second of a product of two square matrices of `side` squared rows and columns: what can
/// be had of the device.
fn peak(backend: &CudaBackend, side: u32, repetitions: usize) -> f64 {
    let mut builder = ProgramBuilder::new(side * side).expect("channels");
    let x = builder.latents();
    let x = builder.linear("matrix", x, side * side).expect("a possible product");
    let program = builder.finish(x).expect("a program");
    let (seconds, flops) = measure(backend, &program, side as usize, side * side, repetitions);
    flops / seconds
}

fn open(precision: Precision, without_cudnn: bool, without_hopper: bool) -> CudaBackend {
    let options = Options {
        precision,
        without_cudnn,
        without_hopper,
        cache_folder: halovae_engine::cache::cache_folder(),
        ..Options::default()
    };
    let device = CudaDevice::open(&DeviceChoice::Auto, options);
    device.unwrap_or_else(|error| panic!("{error}")).backend().expect("a stream")
}

/// Whether products are done in Hopper's way.
fn is_hopper() -> bool {
    let found = halovae_cuda::devices().unwrap_or_default();
    found.first().is_some_and(|device| device.compute_capability == [9, 0])
}

fn print_row(what: &str, count: u32, times: &[(f64, f64)], peak: f64) {
    print!("{what} {count:>3}");
    for &(seconds, flops) in times {
        let rate = flops / seconds;
        print!(" | {:>8.2} {:>8.3} {:>4.0} %", rate / 1e12, seconds * 1e3, 100.0 * rate / peak);
    }
    println!();
}

fn main() {
    let numbers = common::numbers();
    let latents = numbers.first().copied().unwrap_or(128).max(1);
    let repetitions = numbers.get(1).copied().unwrap_or(5).max(1);
    for precision in common::types() {
        let mut sides = vec![("our kernel", open(precision, true, false))];
        if precision != Precision::F32 {
            if is_hopper() {
                sides.insert(0, ("as before Hopper", open(precision, true, true)));
            }
            if !common::is_asked("own") {
                sides.push(("engines", open(precision, false, false)));
            }
        }
        let best = &sides.last().expect("at least our own kernel").1;
        // Of 4096 rows and columns, or fewer where a CPU computes something small.
        let side = 8 * latents.min(8) as u32;
        let peak = peak(best, side, repetitions);
        println!("{}", best.description());
        let rows = side * side;
        println!("a product of matrices of {rows} x {rows}: {:.2} TFLOP/s", peak / 1e12);
        let names: Vec<_> = sides.iter().map(|(name, _)| format!("{name:<25}")).collect();
        println!("   size   cin  cout k          n | {}", names.join("| "));
        let before = Instant::now();
        let times: Vec<_> =
            sides.iter().map(|(_, side)| measure_all(side, latents, repetitions)).collect();
        let row = |at: usize| times.iter().map(|side| side[at]).collect::<Vec<_>>();
        for (at, &(times, cin, cout, kernel, before, count)) in CONVS.iter().enumerate() {
            let what = format!(
                "{:>5}^2 {cin:>5} {cout:>5} {kernel} {:<7}",
                times * latents,
                format!("{before:?}")
            );
            print_row(&what, count, &row(at), peak);
        }
        print_row(&format!("{latents:>5}^2   512       attention"), 1, &row(CONVS.len()), peak);
        let counts: Vec<f64> = CONVS.iter().map(|conv| f64::from(conv.5)).chain([1.0]).collect();
        let sum = |side: &Vec<(f64, f64)>| {
            side.iter().zip(&counts).fold((0.0, 0.0), |(seconds, flops), (of, count)| {
                (seconds + of.0 * count, flops + of.1 * count)
            })
        };
        let all: Vec<_> = times.iter().map(sum).collect();
        print_row("all of them                   ", counts.iter().sum::<f64>() as u32, &all, peak);
        println!("measured in {:.1} s, choosing engines included", before.elapsed().as_secs_f64());
    }
}
