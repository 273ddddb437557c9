//! A whole decode with the full-size decoder (block_out_channels 128, 256, 512, 512; 2 layers; 16
//! latent channels; random weights): seconds, memory, and a table by kind of op.
//!
//! `cargo bench -p halovae-cpu --bench decode -- [latent side] [threads] [repetitions]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use halovae_core::Size;
use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::parse_config;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::execute::execute;
use halovae_engine::program::{Analysis, Geometry, Op, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

const CONFIG: &str = r#"{
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 16,
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32,
    "sample_size": 1024, "use_quant_conv": false, "use_post_quant_conv": false,
    "scaling_factor": 0.3611, "shift_factor": 0.1159
}"#;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let side = numbers.first().copied().unwrap_or(64);
    let threads = numbers.get(1).copied().unwrap_or(2);
    let repetitions = numbers.get(2).copied().unwrap_or(3);
    let config = parse_config(CONFIG.as_bytes()).expect("a valid config");
    let program = config.decoder().expect("a valid program");
    let backend = CpuBackend::new(threads).expect("threads");
    let program = fuse(&program, |program, op| backend.supports(program, op));
    let start = Instant::now();
    let weights = backend.prepare(&program, &RandomWeights { seed: 1 }).expect("memory");
    println!(
        "{}; weights prepared in {:.2} s",
        backend.description(),
        start.elapsed().as_secs_f64()
    );
    let size = Size::new(side as u32, side as u32);
    let analysis = Analysis::new(&program, size, 1, &backend);
    let geometry = Geometry::new(&program, 1, size);
    let latents: Vec<f32> =
        (0..side * side * 16).map(|i| ((i as f32 * 0.37).sin() * 1e4).fract()).collect();
    let latents = HostTensor::new(Shape::new(1, side, side, 16), latents).expect("it fits");
    for repetition in 0..repetitions {
        backend.reset_peak();
        let start = Instant::now();
        let input = backend.upload(&latents).expect("memory");
        // Kind and name of an op, its seconds, its operations.
        let marks = RefCell::new(Vec::new());
        let output = execute(&backend, &program, &weights, input, |index| {
            marks.borrow_mut().push((index, Instant::now()));
            Ok::<(), ()>(())
        })
        .expect("it runs");
        let end = Instant::now();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{side}x{side} latents: {seconds:.3} s, {:.0} GFLOP/s, peak {:.0} MB (estimated {:.0})",
            analysis.flops as f64 / seconds / 1e9,
            backend.memory().peak as f64 / 1e6,
            (analysis.peak_live_bytes + analysis.weight_bytes) as f64 / 1e6,
        );
        drop(output);
        if repetition + 1 < repetitions {
            continue;
        }
        let marks = marks.into_inner();
        let mut table: BTreeMap<(String, u32), (usize, f64, f64)> = BTreeMap::new();
        for (at, (index, from)) in marks.iter().enumerate() {
            let to = marks.get(at + 1).map_or(end, |next| next.1);
            let op = &program.ops()[*index];
            let rows = geometry.shape(op.inputs().next().expect("an op reads")).height;
            let what = match op {
                Op::Conv(c) => format!("{} {}->{}", op.kind(), c.in_channels, c.out_channels),
                _ => op.kind().to_owned(),
            };
            let line = table.entry((what, rows as u32)).or_default();
            line.0 += 1;
            line.1 += (to - *from).as_secs_f64();
            line.2 += geometry.flops(op) as f64;
        }
        let mut lines: Vec<_> = table.into_iter().collect();
        lines.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
        println!("  op                         rows    n       ms      %  GFLOP/s");
        for ((what, rows), (count, time, flops)) in lines {
            println!(
                "  {what:<26} {rows:>4} {count:>4} {:>8.1} {:>6.1} {:>8.0}",
                time * 1e3,
                100.0 * time / seconds,
                flops / time / 1e9
            );
        }
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        for line in status.lines().filter(|l| l.starts_with("VmHWM")) {
            println!("{line}");
        }
    }
}
