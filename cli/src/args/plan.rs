//! Flags of `halovae plan`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint, value_parser};

use super::{ByteSize, Destination, Pair, PlanFormat, RankArgs, TileArgs};

/// More ranks than a cluster has; bounds the time of a comparison.
const MAX_COMPARED_RANKS: i64 = 1 << 16;

/// What a comparison decides for itself.
const COMPARED: [&str; 11] = [
    "vae_patch_parallel_size",
    "vae_use_tiling",
    "strategy",
    "shard_grid",
    "max_memory",
    "data_parallel_size",
    "cfg_parallel_size",
    "ulysses_degree",
    "ring_degree",
    "pipeline_parallel_size",
    "tensor_parallel_size",
];

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
#[command(group = ArgGroup::new("model").required(true).multiple(false).args(["vae", "scale"]))]
pub(crate) struct PlanArgs {
    /// Plan for this VAE: a diffusers folder, a pipeline's folder, a model's folder in the Hugging
    /// Face hub's cache, or a .safetensors file. A folder with a config.json and no weights will do
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) vae: Option<PathBuf>,
    /// Which weights of the VAE's folder: `fp16` for diffusion_pytorch_model.fp16.safetensors
    /// [default: the plain ones, else fp32, fp16 or bf16, else the only ones]
    #[arg(long, value_name = "NAME", requires = "vae")]
    pub(crate) variant: Option<String>,
    /// Take the VAE's config from this config.json
    #[arg(long, value_name = "FILE", requires = "vae")]
    pub(crate) config: Option<PathBuf>,
    /// Plan without a VAE: pixels per latent cell
    #[arg(long, value_name = "N", requires = "tile_sample_min_size")]
    pub(crate) scale: Option<u32>,
    /// Height of the image in pixels, a multiple of the scale
    #[arg(long, value_name = "PX", required_unless_present_any = ["latent_height", "compare"])]
    pub(crate) height: Option<u32>,
    /// Width of the image in pixels, a multiple of the scale
    #[arg(long, value_name = "PX", required_unless_present_any = ["latent_width", "compare"])]
    pub(crate) width: Option<u32>,
    /// Height in latent cells
    #[arg(long, value_name = "CELLS", conflicts_with = "height")]
    pub(crate) latent_height: Option<u32>,
    /// Width in latent cells
    #[arg(long, value_name = "CELLS", conflicts_with = "width")]
    pub(crate) latent_width: Option<u32>,
    /// Frames of the video; of those that a VAE of videos can decode to [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) frames: Option<u32>,
    /// Frames of the latents
    #[arg(long, value_name = "N", conflicts_with = "frames", value_parser = value_parser!(u32).range(1..))]
    pub(crate) latent_frames: Option<u32>,
    #[command(flatten)]
    pub(crate) ranks: RankArgs,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    /// Tile size in latent cells: one number, or height x width
    /// [default: tile-sample-min-size / scale]
    #[arg(long, value_name = "CELLS[xCELLS]", conflicts_with = "tile_sample_stride")]
    pub(crate) tile_latent_min_size: Option<Pair<u32>>,
    /// Plan a sharded decode in this memory (such as 4GiB): the shards that `halovae decode` chooses for
    /// it in one process on the CPU
    #[arg(long, value_name = "BYTES", requires = "vae")]
    pub(crate) max_memory: Option<ByteSize>,
    /// Plan every strategy over image sizes and numbers of ranks, and compare what each takes: work,
    /// memory, and bytes between ranks
    #[arg(long, conflicts_with_all = COMPARED)]
    pub(crate) compare: bool,
    /// Sizes to compare in pixels, each one number or height x width; --height and --width set one
    #[arg(
        long,
        value_name = "PX[xPX],...",
        value_delimiter = ',',
        default_value = "1024,2048,4096,8192",
        requires = "compare",
        conflicts_with_all = ["height", "width", "latent_height", "latent_width"]
    )]
    pub(crate) compare_sizes: Vec<Pair<u32>>,
    /// Numbers of ranks to compare
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64",
        requires = "compare",
        value_parser = value_parser!(u32).range(1..=MAX_COMPARED_RANKS)
    )]
    pub(crate) compare_ranks: Vec<u32>,
    /// How to show the plan [default: as the output is called, .svg or .json, else table]
    #[arg(long, value_enum)]
    pub(crate) format: Option<PlanFormat>,
    /// Write to this file instead of stdout, which `-` is too
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<Destination>,
    // Last: what follows would come under its heading.
    #[command(flatten)]
    pub(crate) group: GroupArgs,
}

/// The ranks that a diffusion transformer runs on, which are those that decode. Their product
/// bounds `--vae-patch-parallel-size`; without any of them that size stands for itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ranks of the diffusion transformer (their product bounds \
                               --vae-patch-parallel-size)")]
pub(crate) struct GroupArgs {
    /// Data parallel replicas
    #[arg(long, value_name = "N")]
    pub(crate) data_parallel_size: Option<u32>,
    /// Classifier-free guidance branches
    #[arg(long, value_name = "N")]
    pub(crate) cfg_parallel_size: Option<u32>,
    /// Ulysses sequence parallel degree
    #[arg(long, value_name = "N")]
    pub(crate) ulysses_degree: Option<u32>,
    /// Ring attention degree
    #[arg(long, value_name = "N")]
    pub(crate) ring_degree: Option<u32>,
    /// Pipeline stages
    #[arg(long, value_name = "N")]
    pub(crate) pipeline_parallel_size: Option<u32>,
    /// Tensor parallel degree
    #[arg(long, value_name = "N")]
    pub(crate) tensor_parallel_size: Option<u32>,
}
