//! The engine's conformance suite, on a GPU or on what stands in for one.

mod common;

use halovae_cuda::{CudaBackend, Limits, Options, Precision};

fn backend(precision: Precision) -> CudaBackend {
    let device = common::device(Options { precision, ..Options::default() });
    device.backend().expect("a stream")
}

mod f32 {
    halovae_engine::backend_conformance!(super::backend(super::Precision::F32));
}

mod f16 {
    use halovae_engine::conformance::Rounding;

    halovae_engine::backend_conformance!(super::backend(super::Precision::F16), Rounding::F16);
}

mod bf16 {
    use halovae_engine::conformance::Rounding;

    halovae_engine::backend_conformance!(super::backend(super::Precision::Bf16), Rounding::BF16);
}

/// As GPUs multiply that have not what Hopper has.
mod bf16_before_hopper {
    use super::{Options, Precision};
    use halovae_engine::conformance::Rounding;

    halovae_engine::backend_conformance!(@rounded super::common::device(Options {
        precision: Precision::Bf16,
        without_hopper: true,
        ..Options::default()
    }).backend().expect("a stream"), Rounding::BF16;
        convs, convs_of_many_channels, fused_convs, shrinking_convs, attention, programs,
        attention_in_blocks);
}

/// Products by engines of cuDNN's: all of them on the stand-in, and those of some size where an engine
/// really has to be compiled for each.
fn by_cudnn(precision: Precision) -> CudaBackend {
    let engines_from = if halovae_cuda_stand_in::is_real() { 1 << 23 } else { 0 };
    let limits = Limits { engines_from, ..Limits::default() };
    let device = common::device(Options { precision, limits, ..Options::default() });
    assert!(device.cudnn().unwrap_or_else(|error| panic!("{error}")).is_some());
    device.backend().expect("a stream")
}

mod f16_by_cudnn {
    use halovae_engine::conformance::Rounding;

    // What differs from bf16 is a type; trials take time where a CPU makes them.
    halovae_engine::backend_conformance!(
        @rounded super::by_cudnn(super::Precision::F16), Rounding::F16; convs, attention, programs
    );
}

mod bf16_by_cudnn {
    use halovae_engine::conformance::Rounding;

    halovae_engine::backend_conformance!(super::by_cudnn(super::Precision::Bf16), Rounding::BF16);
}

/// Many bands, and many blocks of queries and keys.
fn in_pieces(precision: Precision) -> CudaBackend {
    let limits = Limits { band_bytes: 16 << 10, attention: [40, 24], ..Limits::default() };
    let device = common::device(Options { precision, limits, ..Options::default() });
    device.backend().expect("a stream")
}

mod in_pieces {
    halovae_engine::backend_conformance!(@tests super::in_pieces(super::Precision::F32);
        fused_convs, shrinking_convs, attention, programs, convs_within_halos, attention_in_blocks);
}

mod bf16_in_pieces {
    use halovae_engine::conformance::Rounding;

    halovae_engine::backend_conformance!(
        @rounded super::in_pieces(super::Precision::Bf16), Rounding::BF16;
        shrinking_convs, attention, attention_in_blocks
    );
}
