//! Ops are measured on the device, also more of them than a device keeps marks for.

use std::time::Instant;

use halovae_cuda::Precision;
use halovae_engine::backend::Backend;
use halovae_engine::decode::Decoder;
use halovae_engine::wrap::{OpRecord, Traced};
use halovae_tests::adapter::wgpu_ranks;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::{Cut, decode, plan, program, size_of};
use halovae_tests::golden::Golden;
use halovae_tests::gpu::{LEAST_SHARE_OF_OPS, cuda_ranks};

/// Decodes until some thousand ops have been measured.
fn check<B: Backend>(name: &str, backend: B) {
    const LEAST: usize = 2500;
    let golden = Golden::load("f8-flux");
    let plan = plan(golden.config(), size_of(&golden.latents), Cut::Tiled(0.25));
    assert!(backend.timer().expect("a device").is_some(), "{name} has no timer");
    let traced = Traced::new(backend, true).expect("a timer");
    let program = program(&golden.checkpoint);
    let decoder = Decoder::new(&program, &golden.checkpoint, vec![traced]).expect("a decoder");
    let rank = || decoder.backends().next().expect("a rank");
    // Pipelines are compiled when they are first used.
    decode(&decoder, &golden.latents, &plan);
    rank().take_records().expect("measured");
    let (mut ops, mut wall): (Vec<OpRecord>, f64) = (Vec::new(), 0.0);
    while ops.len() < LEAST {
        let before = rank().memory().current;
        let start = Instant::now();
        for _ in 0..8 {
            let picture = decode(&decoder, &golden.latents, &plan);
            assert_f32_close(name, &picture, golden.expected("tiled"));
        }
        wall += start.elapsed().as_secs_f64();
        ops.extend(rank().take_records().expect("measured"));
        assert_eq!(rank().memory().current, before, "{name}: measuring holds memory");
    }
    assert!(rank().take_records().expect("measured").is_empty());
    let seconds: f64 = ops.iter().map(|op| op.seconds).sum();
    let zeros = ops.iter().filter(|op| op.seconds <= 0.0).count();
    eprintln!("{name}: {} ops took {seconds:.2} s of {wall:.2} s", ops.len());
    assert!(zeros * 100 < ops.len(), "{name}: {zeros} of {} ops took no time", ops.len());
    assert!(seconds <= 1.02 * wall, "{name}: {seconds} s of ops in {wall} s");
    assert!(seconds >= LEAST_SHARE_OF_OPS * wall, "{name}: {seconds} s of ops in {wall} s");
    // The work is in the convs.
    let convs = ops.iter().filter(|op| op.kind.contains("conv"));
    let share = convs.map(|op| op.seconds).sum::<f64>() / seconds;
    assert!(share > 0.3, "{name}: convs take {share} of the time");
}

#[test]
fn by_timestamps() {
    check("wgpu", wgpu_ranks(1).remove(0));
}

#[test]
fn by_marks_in_the_stream() {
    check("cuda", cuda_ranks(Precision::F32, 1).remove(0));
}
