//! What is planned for: a decoder, or no more than its scale and its tiles.

use std::path::PathBuf;

use halovae_core::{LayerHalo, Size, Tiling};
use halovae_cpu::CpuModel;
use halovae_engine::flow::Flow;
use halovae_engine::program::{MemoryModel, Program, fuse};
use halovae_engine::shard::{UncutError, exchanged_layers};

use crate::args::PlanArgs;
use crate::backend;
use crate::error::Error;
use crate::notices::Notice;
use crate::plan::estimates::{Estimates, Model};
use crate::plan::options::{CutRequest, Planned, plan};
use crate::plan::tiles::TileOptions;
use crate::vae::{Plannable, for_frames, open_config};

/// What is the same for every plan of a decoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    /// Channels of the latents.
    pub(crate) latent_channels: u32,
    /// Bytes of weights, which ranks on one device share.
    pub(crate) weight_bytes: u64,
}

/// What any number of plans can be made for.
pub(crate) struct Subject {
    options: TileOptions,
    tiling: Tiling,
    known: Option<Known>,
    sources: Vec<PathBuf>,
}

struct Known {
    is_video: bool,
    /// For latents of one frame, and of several.
    image: Runnable,
    video: Runnable,
    notices: Vec<Notice>,
}

/// A decoder as it runs.
struct Runnable {
    decoder: Decoder,
    /// Fused for the backend.
    program: Program,
    /// What shards exchange.
    layers: Result<Vec<LayerHalo>, UncutError>,
}

impl Runnable {
    fn new(program: &Program) -> Self {
        let layers = exchanged_layers(program);
        let cpu = CpuModel::new(1);
        let program = fuse(program, |_, op| cpu.supports(op));
        let decoder = Decoder {
            latent_channels: program.latent_channels(),
            weight_bytes: cpu.prepared_weight_bytes(&program),
        };
        Self { decoder, program, layers }
    }
}

impl Known {
    fn runnable(&self, frames: u32) -> &Runnable {
        if frames == 1 { &self.image } else { &self.video }
    }
}

impl Subject {
    /// Opens the VAE, if there is one.
    ///
    /// # Errors
    /// That the VAE cannot be opened, and tiles that cannot be.
    pub(crate) fn open(args: &PlanArgs) -> Result<Self, Error> {
        let options = TileOptions::from(args);
        let Some(vae) = &args.vae else {
            let tiling = options.tiling(None, args.scale.unwrap_or(0))?;
            return Ok(Self { options, tiling, known: None, sources: Vec::new() });
        };
        let Plannable { tiling, is_video, program, notices, sources } =
            open_config(vae, args.config.as_deref(), args.variant.as_deref())?;
        if !is_video {
            options.check_image()?;
        }
        let tiling = options.tiling(Some(&tiling), program.scale())?;
        let video = Runnable::new(&program);
        let image = Runnable::new(&for_frames(program, 1));
        let known = Some(Known { is_video, image, video, notices });
        Ok(Self { options, tiling, known, sources })
    }

    /// The files that were read for it.
    pub(crate) fn sources(&self) -> &[PathBuf] {
        &self.sources
    }

    /// Its tiles.
    pub(crate) fn tiling(&self) -> &Tiling {
        &self.tiling
    }

    /// Whether it may have several frames.
    pub(crate) fn is_video(&self) -> bool {
        self.known.as_ref().is_none_or(|known| known.is_video)
    }

    /// The decoder of latents of so many frames, if one is known.
    pub(crate) fn decoder(&self, frames: u32) -> Option<Decoder> {
        self.known.as_ref().map(|known| known.runnable(frames).decoder)
    }

    /// How latents go through the decoder, so many frames at a time, if one is known.
    pub(crate) fn flow(&self, latents: Size, chunk: u32) -> Option<Flow> {
        let known = self.known.as_ref()?;
        Some(Flow::new(&known.runnable(latents.frames).program, latents.frames, chunk))
    }

    /// What is to be told of the checkpoint.
    pub(crate) fn notices(&self) -> &[Notice] {
        self.known.as_ref().map_or(&[], |known| &known.notices)
    }

    /// Plans the decode of one image or video and counts what it takes.
    ///
    /// # Errors
    /// The planner's, and flags that do not go together.
    pub(crate) fn plan(
        &self,
        latents: Size,
        request: &CutRequest,
        group: u32,
    ) -> Result<(Planned, Estimates), Error> {
        let Self { options, tiling, known, .. } = self;
        let Some(known) = known else {
            let planned = plan(latents, 1, request, group, options, tiling, Ok(&[]))?;
            let estimates = Estimates::new(&planned, None)?;
            return Ok((planned, estimates));
        };
        let layers = known.runnable(latents.frames).layers.as_deref();
        let planned = plan(latents, 1, request, group, options, tiling, layers)?;
        // As a decode on this machine would share its threads: they need workspace.
        let threads = backend::share(backend::threads(None), planned.ranks, 0);
        let memory = &CpuModel::new(threads as usize);
        let program = &known.runnable(latents.frames).program;
        let estimates = Estimates::new(&planned, Some(&Model { program, memory }))?;
        Ok((planned, estimates))
    }
}
