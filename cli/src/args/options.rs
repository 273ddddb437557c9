//! From flags to the library's options.

use halovae::Axes;
use halovae::{
    BackendChoice, Cudnn, CutOptions, DecodeOptions, DeviceOptions, Dtype, Exchange,
    LatentsOptions, OpenOptions, Space, Strategy, TileOptions,
};

use super::{
    BackendArg, ByteSize, CudnnArg, DecodeArgs, DeviceArgs, DtypeArg, ExchangeArg, LatentSpaceArg,
    Pair, PlanArgs, RankArgs, ShardGridArg, StrategyArg, TileArgs, VaeArgs,
};

impl VaeArgs {
    /// How the checkpoint is opened.
    pub(crate) fn options(&self) -> OpenOptions {
        open_options(self.config.as_ref(), self.variant.as_ref())
    }
}

impl PlanArgs {
    /// How the checkpoint is opened.
    pub(crate) fn open_options(&self) -> OpenOptions {
        open_options(self.config.as_ref(), self.variant.as_ref())
    }

    /// Tiles that are not the model's own.
    pub(crate) fn tile_options(&self) -> TileOptions {
        let mut options = self.tiles.options();
        options.tile_latent_min_size = self.tile_latent_min_size.map(sides);
        options
    }
}

fn open_options(config: Option<&std::path::PathBuf>, variant: Option<&String>) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.config = config.cloned();
    options.variant = variant.cloned();
    options
}

fn sides<T>(Pair { height, width }: Pair<T>) -> [T; 2] {
    [height, width]
}

impl TileArgs {
    fn options(&self) -> TileOptions {
        let mut options = TileOptions::default();
        options.tile_sample_min_size = self.tile_sample_min_size.map(sides);
        options.tile_overlap_factor = self.tile_overlap_factor.map(sides);
        options.tile_sample_stride = self.tile_sample_stride.map(sides);
        options.tile_sample_min_frames = self.tile_sample_min_frames;
        options.tile_sample_stride_frames = self.tile_sample_stride_frames;
        options
    }
}

impl RankArgs {
    /// How latents are cut, in the model's own tiles.
    pub(crate) fn cut(&self) -> CutOptions {
        let mut cut = CutOptions::default();
        cut.vae_patch_parallel_size = self.vae_patch_parallel_size;
        cut.vae_use_tiling = self.vae_use_tiling;
        cut.strategy = match self.strategy {
            StrategyArg::Auto => None,
            StrategyArg::Whole => Some(Strategy::Whole),
            StrategyArg::Tiled => Some(Strategy::Tiled),
            StrategyArg::Patch => Some(Strategy::Patch),
            StrategyArg::Sharded => Some(Strategy::Sharded),
        };
        cut.shard_grid = match self.shard_grid {
            ShardGridArg::Auto => None,
            ShardGridArg::Given { slices, rows, cols } => Some(Axes::new(slices, rows, cols)),
        };
        cut
    }
}

impl DeviceArgs {
    fn options(&self) -> DeviceOptions {
        let mut options = DeviceOptions::default();
        options.backend = match self.backend {
            BackendArg::Auto => BackendChoice::Auto,
            BackendArg::Cpu => BackendChoice::Cpu,
            BackendArg::Wgpu => BackendChoice::Wgpu,
            BackendArg::Cuda => BackendChoice::Cuda,
        };
        options.device.clone_from(&self.device);
        options.dtype = match self.dtype {
            DtypeArg::F32 => Dtype::F32,
            DtypeArg::F16 => Dtype::F16,
            DtypeArg::Bf16 => Dtype::Bf16,
        };
        options.cudnn = match self.cudnn {
            CudnnArg::Auto => Cudnn::Auto,
            CudnnArg::On => Cudnn::On,
            CudnnArg::Off => Cudnn::Off,
        };
        options.exchange = match self.exchange {
            ExchangeArg::Auto => Exchange::Auto,
            ExchangeArg::Host => Exchange::Host,
            ExchangeArg::Nccl => Exchange::Nccl,
        };
        options
    }
}

impl DecodeArgs {
    /// How latents are decoded, on so many threads; ops are timed if `trace`.
    pub(crate) fn options(&self, threads: Option<u32>, trace: bool) -> DecodeOptions {
        let mut options = DecodeOptions::default();
        options.cut = self.ranks.cut();
        options.cut.tiles = self.tiles.options();
        options.devices = self.device.options();
        options.devices.threads = threads;
        options.max_memory = self.max_memory.map(|ByteSize(bytes)| bytes);
        options.scratch_dir.clone_from(&self.scratch_dir);
        options.trace = trace;
        options
    }

    /// How the file of latents is read.
    pub(crate) fn latents_options(&self) -> LatentsOptions {
        let mut options = LatentsOptions::default();
        options.latents_key.clone_from(&self.latents_key);
        options.latent_space = match self.space.latent_space {
            LatentSpaceArg::Vae => Space::Vae,
            LatentSpaceArg::Pipeline => Space::Pipeline,
        };
        options.sides =
            self.space.height.zip(self.space.width).map(|(height, width)| [height, width]);
        options
    }
}
