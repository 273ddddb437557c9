//! One op with random operands, and how a backend is held against the reference.

use halovae_core::{Region, Scale};

use super::{Random, Reference, Rounding};
use crate::backend::{Backend, BackendError, Operand, Operands};
use crate::program::{
    Norm, NormOver, Op, Program, Value, ValueId, ValueKind, WeightId, WeightSpec,
};
use crate::tensor::{HostTensor, Shape};

pub(super) fn random_tensor(random: &mut Random, shape: Shape) -> HostTensor {
    let elements = shape.elements().expect("a small shape");
    let data = (0..elements).map(|_| random.uniform(-2.0, 2.0)).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

/// Plausible statistics: any mean, a variance that is not negative.
pub(super) fn random_stats(random: &mut Random, batch: usize, groups: usize) -> HostTensor {
    let mut stats = random_tensor(random, Shape::new(batch, groups, 1, 2));
    for pair in stats.data_mut().chunks_exact_mut(2) {
        pair[1] = pair[1].abs() + 0.05;
    }
    stats
}

pub(super) fn whole(shape: Shape) -> Region {
    shape.size().at_origin()
}

pub(super) fn assert_close(what: &str, got: &HostTensor, expected: &HostTensor, tolerance: f32) {
    assert_eq!(got.shape(), expected.shape(), "{what}: another shape");
    let bound = tolerance * expected.max_abs().max(1.0);
    for (index, (g, e)) in got.data().iter().zip(expected.data()).enumerate() {
        assert!((g - e).abs() <= bound, "{what}: element {index} is {g}, expected {e} +- {bound}");
    }
}

/// A program of one op, its operands and random weights.
pub(super) struct Case {
    pub(super) program: Program,
    pub(super) operands: Vec<HostTensor>,
}

impl Case {
    pub(super) fn new() -> Self {
        let program = Program {
            values: Vec::new(),
            weights: Vec::new(),
            ops: Vec::new(),
            input: ValueId(0),
            output: ValueId(0),
            one_frame: false,
        };
        Self { program, operands: Vec::new() }
    }

    pub(super) fn value(&mut self, name: &str, kind: ValueKind) -> ValueId {
        self.program.values.push(Value { name: name.into(), kind });
        ValueId(self.program.values.len() as u32 - 1)
    }

    pub(super) fn features(&mut self, name: &str, tensor: HostTensor) -> ValueId {
        let channels = tensor.shape().channels as u32;
        self.operands.push(tensor);
        self.value(name, ValueKind::Features { channels, scale: Scale::ONE })
    }

    pub(super) fn stats(&mut self, tensor: HostTensor) -> ValueId {
        let groups = tensor.shape().height as u32;
        self.operands.push(tensor);
        self.value("stats", ValueKind::Stats { groups })
    }

    pub(super) fn weight(&mut self, name: &str, shape: &[u32]) -> WeightId {
        let shape: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
        self.program.weights.push(WeightSpec::whole(name, shape));
        WeightId(self.program.weights.len() as u32 - 1)
    }

    pub(super) fn norm(&mut self, channels: u32, stats: ValueId, silu: bool) -> Norm {
        let gamma = self.weight("norm.weight", &[channels]);
        let beta = self.weight("norm.bias", &[channels]);
        Norm { over: NormOver::Groups { stats, gamma, beta, eps: 1e-6 }, silu }
    }

    pub(super) fn output(&mut self, channels: u32) -> ValueId {
        let id = self.value("output", ValueKind::Features { channels, scale: Scale::ONE });
        self.program.output = id;
        id
    }

    /// Makes operands of what is stored exactly.
    pub(super) fn round(&mut self, rounding: &Rounding) {
        let operands = std::mem::take(&mut self.operands);
        self.operands = operands.into_iter().map(|tensor| rounding.tensor(tensor)).collect();
    }

    /// Runs the op; with `owned` the backend may reuse the operands' memory.
    pub(super) fn run_on<B: Backend>(
        &self,
        backend: &B,
        rounding: &Rounding,
        seed: u64,
        owned: bool,
    ) -> HostTensor {
        let result = self.try_run_on(backend, rounding, seed, owned);
        result.unwrap_or_else(|error| panic!("{:?}: {error}", self.program.ops[0]))
    }

    /// The same where the backend may refuse the op.
    pub(super) fn try_run_on<B: Backend>(
        &self,
        backend: &B,
        rounding: &Rounding,
        seed: u64,
        owned: bool,
    ) -> Result<HostTensor, BackendError> {
        let op = &self.program.ops[0];
        let weights = backend
            .prepare(&self.program, &rounding.weights(seed))
            .expect("random weights can be prepared");
        let upload = |tensor| backend.upload(tensor).expect("a small tensor can be uploaded");
        let tensors: Vec<B::Tensor> = self.operands.iter().map(upload).collect();
        let operands = match owned {
            true => Operands::new(tensors.into_iter().map(Operand::Owned)),
            false => Operands::new(tensors.iter().map(Operand::Shared)),
        };
        let output = backend.run(&self.program, op, &weights, operands)?;
        let region = whole(backend.shape(&output));
        Ok(backend.download(&output, region).expect("a small tensor can be downloaded"))
    }

    /// Holds the backend against the reference, unless it declines the op.
    pub(super) fn check<B: Backend>(mut self, backend: &B, rounding: &Rounding, op: Op, seed: u64) {
        self.program.ops = vec![op];
        self.round(rounding);
        if !backend.supports(&self.program, &op) {
            return;
        }
        let expected = self.run_on(&Reference, rounding, seed, false);
        for owned in [false, true] {
            let got = self.run_on(backend, rounding, seed, owned);
            let shapes: Vec<_> = self.operands.iter().map(|t| t.shape().to_string()).collect();
            let what = format!("seed {seed}, owned {owned}, operands {shapes:?}, {op:?}");
            assert_close(&what, &got, &expected, rounding.op);
        }
    }
}
