//! The tests that a backend runs on itself.
//!
//! [`backend_conformance!`](crate::backend_conformance) makes them out of an expression that gives
//! a backend. Every op runs on random shapes, plain and fused, against [`Reference`], which does
//! the obvious thing in f64.

mod case;
mod cases;
mod conditioning;
mod deviation;
mod edges;
mod frames;
mod over_time;
mod parts;
mod random;
mod reference;
mod rounding;
mod small;
mod weights;

pub use cases::{
    activations, attention, convs, convs_of_many_channels, fused_convs, memory_is_returned, norms,
    out_of_place_operands, programs, shrinking_convs, transfers,
};
pub use conditioning::rounding_bound;
pub use deviation::deviation;
pub use edges::convs_with_edges;
pub use frames::{convs_over_time_within_halos, frames_are_gathered};
pub use over_time::{
    Step, can_hide_changes, chunks_of_frames, program_over_time, programs_over_time, run_at_once,
    run_in_chunks,
};
pub use parts::{attention_in_blocks, convs_within_halos, convs_within_halos_and_edges};
pub use random::Random;
pub use reference::{Array, Reference, ReferenceAttention};
pub use rounding::{Make, Rounded, Rounding};
pub use small::{SmallDecoder, relative_rms};
pub use weights::RandomWeights;

/// Makes one `#[test]` per part of the suite. `$make` is an expression that gives a fresh backend. One
/// that stores less than f32 says so by a [`Rounding`]: its operands are then numbers that it stores
/// exactly, and its results may be rounded.
///
/// ```ignore
/// halovae_engine::backend_conformance!(halovae_cpu::CpuBackend::new(2).unwrap());
/// halovae_engine::backend_conformance!(half_backend(), Rounding::F16);
/// ```
#[macro_export]
macro_rules! backend_conformance {
    ($make:expr) => {
        $crate::backend_conformance!(@tests $make;
            transfers, convs, convs_of_many_channels, fused_convs, convs_with_edges, shrinking_convs,
            norms, activations, attention, out_of_place_operands, programs, convs_within_halos,
            convs_within_halos_and_edges, attention_in_blocks, programs_over_time, chunks_of_frames,
            frames_are_gathered, convs_over_time_within_halos, memory_is_returned);
    };
    ($make:expr, $rounding:expr) => {
        $crate::backend_conformance!(@rounded $make, $rounding;
            transfers, convs, convs_of_many_channels, fused_convs, convs_with_edges, shrinking_convs,
            norms, activations, attention, out_of_place_operands, programs, convs_within_halos,
            convs_within_halos_and_edges, attention_in_blocks, programs_over_time, chunks_of_frames,
            frames_are_gathered, convs_over_time_within_halos, memory_is_returned);
    };
    (@rounded $make:expr, $rounding:expr; $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                let make = $crate::conformance::Rounded { make: || $make, rounding: $rounding };
                $crate::conformance::$test(make);
            }
        )*
    };
    (@tests $make:expr; $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                $crate::conformance::$test(|| $make);
            }
        )*
    };
}
