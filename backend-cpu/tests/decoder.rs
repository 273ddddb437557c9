//! A whole decoder: the same bytes on any number of threads, and memory as estimated.

use halovae_core::Size;
use halovae_cpu::CpuBackend;
use halovae_engine::backend::{Backend, BackendError, Operand, Operands};
use halovae_engine::conformance::SmallDecoder;
use halovae_engine::program::{FrameRepeat, Op};
use halovae_engine::tensor::HostTensor;

fn decoder() -> SmallDecoder {
    SmallDecoder::new(&[32, 64, 96], 16, 16, Size::new(19, 14))
}

fn backend(threads: usize) -> CpuBackend {
    CpuBackend::new(threads).expect("threads")
}

fn decode(threads: usize) -> HostTensor {
    decoder().decode(&backend(threads)).expect("a picture")
}

#[test]
fn threads_do_not_show_in_the_picture() {
    let one = decode(1);
    assert!(one.max_abs() > 0.1, "a picture of nothing proves nothing");
    for threads in [2, 3, 7] {
        assert!(decode(threads) == one, "{threads} threads");
    }
}

#[test]
fn peak_memory_is_as_estimated() {
    for threads in [1, 4] {
        let backend = backend(threads);
        decoder().decode(&backend).expect("a picture");
        let [measured, estimated] = [backend.memory().peak, decoder().estimated_peak(&backend)];
        let ratio = estimated as f64 / measured as f64;
        assert!((0.85..=1.15).contains(&ratio), "{measured} measured, {estimated} estimated");
    }
}

#[test]
fn a_value_beyond_all_memory_is_an_error() {
    let backend = backend(1);
    let (program, weights) = decoder().prepare(&backend).expect("weights");
    let (input, output) = (program.input(), program.output());
    let upsample = Op::Upsample { input, output, factor: u32::MAX, frames: FrameRepeat::NONE };
    let latents = backend.upload(&decoder().latents(5)).expect("room");
    let operands = Operands::new([Operand::Shared(&latents)]);
    let error = backend.run(&program, &upsample, &weights, operands).unwrap_err();
    assert!(matches!(error, BackendError::OutOfMemory { .. }), "{error}");
    assert!(backend.upload(&decoder().latents(5)).is_ok(), "the backend still works");
}
