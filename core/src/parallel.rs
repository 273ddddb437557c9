//! How many ranks there are, and how many of them may decode.

use crate::{Notice, PlanError};

/// The parallel sizes of the diffusion transformer, whose ranks are the ones that decode.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DitParallel {
    /// Data parallel replicas.
    pub data: u32,
    /// Classifier-free guidance branches.
    pub cfg: u32,
    /// Ulysses sequence parallel degree.
    pub ulysses: u32,
    /// Ring attention degree.
    pub ring: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Tensor parallel degree.
    pub tensor: u32,
}

impl Default for DitParallel {
    fn default() -> Self {
        Self { data: 1, cfg: 1, ulysses: 1, ring: 1, pipeline: 1, tensor: 1 }
    }
}

impl DitParallel {
    /// `dit_parallel_size`: data x cfg x (ulysses x ring) x pipeline x tensor (vLLM-Omni).
    ///
    /// # Errors
    /// [`PlanError::Zero`] for a factor of 0, [`PlanError::GroupSizeOverflow`] naming the factor
    /// with which the product leaves `u32`.
    pub fn size(&self) -> Result<u32, PlanError> {
        let factors = [
            ("data_parallel_size", self.data),
            ("cfg_parallel_size", self.cfg),
            ("ulysses_degree", self.ulysses),
            ("ring_degree", self.ring),
            ("pipeline_parallel_size", self.pipeline),
            ("tensor_parallel_size", self.tensor),
        ];
        if let Some(&(name, _)) = factors.iter().find(|(_, value)| *value == 0) {
            return Err(PlanError::Zero { name });
        }
        factors.iter().try_fold(1u32, |product, &(name, value)| {
            product.checked_mul(value).ok_or(PlanError::GroupSizeOverflow { name, value, product })
        })
    }
}

/// `vae_patch_parallel_size` clamped to the group, with a notice if it was lowered.
///
/// # Errors
/// [`PlanError::Zero`] if either is 0.
pub fn vae_parallel_size(requested: u32, group: u32) -> Result<(u32, Option<Notice>), PlanError> {
    if requested == 0 {
        return Err(PlanError::Zero { name: "vae_patch_parallel_size" });
    }
    if group == 0 {
        return Err(PlanError::Zero { name: "dit_parallel_size" });
    }
    let notice = (requested > group).then_some(Notice::SizeClamped { requested, group });
    Ok((requested.min(group), notice))
}
