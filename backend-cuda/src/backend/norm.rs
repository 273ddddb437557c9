//! Group norms: their statistics, and the factors that apply them.

use cudarc::driver::sys::CUdeviceptr;
use halovae_engine::backend::BackendError;
use halovae_engine::program::Norm;
use halovae_engine::tensor::Shape;

use super::{CudaBackend, CudaWeights};
use crate::kernels::{Element, Kernel};
use crate::params::{Affine, StatsMerge, StatsPart};
use crate::store::Block;
use crate::value::{EIGHT, Value, wide};

/// Positions of a block whose moments one thread computes.
const BLOCK: usize = 64;

/// Bytes of the moments of all blocks of a feature map.
pub(super) fn stats_bytes(shape: Shape) -> u64 {
    let blocks = shape.batch as u64 * ((shape.height * shape.width).div_ceil(BLOCK)) as u64;
    blocks * wide(shape.channels) as u64 * 8
}

/// Bytes of factors and summands.
pub(super) fn affine_bytes(shape: Shape) -> u64 {
    (shape.batch * 2 * wide(shape.channels) * 4) as u64
}

/// Where a sample's factors begin.
pub(super) fn affine_at(affine: &Block, input: &Value, sample: usize) -> CUdeviceptr {
    affine.at((sample * 2 * input.wide() * 4) as u64)
}

impl CudaBackend {
    pub(super) fn stats(
        &self,
        name: &str,
        input: &Value,
        groups: usize,
    ) -> Result<Value, BackendError> {
        let input = self.feature(name, input)?;
        let shape = input.shape;
        let out = Shape::new(shape.batch, groups, 1, 2);
        let out = self.store.value_of(name, out, Element::F32)?;
        let parts = self.store.block(name, stats_bytes(shape))?;
        let blocks = input.positions().div_ceil(BLOCK);
        let part = StatsPart {
            input: input.pointer(),
            parts: parts.pointer(),
            positions: input.positions() as u32,
            block: BLOCK as u32,
            blocks: blocks as u32,
            eights: input.eights(),
            samples: shape.batch as u32,
        };
        let count = (shape.batch * blocks) as u64 * u64::from(input.eights());
        self.store.over(Kernel::StatsPart, &part, count)?;
        let merge = StatsMerge {
            parts: parts.pointer(),
            stats: out.pointer(),
            positions: part.positions,
            block: part.block,
            blocks: part.blocks,
            eights: part.eights,
            groups: groups as u32,
            per_group: (shape.channels / groups) as u32,
        };
        self.store.launch(Kernel::StatsMerge, &merge, (shape.batch * groups) as u64)?;
        Ok(out)
    }

    /// Factors and summands of a norm on `input`, by sample and channel.
    pub(super) fn affine(
        &self,
        name: &str,
        norm: &Norm,
        weights: &CudaWeights,
        input: &Value,
        stats: &Value,
    ) -> Result<Block, BackendError> {
        assert_eq!(stats.wide(), EIGHT, "statistics have two channels");
        let Shape { batch, channels, .. } = input.shape;
        let affine = self.store.block(name, affine_bytes(input.shape))?;
        let params = Affine {
            stats: stats.pointer(),
            gamma: weights.vector(norm.gamma),
            beta: weights.vector(norm.beta),
            affine: affine.pointer(),
            samples: batch as u32,
            channels: channels as u32,
            eights: input.eights(),
            groups: stats.shape.height as u32,
            eps: norm.eps,
        };
        self.store.over(Kernel::Affine, &params, (batch * input.wide()) as u64)?;
        Ok(affine)
    }
}
