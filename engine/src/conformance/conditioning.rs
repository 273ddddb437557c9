//! How far rounding can carry two evaluations of one program apart.

use super::{Random, Reference, run_at_once};
use crate::backend::{Backend, BackendError, WeightSource};
use crate::program::{Program, WeightSpec};
use crate::tensor::HostTensor;

/// Relative size of a nudge: a few roundings of an f32.
const NUDGE: f32 = 1e-6;

/// Nudged evaluations. One may miss a value that has little room.
const NUDGES: u64 = 3;

/// The largest difference that rounding explains between two evaluations of `program` which add in
/// another order. Where a norm divides by what is almost zero it is large, so it is measured: by how
/// much the reference's output changes when weights and latents change in their last digits.
pub fn rounding_bound(program: &Program, source: &dyn WeightSource, latents: &HostTensor) -> f32 {
    let run = |source: &dyn WeightSource, latents: &HostTensor| {
        let weights = Reference.prepare(program, source).expect("weights");
        run_at_once(&Reference, program, &weights, latents)
    };
    let exact = run(source, latents);
    let mut largest: f32 = 0.0;
    for seed in 0..NUDGES {
        let mut nudged = latents.clone();
        nudge(&mut Random::new(seed), nudged.data_mut());
        let got = run(&Nudged { source, seed }, &nudged);
        let pairs = exact.data().iter().zip(got.data());
        largest = pairs.map(|(exact, got)| (exact - got).abs()).fold(largest, f32::max);
    }
    1e-5 * exact.max_abs().max(1.0) + 10.0 * largest
}

/// Weights that differ in their last digits.
struct Nudged<'a> {
    source: &'a dyn WeightSource,
    seed: u64,
}

impl WeightSource for Nudged<'_> {
    fn load(&self, spec: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        self.source.load(spec, out)?;
        let bytes = spec.name.bytes();
        nudge(
            &mut Random::new(
                bytes.fold(self.seed, |hash, byte| hash.wrapping_mul(31) + u64::from(byte)),
            ),
            out,
        );
        Ok(())
    }
}

fn nudge(random: &mut Random, values: &mut [f32]) {
    for value in values {
        *value *= 1.0 + NUDGE * random.uniform(-1.0, 1.0);
    }
}
