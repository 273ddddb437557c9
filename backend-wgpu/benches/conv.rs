//! Speed of the convs of a full-size FLUX decoder (channels 512, 512, 256, 128; latents 64x64), with
//! what is fused into them, as a share of what a kernel of nothing but multiply-adds reaches on the
//! same adapter in the same run. Operations are those of the plain conv, so a transform that saves
//! some can exceed the peak.
//!
//! `cargo bench -p halovae-wgpu --bench conv -- [adapter name] [repetitions]`
//!
//! On a software adapter the clock is CPU time, so what else the machine does counts little.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::time::Instant;

use halovae_engine::backend::{Backend, Operand, Operands};
use halovae_engine::conformance::RandomWeights;
use halovae_engine::program::{Op, Program, ProgramBuilder, fuse};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_wgpu::{AdapterChoice, Options, WgpuDevice, adapters};

/// Side of the input, channels in and out, kernel, doubled, how many in the decoder.
const SHAPES: &[(usize, u32, u32, u32, bool, usize)] = &[
    (64, 16, 512, 3, false, 1),
    (64, 512, 512, 3, false, 10),
    (64, 512, 512, 1, false, 4),
    (64, 512, 512, 3, true, 1),
    (128, 512, 512, 3, false, 6),
    (128, 512, 512, 3, true, 1),
    (256, 512, 256, 3, false, 1),
    (256, 512, 256, 1, false, 1),
    (256, 256, 256, 3, false, 5),
    (256, 256, 256, 3, true, 1),
    (512, 256, 128, 3, false, 1),
    (512, 256, 128, 1, false, 1),
    (512, 128, 128, 3, false, 5),
    (512, 128, 3, 3, false, 1),
];

/// Seconds that this process's threads have run, added up; time passed where the system does not
/// tell.
fn cpu_seconds(start: Instant) -> f64 {
    let run = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task");
    let total: Option<u64> =
        tasks.ok().and_then(|all| all.map(|task| task.ok().and_then(|t| run(t.path()))).sum());
    total.map_or_else(|| start.elapsed().as_secs_f64(), |nanoseconds| nanoseconds as f64 / 1e9)
}

fn program(cin: u32, cout: u32, kernel: u32, upsample: bool) -> Program {
    let build = || {
        let mut builder = ProgramBuilder::new(cin)?;
        let mut x = builder.latents();
        if upsample {
            x = builder.upsample("up", x, 2)?;
        } else if kernel == 3 && cin.is_multiple_of(32) {
            x = builder.group_norm("norm", x, 32, 1e-6)?;
            x = builder.silu("silu", x)?;
        }
        x = match kernel {
            1 => builder.linear("conv", x, cout)?,
            _ => builder.conv("conv", x, cout, kernel)?,
        };
        builder.finish(x)
    };
    fuse(&build().expect("a possible conv"), |_, _| true)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let repetitions = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(3);
    let name = args.iter().find(|arg| arg.parse::<usize>().is_err());
    let choice = name.map_or(AdapterChoice::Index(0), |name| AdapterChoice::Name(name.clone()));
    for adapter in adapters().unwrap_or_else(|error| panic!("{error}")) {
        println!("{adapter}");
    }
    // Measured anew, so that the table does not depend on what was found before.
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { tuning_folder: Some(folder.path().to_owned()), ..Options::default() };
    let device = WgpuDevice::open(&choice, options).expect("an adapter");
    println!("{}", device.tuning());
    let backend = device.backend();
    let start = Instant::now();
    let software = device.adapter().is_software();
    let clock = || match software {
        true => cpu_seconds(start),
        false => start.elapsed().as_secs_f64(),
    };
    let peak = || {
        let (flops, seconds) = device.measure_peak(clock).expect("a peak");
        flops / seconds
    };
    println!("{}, peak {:.0} GFLOP/s", backend.description(), peak() / 1e9);
    println!("  size   cin  cout k up    n |  GFLOP/s  of peak       ms");
    let (mut seconds_all, mut flops_all, mut shares_all) = (0.0, 0.0, 0.0);
    for &(side, cin, cout, kernel, upsample, count) in SHAPES {
        let program = program(cin, cout, kernel, upsample);
        let weights = backend.prepare(&program, &RandomWeights { seed: 1 }).expect("weights");
        let shape = Shape::new(1, side, side, cin as usize);
        let values = (0..shape.elements().expect("a small shape"))
            .map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5);
        let host = HostTensor::new(shape, values.collect()).expect("its elements");
        let input = backend.upload(&host).expect("room");
        let op = program.ops().last().expect("a conv");
        let Op::Conv(conv) = op else { panic!("the last op is the conv") };
        let stats = conv.norm.map(|_| {
            let operands = Operands::new([Operand::Shared(&input)]);
            backend.run(&program, &program.ops()[0], &weights, operands).expect("statistics")
        });
        let flops = conv.flops(conv.output_shape(shape)) as f64;
        let (mut times, mut shares) = (Vec::new(), Vec::new());
        for repetition in 0..=repetitions {
            backend.synchronize().expect("a device");
            let top = peak();
            let before = clock();
            let operands = [Some(&input), stats.as_ref()].into_iter().flatten();
            let operands = Operands::new(operands.map(Operand::Shared));
            backend.run(&program, op, &weights, operands).expect("a conv");
            backend.synchronize().expect("a device");
            let seconds = clock() - before;
            // The first run compiles.
            if repetition > 0 {
                times.push(seconds);
                shares.push(flops / seconds / top);
            }
        }
        let (seconds, share) = (median(times), median(shares));
        seconds_all += seconds * count as f64;
        flops_all += flops * count as f64;
        shares_all += flops * count as f64 / share;
        println!(
            "{side:>4}^2 {cin:>5} {cout:>5} {kernel} {:>2} {count:>4} | {:>8.1} {share:>8.2} {:>8.1}",
            if upsample { "x2" } else { "" },
            flops / seconds / 1e9,
            seconds * 1e3,
        );
    }
    println!(
        "all convs of the decoder: {seconds_all:.2} s, {:.1} GFLOP/s, {:.2} of the peak",
        flops_all / seconds_all / 1e9,
        flops_all / shares_all
    );
}
