//! A whole decoder: the same bytes on any number of threads, and memory as estimated.

use halovae_core::{Region, Size};
use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::execute::execute;
use halovae_engine::model::Model;
use halovae_engine::program::{Analysis, Program, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

const LATENTS: Size = Size::new(19, 14);

fn program(backend: &CpuBackend) -> Program {
    let config = AutoencoderKlConfig {
        block_out_channels: vec![32, 64, 96],
        layers_per_block: 1,
        latent_channels: 16,
        norm_num_groups: 16,
        ..AutoencoderKlConfig::default()
    };
    let plain = config.decoder().unwrap();
    fuse(&plain, |program, op| backend.supports(program, op))
}

fn latents() -> HostTensor {
    let shape = Shape::new(1, LATENTS.height as usize, LATENTS.width as usize, 16);
    let mut random = Random::new(5);
    let data = (0..shape.elements().unwrap()).map(|_| random.uniform(-2.0, 2.0)).collect();
    HostTensor::new(shape, data).unwrap()
}

/// Decodes on so many threads; also gives the measured and the estimated peak in bytes.
fn decode(threads: usize) -> (HostTensor, u64, u64) {
    let backend = CpuBackend::new(threads).unwrap();
    let program = program(&backend);
    let weights = backend.prepare(&program, &RandomWeights { seed: 2 }).unwrap();
    backend.reset_peak();
    let input = backend.upload(&latents()).unwrap();
    let output = execute(&backend, &program, &weights, input, |_| Ok::<(), ()>(())).unwrap();
    let shape = backend.shape(&output);
    let region = Region::new(0, 0, shape.height as u32, shape.width as u32);
    let picture = backend.download(&output, region).unwrap();
    let analysis = Analysis::new(&program, LATENTS, 1, &backend);
    (picture, backend.memory().peak, analysis.peak_live_bytes + analysis.weight_bytes)
}

#[test]
fn threads_do_not_show_in_the_picture() {
    let (one, ..) = decode(1);
    assert!(one.max_abs() > 0.1, "a picture of nothing proves nothing");
    for threads in [2, 3, 7] {
        assert!(decode(threads).0 == one, "{threads} threads");
    }
}

#[test]
fn peak_memory_is_as_estimated() {
    for threads in [1, 4] {
        let (_, measured, estimated) = decode(threads);
        let ratio = estimated as f64 / measured as f64;
        assert!((0.85..=1.15).contains(&ratio), "{measured} measured, {estimated} estimated");
    }
}

#[test]
fn a_value_beyond_all_memory_is_an_error() {
    let backend = CpuBackend::new(1).unwrap();
    let program = program(&backend);
    let weights = backend.prepare(&program, &RandomWeights { seed: 2 }).unwrap();
    let upsample = halovae_engine::program::Op::Upsample {
        input: program.input(),
        output: program.output(),
        factor: u32::MAX,
        frames: halovae_engine::program::FrameRepeat::NONE,
    };
    let input = backend.upload(&latents()).unwrap();
    let operands =
        halovae_engine::backend::Operands::new([halovae_engine::backend::Operand::Shared(&input)]);
    let error = backend.run(&program, &upsample, &weights, operands).unwrap_err();
    let is_memory = matches!(error, halovae_engine::backend::BackendError::OutOfMemory { .. });
    assert!(is_memory, "{error}");
    assert!(backend.upload(&latents()).is_ok(), "the backend still works");
}
