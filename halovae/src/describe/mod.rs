//! What a checkpoint is, what a decode with it costs, and how it tiles: as data, without decoding.

mod checkpoint;
mod costs;
mod decoder;
mod models;
mod tiles;
mod video;

pub use checkpoint::{CheckpointFacts, ConfigOrigin};
pub use costs::ImageCosts;
pub use decoder::{OpFacts, ReceptiveFieldFacts};
pub use models::{LatentFacts, LatentPacking, Model, RefusedModel, models, refused_models};
pub use tiles::{AxisFacts, TileFacts, TileStep};
pub use video::{VideoFacts, VideoMemory, WaitsForAll};

use halovae_core::{Plan, Size};
use halovae_cpu::CpuModel;
use serde::Serialize;

use crate::error::Error;
use crate::options::{OptionError, TileOptions};
use crate::plan::{MOST_FRAMES, Planner, cells_of_pixels, latent_frames, threads};
use crate::vae::{Vae, for_frames};

/// Of what size a VAE's figures are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribeOptions {
    /// Height in pixels; without it, that of one of the VAE's tiles.
    pub height: Option<u32>,
    /// Width in pixels; without it, that of one of the VAE's tiles.
    pub width: Option<u32>,
    /// Frames of a video; without them, of several numbers of frames.
    pub frames: Option<u32>,
}

/// All that is known of a VAE without decoding.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// Files, names and config.
    pub checkpoint: CheckpointFacts,
    /// Its ops.
    pub decoder: OpFacts,
    /// A decode of one image.
    pub image: ImageCosts,
    /// Decodes of videos, if it has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoFacts>,
    /// Tiles, if no others are asked for.
    pub tiles: TileFacts,
}

impl Vae {
    /// Describes the VAE: its files, its ops, and what decodes of a size would take on this machine's CPU.
    ///
    /// # Errors
    /// [`Error::Option`] for a size that it does not decode to, and the planner's.
    pub fn describe(&self, options: &DescribeOptions) -> Result<Description, Error> {
        let DescribeOptions { height, width, frames } = *options;
        let (config, program) = (self.config(), self.program());
        let tiling = config.tiling();
        let own = tiles::cells(&tiling);
        let cells = |option, pixels: Option<u32>, own| {
            pixels.map_or(Ok(own), |pixels| cells_of_pixels(option, pixels, program.scale()))
        };
        let latents = Size::new(cells("height", height, own[0])?, cells("width", width, own[1])?);
        // Refuses what no decode could write.
        Plan::whole(latents, program.scale())?;
        let frames = frames.map(|frames| match config.is_video() {
            true => latent_frames("frames", frames, tiling.scale.time),
            false => Err(OptionError::ImagesOnly { option: "frames" }.into()),
        });
        let frames = frames.transpose()?;
        if let Some(frames) = frames.filter(|&frames| frames > MOST_FRAMES) {
            let of_video = |latents| tiling.scale.time.at(latents).unwrap_or(latents);
            let [frames, max] = [frames, MOST_FRAMES].map(of_video);
            return Err(OptionError::Frames { option: "frames", frames, max }.into());
        }

        let cpu = CpuModel::new(threads(None) as usize);
        let video = config.is_video().then(|| {
            let planner = Planner::new(self, TileOptions::default())?;
            VideoFacts::new(program, &planner, latents, frames)
        });
        Ok(Description {
            checkpoint: CheckpointFacts::new(self.checkpoint(), program),
            decoder: OpFacts::new(program),
            image: ImageCosts::new(&for_frames(program.clone(), 1), latents, &cpu),
            video: video.transpose()?,
            tiles: TileFacts::new(&tiling),
        })
    }
}
