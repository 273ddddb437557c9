//! Whose VAEs are decoded.

use halovae_core::Strategy;
use halovae_engine::checkpoint::{Released, refused, released};
use halovae_engine::decode::CHUNK;
use halovae_engine::flow::Flow;
use halovae_engine::latents::TokenContent;
use halovae_engine::program::{Op, ReceptiveField};
use halovae_engine::shard::exchanged_layers;
use serde::Serialize;

use crate::plan::{Streaming, chunks_waited_for};

/// Frames of latents for which it is told whether a decoder streams, beside those that it looks ahead to.
const LATENT_FRAMES: u32 = 21;

/// Models whose VAEs have one shape.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Model {
    /// The class of the VAE in diffusers.
    pub class: &'static str,
    /// Their names.
    pub models: &'static str,
    /// What their latents are.
    pub latents: LatentFacts,
    /// Channels of what is decoded: 3, or 4 with transparency.
    pub out_channels: u32,
    /// Whether frames of a video are finished while later latents wait.
    pub streams: bool,
    /// Backends that have all of its ops.
    pub backends: &'static [&'static str],
    /// How it can be cut.
    pub strategies: Vec<String>,
}

/// Latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LatentFacts {
    /// Their channels.
    pub channels: u32,
    /// Pixels per cell, along height and width.
    pub pixels_per_cell: u32,
    /// Frames for each frame of latents but the first, of a decoder of videos.
    pub frames_per_latent_frame: Option<u32>,
    /// How pipelines pack them into tokens, where they do.
    pub packing: Option<LatentPacking>,
}

/// How pipelines pack latents into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LatentPacking {
    /// Rows of cells in a token.
    pub rows: usize,
    /// Columns of cells in a token.
    pub columns: usize,
    /// Values of a token.
    pub values: usize,
    /// Whether what is packed is a picture and its layers.
    pub layers: bool,
    /// Whether what is packed is all frames of a video.
    pub frames: bool,
}

/// A class of diffusers that is known and not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedModel {
    /// The class.
    pub class: &'static str,
    /// What it is, with an article, and the models that have it.
    pub models: &'static str,
}

/// Whose VAEs are decoded: models of one shape each.
///
/// ```
/// let flux = halovae::models().into_iter().find(|model| model.models.contains("FLUX.1")).unwrap();
/// assert_eq!((flux.class, flux.latents.channels, flux.streams), ("AutoencoderKL", 16, false));
/// ```
pub fn models() -> Vec<Model> {
    released().iter().filter_map(Model::of).collect()
}

/// Classes that are known and not decoded.
pub fn refused_models() -> Vec<RefusedModel> {
    refused().map(|of| RefusedModel { class: of.class, models: of.models }).collect()
}

impl Model {
    /// `None` for a config that has no decoder, which no released one is.
    fn of(Released { models, config, .. }: &Released) -> Option<Self> {
        let program = config.decoder().ok()?;
        let channels = program.latent_channels();
        let scale = config.tiling().scale;
        let packing = config.packing().map(|packing| LatentPacking {
            rows: packing.patch_height,
            columns: packing.patch_width,
            values: packing.token_len(channels as usize),
            layers: packing.content == TokenContent::Layers,
            frames: packing.content == TokenContent::Video,
        });
        let mut strategies = vec![Strategy::Whole, Strategy::Tiled, Strategy::Patch];
        if exchanged_layers(&program).is_ok() {
            strategies.push(Strategy::Sharded);
        }
        let is_video = config.is_video();
        let [_, ahead] = ReceptiveField::new(&program).frames;
        let frames = LATENT_FRAMES.saturating_add(ahead);
        let streaming = Streaming::from(&Flow::new(&program, frames, CHUNK));
        Some(Self {
            class: config.class(),
            models,
            latents: LatentFacts {
                channels,
                pixels_per_cell: scale.space,
                frames_per_latent_frame: is_video.then_some(scale.time.factor),
                packing,
            },
            out_channels: program.out_channels(),
            streams: is_video && chunks_waited_for(&streaming) < streaming.chunks.len(),
            // Those of GPUs have no ops over time yet.
            backends: match program.ops().iter().all(Op::is_of_images) {
                true => &["cpu", "cuda", "wgpu"],
                false => &["cpu"],
            },
            strategies: strategies.iter().map(ToString::to_string).collect(),
        })
    }
}
