//! What decodes need to know of a VAE once its weights are on the devices.

use std::num::NonZeroU32;

use halovae_core::{LayerHalo, Strategy};
use halovae_engine::checkpoint::VaeConfig;
use halovae_engine::program::Program;
use halovae_engine::shard::{UncutError, exchanged_layers};
use halovae_engine::tensor::Shape;

use crate::error::Error;
use crate::options::{CutOptions, DecodeOptions, ModelTiles, OptionError};
use crate::plan::{Planned, STRATEGIES, plan};

/// What decodes need to know of a VAE once its weights are on the devices.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The tiles of its own.
    tiles: ModelTiles,
    pub(crate) is_video: bool,
    pub(crate) out_channels: usize,
    pub(crate) frames_per_second: Option<NonZeroU32>,
    scale: u32,
    /// What shards exchange.
    layers: Result<Vec<LayerHalo>, UncutError>,
    ranges: [(Strategy, Option<[f32; 2]>); STRATEGIES.len()],
}

impl Recipe {
    pub(crate) fn new(config: &dyn VaeConfig, program: &Program) -> Self {
        Self {
            tiles: ModelTiles::of(config),
            is_video: config.is_video(),
            out_channels: program.out_channels() as usize,
            frames_per_second: config.frames_per_second(),
            scale: program.scale(),
            layers: exchanged_layers(program),
            ranges: STRATEGIES.map(|strategy| (strategy, config.output_range(strategy))),
        }
    }

    /// Below and above what values are cut off.
    pub(crate) fn range(&self, strategy: Strategy) -> Option<[f32; 2]> {
        self.ranges.iter().find(|(known, _)| *known == strategy).and_then(|&(_, range)| range)
    }

    /// The shape of what latents decode to.
    pub(crate) fn result(&self, planned: &Planned, images: usize) -> Shape {
        let sample = Shape::sample(planned.plan.output(), self.out_channels);
        Shape { batch: images, ..sample }
    }

    /// The plan; `group` is how many processes work together.
    pub(crate) fn plan(
        &self,
        latents: Shape,
        options: &DecodeOptions,
        group: Option<u32>,
    ) -> Result<Planned, Error> {
        if latents.batch == 0 {
            let expected = "at least 1".into();
            return Err(OptionError::Zero { option: "batch", expected }.into());
        }
        let cut = &options.cut;
        if !self.is_video {
            cut.tiles.check_image()?;
            if latents.frames > 1 {
                return Err(OptionError::FramesForImages { frames: latents.frames }.into());
            }
        }
        let tiling = cut.tiles.tiling(Some(&self.tiles), self.scale)?;
        let requested = cut.vae_patch_parallel_size.unwrap_or(group.unwrap_or(1));
        // The reader of latents refuses extents beyond u32, that of the batch included.
        let images = u32::try_from(latents.batch).unwrap_or(u32::MAX);
        let group = group.unwrap_or(requested);
        let cut = CutOptions { vae_patch_parallel_size: Some(requested), ..cut.clone() };
        let layers = self.layers.as_deref();
        let planned = plan(latents.size(), images, &cut, group, &tiling, layers)?;
        options.check_planned(&planned.plan)?;
        Ok(planned)
    }
}
