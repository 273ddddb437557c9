//! Every flag, once: help, completions and the man page are generated from here.

mod choices;
mod options;
mod plan;
mod space;
mod values;

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint, value_parser};
use clap_complete::Shell;
use halovae_media::FrameRate;

pub(crate) use choices::{
    BackendArg, BitDepthArg, CudnnArg, DtypeArg, ExchangeArg, LauncherArg, PlanFormat, StrategyArg,
};
pub(crate) use plan::{GroupArgs, PlanArgs};
pub(crate) use space::{LatentSpaceArg, SpaceArgs};
use values::frames_apart;
pub(crate) use values::{ByteSize, Destination, Pair, ShardGridArg};

/// What flags are about: headings in the help and on the man page.
const VAE: &str = "VAE";
const LATENTS: &str = "Latents";
const OUTPUT: &str = "Output";
const DEVICES: &str = "Devices";
const CUT: &str = "Ranks and strategy";
const TILES: &str = "Tiles";
const MEMORY: &str = "Memory";
const PROCESSES: &str = "Processes";

const EXIT_CODES: &str = "\
Exit codes:
  0    Done; also where a reader of standard output had enough
  1    It failed: an input is missing, damaged or of another model, the machine lacks a device or memory
  2    What was asked for cannot be: flags, values and outputs, which other flags may mend
  129  The terminal was closed
  130  Ctrl-C, here or at another process of a launch
  143  SIGTERM";

/// Decodes latents of diffusion models into images and videos, on one rank or several.
///
/// The latents are cut into tiles, patches or shards, each rank decodes its share, and the pieces are
/// put together into one image or video.
#[derive(Debug, Parser)]
#[command(name = "halovae", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much goes to stderr.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Verbosity {
    /// Tell what is decoded, how long each step took, and every ten seconds how far it is where there is no
    /// terminal for a progress bar
    #[arg(short, long, global = true, display_order = 900, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Print nothing but errors
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Decode a file of latents into images or videos
    Decode(Box<DecodeArgs>),
    /// Show which rank would decode which pieces, without decoding
    Plan(Box<PlanArgs>),
    /// Show what a checkpoint is, what it costs to decode with it, and how it tiles
    Inspect(InspectArgs),
    /// List the models whose VAEs are decoded, and what their latents are
    Models(ModelsArgs),
    /// List the devices of this machine that can decode
    Devices(DevicesArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page of halovae or of one of its commands (roff)
    Man {
        /// The command; without one, the page of halovae itself
        command: Option<String>,
    },
}

impl Command {
    /// Whether it was told how much memory it may take.
    pub(crate) fn limits_memory(&self) -> bool {
        matches!(self, Self::Decode(args) if args.max_memory.is_some())
    }
}

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct DecodeArgs {
    #[command(flatten, next_help_heading = VAE)]
    pub(crate) vae: VaeArgs,
    /// Latents: .safetensors, .npy or ComfyUI's .latent, [channels, height, width] or with a batch
    /// in front, of videos [batch, channels, frames, height, width], or packed by a pipeline
    #[arg(long, help_heading = LATENTS, value_name = "FILE")]
    pub(crate) latents: PathBuf,
    /// Which tensor of a .safetensors file holds the latents; needed if there are several
    #[arg(long, help_heading = LATENTS, value_name = "NAME")]
    pub(crate) latents_key: Option<String>,
    #[command(flatten, next_help_heading = LATENTS)]
    pub(crate) space: SpaceArgs,
    /// Where the images go: .png, .jpg, .webp, .tiff, or as raw f32 .npy, .safetensors; and videos:
    /// .mp4, .y4m, .gif, with --animated .png, by an installed ffmpeg .mkv, .webm, .mov, numbered frames such as FOLDER/%05d.png,
    /// .npy, .safetensors; `-` is a .y4m on stdout
    ///
    /// .png, .jpg, .webp and .tiff hold one image each: a batch becomes NAME-0.png, NAME-1.png, ...
    /// With a field for its number in the name (%d, or %05d for five digits), each frame of a video
    /// becomes a file, from 0 on; the folder has to be there. The fourth channel of a VAE that has four
    /// is the image's alpha (not in .jpg).
    /// A .mp4 is H.264, of 8 bits, BT.709 in limited range, chroma at half the resolution (4:2:0); frames
    /// are encoded while the next are decoded. A .y4m holds the same uncompressed, as encoders and players
    /// read it, of 8 or 16 bits. On stdout each frame comes as soon as it is decoded.
    /// A .gif has up to 256 colours in each frame, and begins each at the nearest 1/100 s to its time, up to
    /// 50 in a second.
    /// .npy and .safetensors (key `sample`) hold the values that diffusers gives, clamped only where its
    /// class clamps them, NCHW, or NCTHW of several frames.
    #[arg(short, long, help_heading = OUTPUT, value_name = "FILE")]
    pub(crate) output: Destination,
    /// Frames in a second of a video: a whole number or a fraction such as 30000/1001 [default: the
    /// model's own, else 24]
    #[arg(long, help_heading = OUTPUT, value_name = "N[/N]")]
    pub(crate) fps: Option<FrameRate>,
    /// Bits a channel of .png, .tiff and .y4m; of videos by ffmpeg the most that the encoder has. The
    /// other formats have no choice
    #[arg(long, help_heading = OUTPUT, value_enum, default_value_t = BitDepthArg::Eight)]
    pub(crate) bit_depth: BitDepthArg,
    /// Encode by an installed ffmpeg, with the encoder of that name (`ffmpeg -encoders` lists them), such
    /// as libx265: .mp4, .mkv, .webm, .mov [default: built-in H.264 in .mp4, libvpx-vp9 in .webm,
    /// libx264 in .mkv and .mov]
    #[arg(long, help_heading = OUTPUT, value_name = "NAME")]
    pub(crate) codec: Option<String>,
    /// Quality of an encoder, 0 is best. Of the built-in H.264 from 12 to 51, the quantiser of every
    /// frame; else as ffmpeg's encoder has it [default: 18, of libvpx-vp9 20, of others their own]
    #[arg(long, help_heading = OUTPUT, value_name = "N", value_parser = value_parser!(u8).range(..=63))]
    pub(crate) crf: Option<u8>,
    /// Of a video, write every Nth frame as a PNG as soon as it is decoded, beside the output: from
    /// VIDEO.mp4 VIDEO.preview-00000.png and so on, from frames/%05d.png frames/00000.preview.png. They
    /// stay, also if the decode fails
    #[arg(long, help_heading = OUTPUT, value_name = "N", value_parser = frames_apart)]
    pub(crate) preview: Option<NonZeroU32>,
    /// Put all frames of a video into one animated .png
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) animated: bool,
    /// Where a codec has frames of even sides only, repeat the last row or column of odd ones; without
    /// it they are refused, and nothing is ever rescaled
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) pad: bool,
    #[command(flatten, next_help_heading = DEVICES)]
    pub(crate) device: DeviceArgs,
    /// CPU threads over all ranks of this machine [default: all that there are]
    #[arg(long, help_heading = DEVICES, value_name = "N", value_parser = value_parser!(u32).range(1..=MAX_THREADS))]
    pub(crate) threads: Option<u32>,
    #[command(flatten, next_help_heading = CUT)]
    pub(crate) ranks: RankArgs,
    #[command(flatten, next_help_heading = TILES)]
    pub(crate) tiles: TileArgs,
    /// Decode in this memory (such as 4GiB), exactly: a sharded decode takes as many shards as are
    /// needed, and values that wait for their turn and do not fit go to a scratch file. Pages of the
    /// checkpoint's file, which the system drops when it needs them, are not counted
    #[arg(long, help_heading = MEMORY, value_name = "BYTES")]
    pub(crate) max_memory: Option<ByteSize>,
    /// The folder of the scratch file [default: the system's folder for temporary files]
    #[arg(long, help_heading = MEMORY, value_name = "DIR", requires = "max_memory")]
    pub(crate) scratch_dir: Option<PathBuf>,
    /// Write which rank decoded which pieces, and how long it took, as JSON; `-` is stdout
    #[arg(long, help_heading = OUTPUT, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<Destination>,
    /// Leave the times of ops out of the report: to measure them, a GPU queues op by op what it would
    /// otherwise repeat as a whole
    #[arg(long, help_heading = OUTPUT, requires = "report")]
    pub(crate) no_op_times: bool,
    /// With ranks that are processes: end the decode when one has been in one op for so many
    /// seconds, or its process has said nothing for as long (at most 15)
    #[arg(long, help_heading = PROCESSES, value_name = "SECONDS", default_value_t = 3600,
          value_parser = value_parser!(u64).range(1..=MAX_TIMEOUT))]
    pub(crate) rank_timeout: u64,
    /// Which launcher's variables make this process one of several; one that is named has to be
    /// there; `none` where those of another program were left in the environment
    #[arg(long, help_heading = PROCESSES, value_enum, default_value_t = LauncherArg::Auto)]
    pub(crate) launcher: LauncherArg,
}

/// A day; a bound against typing errors.
const MAX_TIMEOUT: u64 = 24 * 60 * 60;

/// More threads than any machine has; a bound against typing errors.
const MAX_THREADS: i64 = 4096;

/// What decodes.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// What decodes
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    pub(crate) backend: BackendArg,
    /// GPUs, by their place in `halovae devices` or a part of their name; ranks take them in turns
    /// [default: all that are like the first]
    #[arg(long, value_name = "INDEX|NAME", value_delimiter = ',')]
    pub(crate) device: Vec<String>,
    /// How the device stores numbers; sums are f32
    #[arg(long, value_enum, default_value_t = DtypeArg::F32)]
    pub(crate) dtype: DtypeArg,
    /// Whether cuDNN's engines run convs and attention in f16 and bf16 where they are faster; for each
    /// size that is chosen once, which takes some seconds
    #[arg(long, value_enum, default_value_t = CudnnArg::Auto)]
    pub(crate) cudnn: CudnnArg,
    /// GPU-to-GPU transport for sharded decodes
    #[arg(long, value_enum, default_value_t = ExchangeArg::Auto)]
    pub(crate) exchange: ExchangeArg,
}

#[derive(Debug, Args)]
pub(crate) struct VaeArgs {
    /// The VAE: a diffusers folder, a pipeline's folder, a model's folder in the Hugging Face hub's
    /// cache, or a .safetensors file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) vae: PathBuf,
    /// Which weights of the VAE's folder: `fp16` for diffusion_pytorch_model.fp16.safetensors
    /// [default: the plain ones, else fp32, fp16 or bf16, else the only ones]
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,
    /// Take the VAE's config from this config.json
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Who decodes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RankArgs {
    /// How many ranks decode [default: 1; the processes that were started together]
    #[arg(long, value_name = "N")]
    pub(crate) vae_patch_parallel_size: Option<u32>,
    /// Decode in overlapping tiles if the latents exceed one tile; on by itself for several ranks
    #[arg(long)]
    pub(crate) vae_use_tiling: bool,
    /// How the latents are cut
    #[arg(long, value_enum, default_value_t = StrategyArg::Auto)]
    pub(crate) strategy: StrategyArg,
    /// Shards of a sharded decode, ROWSxCOLUMNS; auto: one for each rank, in the grid with the
    /// least exchange. With more shards than ranks, shards take turns. SLICESxROWSxCOLUMNS cuts a
    /// video along time too; a slice holds all of its frames at once
    #[arg(long, value_name = "auto|RxC|SxRxC", default_value = "auto")]
    pub(crate) shard_grid: ShardGridArg,
}

/// Tiles, where they are not to be the model's own.
#[derive(Debug, Args)]
pub(crate) struct TileArgs {
    /// Tile size in pixels: one number, or height x width [default: the VAE's own]
    #[arg(long, value_name = "PX[xPX]")]
    pub(crate) tile_sample_min_size: Option<Pair<u32>>,
    /// Part of a tile that it shares with the next, from 0 to below 1: one number, or
    /// height x width [default: the VAE's own, else 0.25]
    #[arg(long, value_name = "F[xF]")]
    pub(crate) tile_overlap_factor: Option<Pair<f64>>,
    /// Distance of tiles in pixels instead of an overlap factor: one number, or height x width
    /// [default: the VAE's own, where it stores one]
    #[arg(long, value_name = "PX[xPX]", conflicts_with = "tile_overlap_factor")]
    pub(crate) tile_sample_stride: Option<Pair<u32>>,
    /// Tile a video in time too: frames of a tile, a multiple of the frames that a latent frame becomes.
    /// Each tile decodes one more frame before them, which only the first one keeps [default: the VAE's
    /// own, else all]
    #[arg(long, value_name = "N")]
    pub(crate) tile_sample_min_frames: Option<u32>,
    /// Frames from one tile's start to the next [default: the VAE's own, else 3/4 of a tile]
    #[arg(long, value_name = "N")]
    pub(crate) tile_sample_stride_frames: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Print JSON, with the classes that are known and refused
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print a table in Markdown, as the README has it
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) vae: VaeArgs,
    /// Height in pixels for the figures of work and memory [default: that of one of its tiles]
    #[arg(long, value_name = "PX")]
    pub(crate) height: Option<u32>,
    /// Width in pixels for the figures of work and memory [default: that of one of its tiles]
    #[arg(long, value_name = "PX")]
    pub(crate) width: Option<u32>,
    /// Frames of a video for the figures of its memory [default: several numbers of frames]
    #[arg(long, value_name = "N")]
    pub(crate) frames: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
