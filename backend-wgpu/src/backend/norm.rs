//! Group norms: their statistics, and the factors that apply them.

use halovae_engine::backend::BackendError;
use halovae_engine::program::Norm;
use halovae_engine::tensor::Shape;
use wgpu::Buffer;

use super::{WgpuBackend, WgpuWeights};
use crate::kernels::Shader;
use crate::layout::Layout;
use crate::record::Dispatch;
use crate::store::{Block, Value};
use crate::template::names;

/// Positions of a block whose moments one invocation computes.
const BLOCK: usize = 128;

/// Blocks of a sample.
fn slots(layout: &Layout, sample: usize) -> usize {
    let runs = layout.runs(sample, 0..layout.height);
    runs.map(|run| (run.rows.len() * layout.width).div_ceil(BLOCK)).sum()
}

/// Bytes of the moments of all blocks, and of their counts.
pub(super) fn stats_bytes(layout: &Layout) -> [u64; 2] {
    let most = (0..layout.rows.div_ceil(layout.height.max(1))).map(|b| slots(layout, b)).max();
    let slots = most.unwrap_or(0) as u64;
    [slots * layout.quads as u64 * 32, slots * 4]
}

/// Bytes of factors and summands.
pub(super) fn affine_bytes(batch: usize, channels: usize) -> u64 {
    (batch * 2 * channels.next_multiple_of(4) * 4) as u64
}

impl WgpuBackend {
    pub(super) fn stats(
        &self,
        name: &str,
        input: &Value,
        groups: usize,
    ) -> Result<Value, BackendError> {
        let (s, layout) = (input.shape, input.layout);
        let out = self.store.value(name, Shape::new(s.batch, groups, 1, 2))?;
        assert_eq!(out.chunks.len(), 1, "statistics are few");
        let [parts, counts] = stats_bytes(&layout);
        let parts = self.store.block(name, parts)?;
        let counts = self.store.block(name, counts)?;
        for sample in 0..s.batch {
            let mut slot = 0;
            for run in layout.runs(sample, 0..s.height) {
                let positions = run.rows.len() * s.width;
                let blocks = positions.div_ceil(BLOCK);
                let immediates = [
                    positions as u32,
                    BLOCK as u32,
                    layout.quads as u32,
                    (run.at * s.width * layout.quads) as u32,
                    slot as u32,
                ];
                let buffers: [&Buffer; 3] = [&input.chunks[run.chunk], &parts, &counts];
                let count = (blocks * layout.quads) as u64;
                self.over(Shader::StatsPart, names([]), &buffers, &immediates, count)?;
                slot += blocks;
            }
            let immediates = [slot, layout.quads, s.channels / groups, sample * groups];
            self.dispatch(&Dispatch {
                shader: Shader::StatsMerge,
                names: names([]),
                buffers: &[&parts, &counts, &out.chunks[0]],
                immediates: &immediates.map(|n| n as u32),
                groups: [groups as u32, 1, 1],
                work: (slot * s.channels) as u64 * 10,
            })?;
        }
        Ok(out)
    }

    /// Factors and summands of a norm on `input`, by sample and channel.
    pub(super) fn affine(
        &self,
        name: &str,
        norm: &Norm,
        weights: &WgpuWeights,
        input: &Value,
        stats: &Value,
    ) -> Result<Block, BackendError> {
        let (parameters, eps) = norm.of_groups();
        let Shape { batch, channels, .. } = input.shape;
        let affine = self.store.block(name, affine_bytes(batch, channels))?;
        let quads = input.layout.quads;
        let groups = stats.shape.height;
        let immediates =
            [batch as u32, channels as u32, quads as u32, groups as u32, eps.to_bits()];
        let [gamma, beta] = parameters.map(|id| weights.vector(id));
        let buffers: [&Buffer; 4] = [&stats.chunks[0], gamma, beta, &affine];
        let count = (batch * quads * 4) as u64;
        self.over(Shader::Affine, names([]), &buffers, &immediates, count)?;
        Ok(affine)
    }
}
