//! A program's weights, packed for the kernels.

use std::collections::BTreeMap;

use halovae_core::Axis;
use halovae_engine::backend::{BackendError, WeightSource};
use halovae_engine::program::{self, Norm, Op, Program, WeightId};

use super::CpuBackend;
use super::store::Counted;
use crate::conv::{Conv, ConvShape};
use crate::simd::Level;

/// A program's weights on the CPU: convs with their biases by the id of the kernel, and parameters of
/// norms.
#[derive(Debug)]
pub struct CpuWeights {
    convs: BTreeMap<WeightId, Conv>,
    vectors: BTreeMap<WeightId, Vec<f32>>,
    _counted: Counted,
}

/// The kernels' description of a convolution.
pub(super) fn shape_of(conv: &program::Conv) -> ConvShape {
    let kernel = Axis::ALL.map(|axis| conv.windows[axis].kernel as usize);
    ConvShape {
        in_channels: conv.in_channels as usize,
        out_channels: conv.out_channels as usize,
        kernel,
        stride: conv.stride().map(|n| n as usize),
        upsample: conv.upsample() as usize,
    }
}

/// Norm parameters that some op reads; a bias is part of its convolution.
fn norm_vectors(program: &Program) -> impl Iterator<Item = WeightId> {
    let reads = |norm: Norm, id| norm.parameters().contains(&Some(id));
    let read = |id: WeightId| {
        program.ops().iter().any(|op| match *op {
            Op::Conv(conv) => conv.norm.is_some_and(|n| reads(n, id)),
            Op::NormApply { norm, .. } => reads(norm, id),
            _ => false,
        })
    };
    let mut ids: Vec<WeightId> =
        program.ops().iter().flat_map(Op::weights).filter(|&id| read(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
}

/// Bytes of [`CpuWeights`] for a program.
pub(super) fn bytes(level: Level, program: &Program) -> u64 {
    let bytes_of = |conv| shape_of(conv).weight_bytes(level, conv.bias.is_some());
    let convs: usize = program.convs().map(bytes_of).sum();
    let vectors: usize = norm_vectors(program).map(|id| program.weight(id).elements()).sum();
    (convs + vectors * size_of::<f32>()) as u64
}

impl CpuWeights {
    pub(super) fn load(
        backend: &CpuBackend,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self, BackendError> {
        let level = backend.level();
        let counted = backend.store.count(bytes(level, program) as usize);
        let load = |id: WeightId| {
            let spec = program.weight(id);
            let mut values = Vec::new();
            values.try_reserve_exact(spec.elements()).map_err(|_| {
                backend.out_of_memory(&spec.name, spec.elements().saturating_mul(4))
            })?;
            values.resize(spec.elements(), 0.0);
            source.load(spec, &mut values)?;
            Ok::<_, BackendError>(values)
        };
        let vectors = norm_vectors(program).map(|id| Ok((id, load(id)?)));
        let vectors = vectors.collect::<Result<_, BackendError>>()?;
        let mut convs = BTreeMap::new();
        for conv in program.convs() {
            let weight = load(conv.weight)?;
            let bias = conv.bias.map(load).transpose()?;
            let packed = Conv::prepare(level, shape_of(conv), &weight, bias.as_deref())
                .map_err(|error| backend.error(&program.weight(conv.weight).name, error))?;
            convs.insert(conv.weight, packed);
        }
        Ok(Self { convs, vectors, _counted: counted })
    }

    pub(super) fn conv(&self, conv: &program::Conv) -> &Conv {
        self.convs.get(&conv.weight).expect("an op runs with the weights of its own program")
    }

    pub(super) fn vector(&self, id: WeightId) -> &[f32] {
        self.vectors.get(&id).expect("an op runs with the weights of its own program")
    }
}
