//! Group norms: their statistics, and the factors that apply them.

use cudarc::driver::sys::CUdeviceptr;
use halovae_engine::backend::BackendError;
use halovae_engine::program::Norm;
use halovae_engine::tensor::Shape;

use super::{CudaBackend, CudaWeights};
use crate::kernels::{Element, Kernel, THREADS};
use crate::params::{Affine, StatsMerge, StatsPart};
use crate::store::Block;
use crate::value::{EIGHT, Value, padded};

/// How moments of a sample are shared out: enough blocks of threads to fill a GPU, but no more, since one
/// block of threads merges what they give. It depends on nothing but the extents, so that all devices
/// add up alike.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    /// Eights that a block of threads has at once.
    across: usize,
    /// Positions of a block, and how many blocks there are.
    positions: usize,
    count: usize,
}

impl Blocks {
    const ENOUGH: usize = 1024;
    /// The fewest and the most positions of a thread.
    const FEWEST: usize = 8;
    const MOST: usize = 64;

    fn new(shape: Shape) -> Self {
        let (all, eights) = (shape.height * shape.width, padded(shape.channels) / EIGHT);
        let across = eights.clamp(1, THREADS as usize);
        let rows = THREADS as usize / across;
        let of_thread = all.div_ceil(rows * Self::ENOUGH).clamp(Self::FEWEST, Self::MOST);
        let positions = rows * of_thread;
        Self { across, positions, count: all.div_ceil(positions) }
    }
}

/// Bytes of the moments of all blocks of a feature map.
pub(super) fn stats_bytes(shape: Shape) -> u64 {
    let blocks = shape.batch as u64 * Blocks::new(shape).count as u64;
    blocks * padded(shape.channels) as u64 * 8
}

/// Bytes of factors and summands.
pub(super) fn affine_bytes(shape: Shape) -> u64 {
    (shape.batch * 2 * padded(shape.channels) * 4) as u64
}

/// Where a sample's factors begin.
pub(super) fn affine_at(affine: &Block, input: &Value, sample: usize) -> CUdeviceptr {
    affine.at((sample * 2 * input.padded() * 4) as u64)
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
        let blocks = Blocks::new(shape);
        let part = StatsPart {
            input: input.pointer(),
            parts: parts.pointer(),
            positions: input.positions() as u32,
            block: blocks.positions as u32,
            blocks: blocks.count as u32,
            eights: input.eights(),
            across: blocks.across as u32,
        };
        let chunks = (input.eights() as usize).div_ceil(blocks.across);
        let launched = shape.batch * blocks.count * chunks;
        self.store.launch(Kernel::StatsPart, &part, launched as u64)?;
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
        assert_eq!(stats.padded(), EIGHT, "statistics have two channels");
        let ([gamma, beta], eps) = norm.of_groups();
        let Shape { batch, channels, .. } = input.shape;
        let affine = self.store.block(name, affine_bytes(input.shape))?;
        let params = Affine {
            stats: stats.pointer(),
            gamma: weights.vector(gamma),
            beta: weights.vector(beta),
            affine: affine.pointer(),
            samples: batch as u32,
            channels: channels as u32,
            eights: input.eights(),
            groups: stats.shape.height as u32,
            eps,
        };
        self.store.over(Kernel::Affine, &params, (batch * input.padded()) as u64)?;
        Ok(affine)
    }
}
