//! Backends that store less than f32.

use half::{bf16, f16};

use super::RandomWeights;
use crate::backend::{BackendError, WeightSource};
use crate::program::WeightSpec;
use crate::tensor::HostTensor;

/// What a backend stores, and how far its results may be from the f64 reference, as shares of
/// `max(1, max |reference|)`.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// To the nearest number that is stored.
    pub round: fn(f32) -> f32,
    /// The bound for one op.
    pub op: f32,
    /// The bound for a decoder.
    pub program: f32,
}

impl Rounding {
    /// f32: half of the project's bound for a whole decode leaves room for Winograd convs.
    pub const F32: Self = Self { round: |value| value, op: 1e-4, program: 2e-4 };

    /// f16 with f32 sums. A result is rounded by 2^-11 of itself, and a fused op rounds what it
    /// stages, too.
    pub const F16: Self =
        Self { round: |value| f16::from_f32(value).to_f32(), op: 2e-3, program: 4e-3 };

    /// bf16 with f32 sums: eight times as coarse.
    pub const BF16: Self =
        Self { round: |value| bf16::from_f32(value).to_f32(), op: 16e-3, program: 32e-3 };

    pub(super) fn tensor(&self, mut tensor: HostTensor) -> HostTensor {
        tensor.data_mut().iter_mut().for_each(|value| *value = (self.round)(*value));
        tensor
    }

    pub(super) fn weights(&self, seed: u64) -> RoundedWeights {
        RoundedWeights { random: RandomWeights { seed }, round: self.round }
    }
}

/// A way to make backends.
pub trait Make<B> {
    /// Makes one.
    fn make(&self) -> B;

    /// What they store.
    fn rounding(&self) -> Rounding {
        Rounding::F32
    }
}

impl<B, F: Fn() -> B> Make<B> for F {
    fn make(&self) -> B {
        self()
    }
}

/// A way to make backends that store less than f32.
#[derive(Clone, Copy, Debug)]
pub struct Rounded<F> {
    /// Makes one.
    pub make: F,
    /// What they store.
    pub rounding: Rounding,
}

impl<B, F: Fn() -> B> Make<B> for Rounded<F> {
    fn make(&self) -> B {
        (self.make)()
    }

    fn rounding(&self) -> Rounding {
        self.rounding
    }
}

/// Random weights that are stored exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundedWeights {
    random: RandomWeights,
    round: fn(f32) -> f32,
}

impl WeightSource for RoundedWeights {
    fn load(&self, spec: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        self.random.load(spec, out)?;
        out.iter_mut().for_each(|value| *value = (self.round)(*value));
        Ok(())
    }
}
