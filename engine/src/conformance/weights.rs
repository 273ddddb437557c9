//! Weights of no checkpoint.

use super::Random;
use crate::backend::{BackendError, WeightSource};
use crate::program::{WeightPart, WeightSpec};

/// Weights drawn from a seed, for tests and benchmarks: uniform, scaled so that a decoder's values
/// keep their magnitude (`1 / sqrt(fan in)`), norms near identity.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    /// Where the numbers start.
    pub seed: u64,
}

impl WeightSource for RandomWeights {
    fn load(&self, spec: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        let name_hash = spec.name.bytes().fold(self.seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut random = Random::new(name_hash);
        if spec.part != WeightPart::Whole {
            let whole = WeightSpec { part: WeightPart::Whole, ..spec.clone() };
            let mut values = vec![0.0; whole.elements()];
            self.load(&whole, &mut values)?;
            spec.take(&values, out);
            return Ok(());
        }
        let is_kernel = spec.shape.len() > 1;
        let fan_in: usize = spec.shape.iter().skip(1).product();
        let is_norm_scale =
            !is_kernel && spec.name.contains("norm") && spec.name.ends_with("weight");
        for value in out {
            let uniform = random.uniform(-1.0, 1.0);
            *value = match (is_kernel, is_norm_scale) {
                (true, _) => uniform * (3.0 / fan_in as f32).sqrt(),
                (false, true) => 1.0 + 0.2 * uniform,
                (false, false) => 0.1 * uniform,
            };
        }
        Ok(())
    }
}
