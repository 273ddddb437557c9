//! Mean and deviation of the latents, which lie beside the weights.

use crate::checkpoint::family::Found;
use crate::latents::LatentSpace;

/// What diffusers and the original code call them.
pub(super) const NAMES: [[&str; 2]; 2] = [
    ["latents_mean", "latents_std"],
    ["per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means"],
];

/// Of latents, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct LtxStatistics {
    /// Their means.
    pub mean: Vec<f32>,
    /// Their standard deviations.
    pub std: Vec<f32>,
}

impl LtxStatistics {
    /// Those among the tensors of a VAE whose latents have so many channels, if they can be used.
    pub(super) fn find(found: &Found<'_>, channels: u32) -> Option<Self> {
        let [mean, std] = NAMES
            .into_iter()
            .find_map(|[mean, std]| Some([found.vector(mean)?, found.vector(std)?]))?;
        let is_usable = [mean.len(), std.len()] == [channels as usize; 2]
            && mean.iter().all(|mean| mean.is_finite())
            && std.iter().all(|&std| std.is_finite() && std > 0.0);
        is_usable.then_some(Self { mean, std })
    }

    /// Undoes the normalization by them.
    pub(super) fn space(&self, scaling_factor: f64) -> LatentSpace {
        LatentSpace {
            scaling_factor: scaling_factor as f32,
            mean_and_std: Some((self.mean.clone(), self.std.clone())),
            ..LatentSpace::VAE
        }
    }
}
