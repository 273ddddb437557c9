//! How latents are cut and decoded.

use std::path::PathBuf;

use halovae_core::{Axes, Plan, Strategy};

use super::devices::{BackendChoice, DeviceOptions, Exchange};
use super::error::OptionError;
use super::tiles::TileOptions;

/// How latents are cut.
///
/// Names and defaults are those of the guide to parallel VAE decodes in vLLM-Omni and diffusers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CutOptions {
    /// How many ranks decode; one if not given, in a group of processes all of them.
    pub vae_patch_parallel_size: Option<u32>,
    /// Whether latents that are larger than a tile are tiled on one rank, too.
    pub vae_use_tiling: bool,
    /// The strategy, unless the planner chooses it: whole or tiled on one rank, tiled or patch on
    /// several.
    pub strategy: Option<Strategy>,
    /// Slices of frames, rows and columns of shards, unless the planner chooses them.
    pub shard_grid: Option<Axes<u32>>,
    /// Tiles that are not the model's own.
    pub tiles: TileOptions,
}

impl CutOptions {
    /// A strategy over so many ranks.
    pub fn of(strategy: Strategy, ranks: u32) -> Self {
        Self {
            vae_patch_parallel_size: Some(ranks),
            vae_use_tiling: strategy == Strategy::Tiled,
            strategy: Some(strategy),
            ..Self::default()
        }
    }
}

/// How latents are decoded.
///
/// ```
/// use halovae::{DecodeOptions, Strategy};
///
/// let options = DecodeOptions::cpu().ranks(4).strategy(Strategy::Sharded).max_memory(2 << 30);
/// assert_eq!(options.cut.vae_patch_parallel_size, Some(4));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// How they are cut.
    pub cut: CutOptions,
    /// Which devices decode.
    pub devices: DeviceOptions,
    /// Bytes in which a sharded decode has to do: shards take turns, and what does not fit waits in a
    /// file, in `scratch_dir`.
    pub max_memory: Option<u64>,
    /// Bytes of this process that the sink of a decode holds at most, as `halovae_media`'s `OutputFile::bytes`
    /// tells them; where there are several processes, of that of rank 0. They are counted against `max_memory`,
    /// and in what is [noticed](crate::Notice::Memory) of too little memory.
    pub sink_bytes: u64,
    /// The folder of that file; the system's for temporary files if not given.
    pub scratch_dir: Option<PathBuf>,
    /// Whether the time of every op is taken.
    pub trace: bool,
}

impl DecodeOptions {
    /// A decode with a bound on its memory, or with links, is a sharded one.
    pub(crate) fn check_planned(&self, plan: &Plan) -> Result<(), OptionError> {
        if matches!(plan, Plan::Sharded(_)) {
            return Ok(());
        }
        let sharded = ["strategy", "sharded"];
        if self.max_memory.is_some() {
            return Err(OptionError::needs("max_memory", sharded));
        }
        match self.devices.exchange {
            Exchange::Nccl => Err(OptionError::value_needs(["exchange", "nccl"], sharded, "")),
            Exchange::Auto | Exchange::Host => Ok(()),
        }
    }

    /// On the CPU.
    pub fn cpu() -> Self {
        Self { devices: DeviceOptions::cpu(), ..Self::default() }
    }

    /// On so many ranks. Each has a device of its own where there are several.
    #[must_use]
    pub fn ranks(mut self, ranks: u32) -> Self {
        self.cut.vae_patch_parallel_size = Some(ranks);
        self
    }

    /// By this strategy.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.cut.strategy = Some(strategy);
        self
    }

    /// In tiles, if the latents are larger than one.
    #[must_use]
    pub fn tiled(mut self) -> Self {
        self.cut.vae_use_tiling = true;
        self
    }

    /// On this kind of device.
    #[must_use]
    pub fn backend(mut self, backend: BackendChoice) -> Self {
        self.devices.backend = backend;
        self
    }

    /// In so many bytes, by the sharded strategy.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Into sinks that hold so many bytes.
    #[must_use]
    pub fn sink_bytes(mut self, bytes: u64) -> Self {
        self.sink_bytes = bytes;
        self
    }
}
