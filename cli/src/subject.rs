//! What is planned for: a decoder, or no more than its scale and its tiles.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use halovae_core::{LayerHalo, Size, Tiling};
use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::program::{MemoryModel, Program, fuse};
use halovae_engine::shard::{UncutError, exchanged_layers};

use crate::args::{PlanArgs, RankArgs};
use crate::backend;
use crate::commands::{Plannable, open_config};
use crate::error::Error;
use crate::estimates::{Estimates, Model};
use crate::notices::Notice;
use crate::plan_options::{self, Planned, TileOptions};

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
    decoder: Decoder,
    /// Fused for the backend.
    program: Program,
    /// What shards exchange.
    layers: Result<Vec<LayerHalo>, UncutError>,
    notices: Vec<Notice>,
    /// By their number of threads, which need workspace.
    backends: HashMap<u32, CpuBackend>,
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
        let Plannable { tiling, program, notices, sources } =
            open_config(vae, args.config.as_deref(), args.variant.as_deref())?;
        let tiling = options.tiling(Some(&tiling), program.scale())?;
        let layers = exchanged_layers(&program);
        let cpu = backend::cpu(1)?;
        let program = fuse(&program, |program, op| cpu.supports(program, op));
        let decoder = Decoder {
            latent_channels: program.latent_channels(),
            weight_bytes: cpu.prepared_weight_bytes(&program),
        };
        let backends = HashMap::from([(1, cpu)]);
        let known = Some(Known { decoder, program, layers, notices, backends });
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

    /// The decoder, if one is known.
    pub(crate) fn decoder(&self) -> Option<Decoder> {
        self.known.as_ref().map(|known| known.decoder)
    }

    /// What is to be told of the checkpoint.
    pub(crate) fn notices(&self) -> &[Notice] {
        self.known.as_ref().map_or(&[], |known| &known.notices)
    }

    /// Plans the decode of one image and counts what it takes.
    ///
    /// # Errors
    /// The planner's, and flags that do not go together.
    pub(crate) fn plan(
        &mut self,
        latents: Size,
        ranks: &RankArgs,
        group: u32,
    ) -> Result<(Planned, Estimates), Error> {
        let Self { options, tiling, known, .. } = self;
        let layers = known.as_ref().map_or(Ok(&[][..]), |known| known.layers.as_deref());
        let planned = plan_options::plan(latents, 1, ranks, group, options, tiling, layers)?;
        let Some(Known { program, backends, .. }) = known else {
            let estimates = Estimates::new(&planned, None)?;
            return Ok((planned, estimates));
        };
        // As a decode on this machine would share its threads: they need workspace.
        let threads = backend::share(backend::threads(None), planned.ranks, 0);
        let memory = match backends.entry(threads) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(backend::cpu(threads)?),
        };
        let estimates = Estimates::new(&planned, Some(&Model { program, memory }))?;
        Ok((planned, estimates))
    }
}
