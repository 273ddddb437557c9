//! Each kind of op alone, and transfers, on the wgpu backend and on the CPU's beside it, through the
//! interface that every backend has. Elements are multiplications and additions of the plain op.
//!
//! `HALOVAE_TEST_ADAPTER=NAME cargo bench -p halovae-wgpu --bench ops -- [filter]`
//!
//! `conv.rs` has the convs of a full-size decoder, as shares of the adapter's peak.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use halovae_core::{Region, Size};
use halovae_cpu::CpuBackend;
use halovae_engine::backend::{Backend, Operand, Operands};
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::program::{Geometry, Program, ProgramBuilder, ProgramError, ValueId, fuse};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_wgpu::Options;

#[path = "../tests/common/mod.rs"]
mod common;

const CHANNELS: u32 = 128;
const SIDE: usize = 32;

type Build = fn(&mut ProgramBuilder, ValueId) -> Result<ValueId, ProgramError>;

/// The kind of the op that is measured, as [`halovae_engine::program::Op::kind`] names it, and a
/// program with one of it.
const CASES: &[(&str, Build)] = &[
    ("conv", |builder, x| builder.conv("conv", x, CHANNELS, 3)),
    ("conv 1x1", |builder, x| builder.linear("conv", x, CHANNELS)),
    ("upsample+conv", |builder, x| {
        let x = builder.upsample("up", x, 2)?;
        builder.conv("conv", x, CHANNELS, 3)
    }),
    ("norm statistics", |builder, x| builder.group_norm("norm", x, 32, 1e-6)),
    ("norm", |builder, x| {
        let x = builder.group_norm("norm", x, 32, 1e-6)?;
        builder.silu("silu", x)
    }),
    ("norm+conv", |builder, x| {
        let x = builder.group_norm("norm", x, 32, 1e-6)?;
        let x = builder.silu("silu", x)?;
        builder.conv("conv", x, CHANNELS, 3)
    }),
    ("attention", |builder, x| builder.attention("attention", [x, x, x])),
    ("silu", |builder, x| builder.silu("silu", x)),
    ("upsample", |builder, x| builder.upsample("up", x, 2)),
    ("add", |builder, x| {
        let y = builder.silu("silu", x)?;
        builder.add("add", x, y)
    }),
];

fn input() -> HostTensor {
    let shape = Shape::new(1, SIDE, SIDE, CHANNELS as usize);
    let mut random = Random::new(1);
    let values = (0..shape.elements().expect("a small shape")).map(|_| random.uniform(-2.0, 2.0));
    HostTensor::new(shape, values.collect()).expect("as many values as the shape has")
}

fn program(build: Build, backend: &impl Backend) -> Program {
    let plain = ProgramBuilder::new(CHANNELS).and_then(|mut builder| {
        let output = builder.latents();
        let output = build(&mut builder, output)?;
        builder.finish(output)
    });
    fuse(&plain.expect("a possible program"), |program, op| backend.supports(program, op))
}

/// Seconds of one run of the op, of many in a row: a GPU is given them all before it is waited for.
fn op<B: Backend>(c: &mut Criterion, backend: &B, kind: &str, build: Build) {
    let program = program(build, backend);
    let weights = backend.prepare(&program, &RandomWeights { seed: 1 }).expect("room");
    let mut values: Vec<Option<B::Tensor>> = program.values().iter().map(|_| None).collect();
    values[program.input().index()] = Some(backend.upload(&input()).expect("room"));
    let run = |values: &[Option<B::Tensor>], index: usize| {
        let op = &program.ops()[index];
        let operand = |id: ValueId| values[id.index()].as_ref().expect("written before");
        let operands = Operands::new(op.inputs().map(|id| Operand::Shared(operand(id))));
        backend.run(&program, op, &weights, operands).expect("a device that runs")
    };
    let measured = program.ops().iter().position(|op| op.kind() == kind);
    let measured = measured.unwrap_or_else(|| panic!("{} has no {kind}", backend.name()));
    for index in 0..measured {
        let output = run(&values, index);
        values[program.ops()[index].output().index()] = Some(output);
    }
    let geometry = Geometry::new(&program, 1, Size::new(SIDE as u32, SIDE as u32));
    let mut group = c.benchmark_group(kind);
    match geometry.flops(&program.ops()[measured]) {
        0 => group.throughput(Throughput::Bytes(input().data().len() as u64 * 4)),
        flops => group.throughput(Throughput::Elements(flops as u64)),
    };
    group.bench_function(backend.name(), |b| {
        b.iter_custom(|times| {
            backend.synchronize().expect("a device that runs");
            let start = Instant::now();
            for _ in 0..times {
                black_box(run(&values, measured));
            }
            backend.synchronize().expect("a device that runs");
            start.elapsed()
        });
    });
    group.finish();
}

fn transfers<B: Backend>(c: &mut Criterion, backend: &B) {
    let host = input();
    let bytes = Throughput::Bytes(host.data().len() as u64 * 4);
    let mut group = c.benchmark_group("upload");
    group.throughput(bytes.clone());
    group.bench_function(backend.name(), |b| {
        b.iter(|| {
            let tensor = backend.upload(&host).expect("room");
            backend.synchronize().expect("a device that runs");
            tensor
        });
    });
    group.finish();
    let tensor = backend.upload(&host).expect("room");
    let all = Region::new(0, 0, SIDE as u32, SIDE as u32);
    let mut group = c.benchmark_group("download");
    group.throughput(bytes);
    group.bench_function(backend.name(), |b| {
        b.iter(|| backend.download(&tensor, all).expect("room"));
    });
    group.finish();
}

fn ops<B: Backend>(c: &mut Criterion, backend: &B) {
    for &(kind, build) in CASES {
        op(c, backend, kind, build);
    }
    transfers(c, backend);
}

fn wgpu(c: &mut Criterion) {
    let backend = common::backend(Options::default());
    eprintln!("{}", backend.description());
    ops(c, &backend);
}

fn cpu(c: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let backend = CpuBackend::new(threads).expect("threads");
    eprintln!("{}", backend.description());
    ops(c, &backend);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = wgpu, cpu
}
criterion_main!(benches);
