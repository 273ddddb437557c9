//! A whole decoder: as the CPU decodes it, in many buffers, in the memory that was estimated; and
//! what happens when memory or the device is gone.

mod common;

use halovae_core::{Region, Size};
use halovae_cpu::CpuBackend;
use halovae_engine::backend::{Backend, BackendError};
use halovae_engine::conformance::{Random, RandomWeights, SmallDecoder, relative_rms};
use halovae_engine::execute::{Stop, execute};
use halovae_engine::program::{FrameRepeat, Op, Program, ProgramBuilder, fuse};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_wgpu::{Options, Precision};

const LATENTS: Size = Size::new(19, 14);

fn decoder() -> SmallDecoder {
    SmallDecoder::new(&[32, 64, 96], 16, 16, LATENTS)
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

#[test]
fn as_on_the_cpu() {
    assert_close(&decode(&common::backend(Options::default())).unwrap(), &on_the_cpu());
}

/// What a search finds is remembered, and decodes as what was guessed.
#[test]
fn tuned() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || Options { tuning_folder: Some(folder.path().to_owned()), ..Options::default() };
    let device = common::device(options());
    let found = device.tuning();
    assert_close(&decode(&device.backend()).unwrap(), &on_the_cpu());
    drop(device);
    let tunings = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let file = files.filter(|file| file.extension().is_some_and(|end| end == "txt")).last();
        file.expect("a file of tunings")
    };
    let text = std::fs::read_to_string(tunings()).unwrap();
    assert!(text.contains(&found), "{text}");
    // What the file says is taken.
    let other = "alone 2 4 64 winograd 2 77";
    assert_ne!(found, other);
    std::fs::write(tunings(), text.replace(&found, other)).unwrap();
    assert_eq!(common::device(options()).tuning(), other);
}

/// Half the bytes, and as close as f16 allows.
#[test]
fn in_f16() {
    let expected = on_the_cpu();
    let options = Options { precision: Precision::F16, ..Options::default() };
    let backend = common::backend(options);
    let got = decode(&backend).unwrap();
    let rms = relative_rms(got.data(), expected.data());
    assert!(rms <= 2e-2, "relative rms {rms}");
    assert!(rms > 1e-6, "that is no f16");

    let full = common::backend(Options::default());
    decode(&full).unwrap();
    let [half, full] = [backend.memory().peak, full.memory().peak];
    assert!(half * 10 < full * 7, "{half} bytes in f16, {full} in f32");
    assert_estimated(&backend);
}

/// The largest values have twenty times as many bytes as may be bound at once.
#[test]
fn values_beyond_what_can_be_bound() {
    let bytes = 4 * u64::from(16 * LATENTS.area() as u32) * 64;
    for parts in [3, 20] {
        let limit = Some(bytes / parts);
        let backend = common::backend(Options { max_binding_bytes: limit, ..Options::default() });
        assert_close(&decode(&backend).unwrap(), &on_the_cpu());
    }
}

/// A value that is larger than what software Vulkan binds at once (128 MiB), at its own limit.
#[test]
fn a_value_beyond_128_mib() {
    let program = |backend: &dyn Fn(&Program, &Op) -> bool| {
        let mut builder = ProgramBuilder::new(32).unwrap();
        let mut x = builder.latents();
        x = builder.group_norm("norm", x, 8, 1e-6).unwrap();
        x = builder.silu("silu", x).unwrap();
        x = builder.conv("conv", x, 4, 3).unwrap();
        fuse(&builder.finish(x).unwrap(), backend)
    };
    let shape = Shape::new(1, 1040, 1024, 32);
    assert!(shape.bytes() > 128 << 20);
    let mut random = Random::new(7);
    let data = (0..shape.elements().unwrap()).map(|_| random.uniform(-1.0, 3.0)).collect();
    let input = HostTensor::new(shape, data).unwrap();

    fn run<B: Backend>(backend: &B, program: &Program, input: &HostTensor) -> HostTensor {
        let weights = backend.prepare(program, &RandomWeights { seed: 3 }).unwrap();
        let input = backend.upload(input).unwrap();
        let output = execute(backend, program, &weights, input, |_| Ok::<(), ()>(())).unwrap();
        let Shape { height, width, .. } = backend.shape(&output);
        backend.download(&output, Region::new(0, 0, height as u32, width as u32)).unwrap()
    }
    let backend = common::backend(Options::default());
    let got = run(&backend, &program(&|program, op| backend.supports(program, op)), &input);
    let expected = run(&CpuBackend::new(2).unwrap(), &program(&|_, _| true), &input);
    assert_close(&got, &expected);
}

#[test]
fn peak_memory_is_as_estimated() {
    let backend = common::backend(Options::default());
    decode(&backend).unwrap();
    assert_estimated(&backend);
}

#[track_caller]
fn assert_estimated(backend: &halovae_wgpu::WgpuBackend) {
    let estimated = decoder().estimated_peak(backend);
    let measured = backend.memory().peak;
    let ratio = estimated as f64 / measured as f64;
    assert!((0.85..=1.15).contains(&ratio), "{measured} measured, {estimated} estimated");
}

/// Somewhere in the decode there is no room; with more room the same backend's device goes on.
#[test]
fn no_room_is_an_error() {
    let backend = common::backend(Options::default());
    decode(&backend).unwrap();
    let peak = backend.memory().peak;
    for share in [2, 4, 9] {
        let limit = Some(peak * share / 10);
        let small = common::backend(Options { max_memory_bytes: limit, ..Options::default() });
        match decode(&small) {
            Err(BackendError::OutOfMemory { requested, .. }) => assert!(requested > 0),
            other => panic!("{share} tenths of the memory: {other:?}"),
        }
        assert_eq!(small.memory().current, 0, "memory is still held");
        assert!(small.upload(&latents()).is_ok(), "the backend still works");
    }
}

/// More than any buffer holds.
#[test]
fn a_value_beyond_all_memory_is_an_error() {
    let backend = common::backend(Options::default());
    let (program, weights) = decoder().prepare(&backend).unwrap();
    let (input, output) = (program.input(), program.output());
    for factor in [1 << 24, u32::MAX] {
        let upsample = halovae_engine::program::Op::Upsample {
            input,
            output,
            factor,
            frames: FrameRepeat::NONE,
        };
        let latents = backend.upload(&latents()).unwrap();
        let operands = [halovae_engine::backend::Operand::Shared(&latents)];
        let operands = halovae_engine::backend::Operands::new(operands);
        let error = backend.run(&program, &upsample, &weights, operands).unwrap_err();
        assert!(matches!(error, BackendError::OutOfMemory { .. }), "{error}");
    }
    assert!(backend.upload(&latents()).is_ok(), "the backend still works");
}

/// A device that is lost in the middle ends the decode with an error, never a panic; opened again it
/// decodes.
#[test]
fn a_lost_device() {
    let expected = on_the_cpu();
    for after in [0, 1, 7] {
        let device = common::device(Options::default());
        let backend = device.backend();
        let (program, weights) = decoder().prepare(&backend).unwrap();
        let input = backend.upload(&latents()).unwrap();
        let lose = |op| {
            if op == after {
                device.lose();
            }
            Ok::<(), ()>(())
        };
        let result = execute(&backend, &program, &weights, input, lose);
        let error = match result {
            Err(Stop::Op { error, .. }) => error,
            Ok(output) => backend.download(&output, Region::new(0, 0, 1, 1)).unwrap_err(),
            Err(Stop::Asked(())) => unreachable!("the callback never stops"),
        };
        assert!(matches!(&error, BackendError::Device { .. }), "{error}");
        assert!(error.to_string().contains("lost"), "{error}");
        assert!(backend.upload(&latents()).is_err(), "it stays lost");
        assert_close(&decode(&common::backend(Options::default())).unwrap(), &expected);
    }
}

/// Ranks share a device and its weights, and decode at the same time.
#[test]
fn ranks_on_one_device() {
    let device = common::device(Options::default());
    let expected = on_the_cpu();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let backend = device.backend();
                assert_eq!(backend.device(), device.backend().device());
                for _ in 0..2 {
                    assert_close(&decode(&backend).unwrap(), &expected);
                }
            });
        }
    });
    assert_ne!(device.backend().device(), common::backend(Options::default()).device());
}
