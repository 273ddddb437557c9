//! Plans for a decoder, or for no more than its scale and its tiles.

use std::path::{Path, PathBuf};

use halovae_core::{LayerHalo, Plan, Size, Tiling};
use halovae_cpu::CpuModel;
use halovae_engine::decode::{choose_chunk, stitching_bytes};
use halovae_engine::program::{MemoryModel, Program, fuse, peak_bytes};
use halovae_engine::shard::{Budget, Fit, UncutError, exchanged_layers, fit};

use super::estimates::{Estimates, Runs, Within};
use super::fit::Allowed;
use super::planned::{Planned, plan};
use super::threads::{share, threads};
use crate::error::Error;
use crate::notice::Notice;
use crate::options::{CutOptions, OpenOptions, OptionError, TileOptions};
use crate::vae::{Plannable, Vae, for_frames, open_config};

/// Frames of latents that are planned: plans follow a decode chunk by chunk, which takes some seconds for
/// these.
pub(crate) const MOST_FRAMES: u32 = 1 << 14;

/// What is the same for every plan of a decoder.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DecoderFacts {
    /// Channels of the latents.
    pub latent_channels: u32,
    /// Bytes of weights, which ranks on one device share.
    pub weight_bytes: u64,
}

/// Makes any number of plans, for a VAE or for no more than its scale and its tiles, without decoding.
///
/// ```
/// use halovae::{CutOptions, OpenOptions, Planner, Size, Strategy, TileOptions};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
///
/// // A folder with nothing but a config.json will do.
/// let planner = Planner::open("examples/flux-vae-config", &OpenOptions::default(), TileOptions::default())?;
/// let cut = CutOptions::of(Strategy::Sharded, 4);
/// let (planned, estimates) = planner.plan(Size::new(128, 128), &cut, 4)?;
/// assert_eq!((planned.ranks, planned.plan.piece_count()), (4, 4));
/// assert!(estimates.memory.is_some_and(|memory| memory.weights > 100 << 20));
/// # Ok::<(), halovae::Error>(())
/// ```
pub struct Planner {
    tiles: TileOptions,
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
    decoder: DecoderFacts,
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
        let decoder = DecoderFacts {
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

impl Planner {
    /// For a VAE; a folder with nothing but its config will do.
    ///
    /// # Errors
    /// That the VAE cannot be opened, and tiles that cannot be.
    pub fn open(
        vae: impl AsRef<Path>,
        options: &OpenOptions,
        tiles: TileOptions,
    ) -> Result<Self, Error> {
        Self::of(open_config(vae.as_ref(), options)?, tiles)
    }

    /// The same for a VAE that is open.
    ///
    /// # Errors
    /// Tiles that cannot be.
    pub fn new(vae: &Vae, tiles: TileOptions) -> Result<Self, Error> {
        Self::of(Plannable::of(vae), tiles)
    }

    fn of(plannable: Plannable, tiles: TileOptions) -> Result<Self, Error> {
        let Plannable { tiles: own, is_video, program, notices, sources } = plannable;
        if !is_video {
            tiles.check_image()?;
        }
        let tiling = tiles.tiling(Some(&own), program.scale())?;
        let video = Runnable::new(&program);
        let image = Runnable::new(&for_frames(program, 1));
        let known = Some(Known { is_video, image, video, notices });
        Ok(Self { tiles, tiling, known, sources })
    }

    /// For any VAE with so many pixels a latent cell, along height and width. Nothing is known of its
    /// memory then, and work is counted in cells.
    ///
    /// # Errors
    /// Tiles that cannot be.
    pub fn of_scale(scale: u32, tiles: TileOptions) -> Result<Self, Error> {
        let tiling = tiles.tiling(None, scale)?;
        Ok(Self { tiles, tiling, known: None, sources: Vec::new() })
    }

    /// The files that were read for it.
    pub fn sources(&self) -> &[PathBuf] {
        &self.sources
    }

    /// Its tiles.
    pub fn tiling(&self) -> &Tiling {
        &self.tiling
    }

    /// Whether it may have several frames.
    pub fn is_video(&self) -> bool {
        self.known.as_ref().is_none_or(|known| known.is_video)
    }

    /// The decoder of latents of so many frames, if one is known.
    pub fn decoder(&self, frames: u32) -> Option<DecoderFacts> {
        self.known.as_ref().map(|known| known.runnable(frames).decoder)
    }

    /// What is to be told of the checkpoint.
    pub fn notices(&self) -> &[Notice] {
        self.known.as_ref().map_or(&[], |known| &known.notices)
    }

    /// Bytes of values, workspace and finished frames of a whole decode that takes all frames of the
    /// latents at once, if a decoder is known.
    ///
    /// # Errors
    /// The planner's.
    pub fn bytes_at_once(&self, latents: Size) -> Result<Option<u64>, Error> {
        let Some(known) = &self.known else { return Ok(None) };
        let program = &known.runnable(latents.frames).program;
        let memory = CpuModel::new(threads(None) as usize);
        let values = peak_bytes(program, latents, latents.frames, &memory);
        let plan = Plan::whole(latents, program.out_scale())?;
        Ok(Some(values.saturating_add(stitching_bytes(&plan, program, 1, latents.frames))))
    }

    /// Plans the decode of one image or video with so many ranks at hand, and counts what it takes.
    /// The tiles of `cut` are those that the planner was made with.
    ///
    /// # Errors
    /// The planner's, and options that do not go together.
    pub fn plan(
        &self,
        latents: Size,
        cut: &CutOptions,
        group: u32,
    ) -> Result<(Planned, Estimates), Error> {
        self.plan_in(latents, cut, group, None)
    }

    /// The same for a sharded decode in one process that may take no more than so many bytes: with the
    /// shards and the frames at a time that a decode on the CPU of this machine chooses for them.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), that the plan is not sharded or no decoder is known, and that nothing
    /// fits.
    pub fn plan_within(
        &self,
        latents: Size,
        cut: &CutOptions,
        group: u32,
        max_memory: u64,
    ) -> Result<(Planned, Estimates), Error> {
        self.plan_in(latents, cut, group, Some(max_memory))
    }

    fn plan_in(
        &self,
        latents: Size,
        cut: &CutOptions,
        group: u32,
        max_memory: Option<u64>,
    ) -> Result<(Planned, Estimates), Error> {
        let cut = &CutOptions { tiles: self.tiles, ..cut.clone() };
        if latents.frames > MOST_FRAMES {
            let (option, frames) = ("latent_frames", latents.frames);
            return Err(OptionError::Frames { option, frames, max: MOST_FRAMES }.into());
        }
        let Some(known) = &self.known else {
            if max_memory.is_some() {
                return Err(OptionError::needs("max_memory", ["vae", "DIR"]).into());
            }
            let mut planned = plan(latents, 1, cut, group, &self.tiling, Ok(&[]))?;
            if !self.tiles.is_more_than_a_size() {
                // Without a VAE there is no plan without a size of tiles.
                planned.notices.retain(|notice| !matches!(notice, Notice::NotTiled { .. }));
            }
            let estimates = Estimates::of_cells(&planned)?;
            return Ok((planned, estimates));
        };
        let runnable = known.runnable(latents.frames);
        let mut planned = plan(latents, 1, cut, group, &self.tiling, runnable.layers.as_deref())?;
        if max_memory.is_some() && !matches!(planned.plan, Plan::Sharded(_)) {
            return Err(OptionError::needs("max_memory", ["strategy", "sharded"]).into());
        }
        // As a decode on this machine would share its threads: they need workspace.
        let threads = share(threads(None), planned.ranks, 0);
        let memory = &CpuModel::new(threads as usize);
        let program = &runnable.program;
        // As a process decodes that has all of the ranks.
        let of_all =
            |bytes, chunk| Budget { ranks: planned.ranks, together: planned.ranks, bytes, chunk };
        let allowed = Allowed {
            max_memory,
            is_grid_given: cut.shard_grid.is_some(),
            choose_chunk: &|plan| choose_chunk(plan, program, memory),
            fit_shards: &|latents, bytes, given, chunk| {
                fit(program, memory, latents, of_all(bytes, chunk), given)
            },
        };
        let chosen = allowed.choose(&planned.plan)?;
        if let Some(fit) = chosen.fit {
            planned.plan = Plan::sharded(fit.grid);
        }
        let mut estimates =
            Estimates::new(&planned, Some(&Runs { program, memory }), Some(&chosen))?;
        if let (Some(memory), Some(fit), Some(max_memory)) =
            (&mut estimates.memory, chosen.fit, max_memory)
        {
            let Fit { needed, limit: waiting, .. } = fit;
            memory.within = Some(Within { max_memory, needed, waiting });
        }
        Ok((planned, estimates))
    }
}
