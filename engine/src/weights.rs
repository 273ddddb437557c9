//! A checkpoint as a source of weights.

use crate::backend::{BackendError, WeightSource};
use crate::checkpoint::Checkpoint;
use crate::program::{WeightPart, WeightSpec};

impl WeightSource for Checkpoint {
    fn load(&self, spec: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        let problem = |message: String| BackendError::Weight { name: spec.name.clone(), message };
        let view = self
            .tensor(&spec.name)
            .ok_or_else(|| problem("the checkpoint does not have it".into()))?;
        if view.shape != spec.shape {
            let [got, expected] = [view.shape, &spec.shape];
            return Err(problem(format!("its shape is {got:?}, expected {expected:?}")));
        }
        match spec.part {
            WeightPart::Whole => view.to_f32_into(out),
            WeightPart::Share { .. } | WeightPart::Taps { .. } => {
                let mut whole = Vec::new();
                let elements = view.elements();
                whole
                    .try_reserve_exact(elements)
                    .map_err(|_| problem(format!("no memory for its {elements} elements")))?;
                whole.resize(elements, 0.0);
                view.to_f32_into(&mut whole);
                spec.take(&whole, out);
            }
        }
        match out.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(problem(format!(
                "element {at} is {}; the checkpoint is damaged, fetch it again",
                out[at]
            ))),
            None => Ok(()),
        }
    }
}
