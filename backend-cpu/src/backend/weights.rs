//! A program's weights, packed for the kernels.

use halovae_core::Axis;
use halovae_engine::backend::{BackendError, WeightSource};
use halovae_engine::program::{self, Norm, Op, Program, WeightId};

use super::CpuBackend;
use super::store::Counted;
use crate::conv::{Conv, ConvShape};

/// A program's weights on the CPU.
///
/// A convolution is found by its weight and by how it reads, so a strategy may run an op with
/// another padding than the program's.
#[derive(Debug)]
pub struct CpuWeights {
    convs: Vec<(ConvKey, Conv)>,
    vectors: Vec<Option<Vec<f32>>>,
    _counted: Counted,
}

type ConvKey = (WeightId, [u32; 2], u32);

fn key(conv: &program::Conv) -> ConvKey {
    (conv.weight, conv.stride(), conv.upsample())
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

/// Every convolution of the program that is packed apart from the others.
fn distinct_convs(program: &Program) -> Vec<program::Conv> {
    let mut all: Vec<program::Conv> = Vec::new();
    for conv in program.convs() {
        if !all.iter().any(|other| key(other) == key(conv)) {
            all.push(*conv);
        }
    }
    all
}

/// Norm parameters that some op reads; a bias is part of its convolution.
fn norm_vectors(program: &Program) -> impl Iterator<Item = WeightId> {
    let reads = |norm: Norm, id| norm.gamma == id || norm.beta() == Some(id);
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
pub(super) fn bytes(backend: &CpuBackend, program: &Program) -> u64 {
    let convs: usize = distinct_convs(program)
        .iter()
        .map(|conv| shape_of(conv).weight_bytes(backend.level, conv.bias.is_some()))
        .sum();
    let vectors: usize = norm_vectors(program).map(|id| program.weight(id).elements()).sum();
    (convs + vectors * size_of::<f32>()) as u64
}

impl CpuWeights {
    pub(super) fn load(
        backend: &CpuBackend,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self, BackendError> {
        let counted = backend.store.count(bytes(backend, program) as usize);
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
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; program.weights().len()];
        for id in norm_vectors(program) {
            vectors[id.index()] = Some(load(id)?);
        }
        let mut convs = Vec::new();
        for conv in distinct_convs(program) {
            let weight = load(conv.weight)?;
            let bias = conv.bias.map(load).transpose()?;
            let packed = Conv::prepare(backend.level, shape_of(&conv), &weight, bias.as_deref())
                .map_err(|error| backend.error(&program.weight(conv.weight).name, error))?;
            convs.push((key(&conv), packed));
        }
        Ok(Self { convs, vectors, _counted: counted })
    }

    pub(super) fn conv(&self, conv: &program::Conv) -> &Conv {
        let found = self.convs.iter().find(|(k, _)| *k == key(conv));
        &found.expect("an op runs with the weights of its own program").1
    }

    pub(super) fn vector(&self, id: WeightId) -> &[f32] {
        let found = self.vectors[id.index()].as_deref();
        found.expect("an op runs with the weights of its own program")
    }
}
