//! What a decode of one image takes.

use halovae_core::Size;
use halovae_cpu::CpuModel;
use halovae_engine::decode::CHUNK;
use halovae_engine::program::{Analysis, Program, fuse};
use serde::Serialize;

/// A decode of one image in one piece, on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageCosts {
    /// Height and width of the result in pixels.
    pub pixels: [u32; 2],
    /// Multiplications and additions of convs and attention.
    pub flops: u128,
    /// Those of attention alone.
    pub attention_flops: u128,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Bytes of values and workspace at the worst moment.
    pub value_bytes: u64,
}

impl ImageCosts {
    /// Of a decoder of single frames.
    pub(super) fn new(program: &Program, latents: Size, cpu: &CpuModel) -> Self {
        let fused = fuse(program, |_, op| cpu.supports(op));
        let figures = Analysis::new(&fused, latents, CHUNK, cpu);
        Self {
            pixels: [latents.height, latents.width].map(|cells| cells * program.scale()),
            flops: figures.flops,
            attention_flops: figures.attention_flops,
            weight_bytes: figures.weight_bytes,
            value_bytes: figures.peak_live_bytes,
        }
    }

    /// Bytes of memory in all.
    pub fn bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.value_bytes)
    }
}
