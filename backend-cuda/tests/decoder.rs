//! A whole decoder: as the CPU decodes it, in the memory that was estimated; and what happens when
//! memory is gone.

mod common;

use halovae_core::Size;
use halovae_cpu::CpuBackend;
use halovae_cuda::{CudaBackend, Options, Precision};
use halovae_engine::backend::{Backend, BackendError, Operand, Operands};
use halovae_engine::conformance::{SmallDecoder, relative_rms};
use halovae_engine::program::{FrameRepeat, Op};
use halovae_engine::tensor::HostTensor;

fn rank(options: Options) -> CudaBackend {
    common::device(options).backend().expect("a stream")
}

const LATENTS: Size = Size::new(11, 14);

fn decoder() -> SmallDecoder {
    SmallDecoder::new(&[32, 64, 72], 8, 16, LATENTS)
}

fn decode<B: Backend>(backend: &B) -> Result<HostTensor, BackendError> {
    decoder().decode(backend)
}

fn latents() -> HostTensor {
    decoder().latents(5)
}

#[track_caller]
fn assert_close(got: &HostTensor, expected: &HostTensor) {
    assert_eq!(got.shape(), expected.shape());
    let bound = 2e-4 * expected.max_abs().max(1.0);
    let differences = got.data().iter().zip(expected.data()).map(|(g, e)| (g - e).abs());
    let most = differences.fold(0.0, f32::max);
    assert!(most <= bound, "differs by {most}, the bound is {bound}");
}

fn on_the_cpu() -> HostTensor {
    let expected = decode(&CpuBackend::new(2).unwrap()).unwrap();
    assert!(expected.max_abs() > 0.1, "a picture of nothing proves nothing");
    expected
}

/// Also when several ranks share a device and its weights, and decode at the same time.
#[test]
fn as_on_the_cpu() {
    let device = common::device(Options::default());
    let expected = on_the_cpu();
    let (program, weights) = decoder().prepare(&device.backend().unwrap()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let backend = device.backend().unwrap();
                assert_eq!(backend.device(), device.backend().unwrap().device());
                assert_close(
                    &decoder().decode_with(&backend, (&program, &weights), 5).unwrap(),
                    &expected,
                );
            });
        }
    });
    let other = rank(Options::default());
    assert_ne!(device.backend().unwrap().device(), other.device());
}

/// Half the bytes, and as close as f16 and bf16 allow.
#[test]
fn in_half_precision() {
    let expected = on_the_cpu();
    let full = rank(Options::default());
    decode(&full).unwrap();
    for (precision, least) in [(Precision::F16, 1e-5), (Precision::Bf16, 1e-4)] {
        let backend = rank(Options { precision, ..Options::default() });
        let rms = relative_rms(decode(&backend).unwrap().data(), expected.data());
        eprintln!("{precision}: relative rms {rms:.2e}");
        assert!(rms <= 2e-2, "{precision}: relative rms {rms}");
        assert!(rms > least, "{precision}: relative rms {rms}, so that is another type");
        let [half, full] = [backend.memory().peak, full.memory().peak];
        assert!(half * 10 < full * 7, "{half} bytes in {precision}, {full} in f32");
        assert_estimated(&backend);
    }
    assert_estimated(&full);
}

#[track_caller]
fn assert_estimated(backend: &CudaBackend) {
    let estimated = decoder().estimated_peak(backend);
    let measured = backend.memory().peak;
    let ratio = estimated as f64 / measured as f64;
    eprintln!("{measured} measured, {estimated} estimated");
    assert!((0.85..=1.15).contains(&ratio), "{measured} measured, {estimated} estimated");
}

/// Somewhere in the decode there is no room; with more room the same device goes on.
#[test]
fn no_room_is_an_error() {
    let backend = rank(Options::default());
    decode(&backend).unwrap();
    let peak = backend.memory().peak;
    for share in [2, 4, 9] {
        let limit = Some(peak * share / 10);
        let small = rank(Options { max_memory_bytes: limit, ..Options::default() });
        match decode(&small) {
            Err(BackendError::OutOfMemory { requested, .. }) => assert!(requested > 0),
            other => panic!("{share} tenths of the memory: {other:?}"),
        }
        assert_eq!(small.memory().current, 0, "memory is still held");
        assert!(small.upload(&latents()).is_ok(), "the backend still works");
    }
}

/// More than the device has, and more than anything has; the error says what there is.
#[test]
fn a_value_beyond_all_memory_is_an_error() {
    let backend = rank(Options::default());
    let (program, weights) = decoder().prepare(&backend).unwrap();
    let (input, output) = (program.input(), program.output());
    for factor in [1 << 14, 1 << 24, u32::MAX] {
        let upsample = Op::Upsample { input, output, factor, frames: FrameRepeat::NONE };
        let latents = backend.upload(&latents()).unwrap();
        let operands = Operands::new([Operand::Shared(&latents)]);
        let error = backend.run(&program, &upsample, &weights, operands).unwrap_err();
        assert!(matches!(error, BackendError::OutOfMemory { .. }), "{error}");
        assert!(error.to_string().contains("free"), "{error}");
    }
    assert!(backend.upload(&latents()).is_ok(), "the backend still works");
}
