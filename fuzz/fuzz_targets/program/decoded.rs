//! Small decodes: fused or not, a program means the same.

use halovae_engine::backend::Backend as _;
use halovae_engine::conformance::{RandomWeights, Reference, rounding_bound, run_at_once};
use halovae_engine::program::Program;
use halovae_engine::tensor::{HostTensor, Shape};

use crate::input::Input;

/// Fused or not, a program means the same.
pub(crate) fn same_picture(input: &Input, plain: &Program, fused: &Program) {
    let [height, width] = [input.height, input.width].map(|extent| extent.get() as usize % 4 + 1);
    let latents = latents(Shape::new(1, height, width, plain.latent_channels() as usize));
    let weights = RandomWeights { seed: input.accepted };
    let bound = rounding_bound(plain, &weights, &latents);
    let [plain, fused] = [plain, fused].map(|program| decoded(program, &weights, &latents));
    same(&plain, &fused, bound);
}

/// Some values of that shape.
pub(crate) fn latents(shape: Shape) -> HostTensor {
    let mut latents = HostTensor::zeros(shape).expect("memory for a few values");
    let values = latents.data_mut().iter_mut().enumerate();
    values.for_each(|(index, value)| *value = (index as f32 * 0.7).sin());
    latents
}

/// What a program makes of latents.
pub(crate) fn decoded(
    program: &Program,
    weights: &RandomWeights,
    latents: &HostTensor,
) -> HostTensor {
    let weights = Reference.prepare(program, weights).expect("random weights");
    run_at_once(&Reference, program, &weights, latents)
}

/// Two outputs are at most `bound` apart.
pub(crate) fn same(plain: &HostTensor, fused: &HostTensor, bound: f32) {
    assert_eq!(plain.shape(), fused.shape());
    for (plain, fused) in plain.data().iter().zip(fused.data()) {
        assert!((plain - fused).abs() <= bound, "{plain} and {fused}, at most {bound} apart");
    }
}
