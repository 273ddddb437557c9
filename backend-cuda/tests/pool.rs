//! The device's pool, in a process of its own: all that open the device in a process use the same pool.

mod common;

use halovae_cuda::Options;
use halovae_engine::backend::Backend;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::execute::execute;
use halovae_engine::program::{ProgramBuilder, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

/// What the first decode has set aside is enough for the second, and goes back in the end.
#[test]
fn a_second_decode_asks_for_no_memory() {
    let device = common::device(Options::default());
    let backend = device.backend().unwrap();
    let mut builder = ProgramBuilder::new(16).unwrap();
    let mut x = builder.latents();
    for (name, channels) in [("first", 32), ("second", 64)] {
        x = builder.conv(&format!("{name}.conv"), x, channels, 3).unwrap();
        x = builder.group_norm(&format!("{name}.norm"), x, 8, 1e-6).unwrap();
        x = builder.upsample(&format!("{name}.up"), x, 2).unwrap();
    }
    x = builder.conv("last", x, 3, 3).unwrap();
    let program = fuse(&builder.finish(x).unwrap(), |program, op| backend.supports(program, op));
    let weights = backend.prepare(&program, &RandomWeights { seed: 1 }).unwrap();
    // A real pool grows by 32 MiB at once.
    let times = if halovae_cuda_stand_in::is_real() { 8 } else { 1 };
    let latents = HostTensor::zeros(Shape::new(1, times * 24, times * 16, 16)).unwrap();
    let decode = || {
        let input = backend.upload(&latents).unwrap();
        let output = execute(&backend, &program, &weights, input, |_| Ok::<(), ()>(()));
        drop(output.unwrap());
        backend.synchronize().unwrap();
        device.reserved_bytes().unwrap()
    };
    let held = device.reserved_bytes().unwrap();
    let first = decode();
    assert!(first > held, "{first} bytes, {held} before the decode");
    assert_eq!(decode(), first);
    drop((weights, backend, device));
    let again = common::device(Options::default());
    assert!(again.reserved_bytes().unwrap() < first, "memory is not given back");
}
