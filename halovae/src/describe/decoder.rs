//! The ops of a decoder, and how far they look.

use std::collections::BTreeMap;

use halovae_engine::program::{Program, ReceptiveField};
use serde::Serialize;

/// The ops of a decoder.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OpFacts {
    /// All of them.
    pub ops: usize,
    /// How many of each kind.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Pixels for each latent cell, along height and width.
    pub pixels_per_cell: u32,
    /// How far a pixel looks into the latents.
    pub receptive_field: ReceptiveFieldFacts,
}

/// How far a pixel looks into the latents, through ops that read what is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReceptiveFieldFacts {
    /// Latent cells to each side.
    pub cells: u32,
    /// The same in pixels.
    pub pixels: u64,
    /// Frames of the latents before its own.
    pub frames_before: u32,
    /// Frames of the latents after its own.
    pub frames_behind: u32,
    /// Whether that is all: no op reads everything, as norms and attention do, so that a halo of these
    /// cells is exact.
    pub is_exact: bool,
}

impl OpFacts {
    pub(super) fn new(program: &Program) -> Self {
        let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
        for op in program.ops() {
            *kinds.entry(op.kind()).or_default() += 1;
        }
        let ReceptiveField { radius, frames: [before, behind], has_global_ops } =
            ReceptiveField::new(program);
        let receptive_field = ReceptiveFieldFacts {
            cells: radius,
            pixels: u64::from(radius) * u64::from(program.scale()),
            frames_before: before,
            frames_behind: behind,
            is_exact: !has_global_ops,
        };
        Self { ops: program.ops().len(), kinds, pixels_per_cell: program.scale(), receptive_field }
    }
}
