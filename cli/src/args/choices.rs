//! Flags that take one of several words.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BitDepthArg {
    /// 256 levels, as diffusers saves images
    #[value(name = "8")]
    Eight,
    /// 65536 levels
    #[value(name = "16")]
    Sixteen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendArg {
    /// CUDA, else another GPU, else the CPU: whatever this machine has
    Auto,
    /// The CPU
    Cpu,
    /// A GPU, by Vulkan, Metal or DirectX 12
    Wgpu,
    /// An NVIDIA GPU, by CUDA
    Cuda,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArg {
    /// As exact as the checkpoint
    F32,
    /// Half the bytes for each number; GPUs only
    F16,
    /// The same with the range of f32 and fewer digits; CUDA only
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExchangeArg {
    /// By NCCL where it is found and every rank has an NVIDIA GPU of its own, else through host memory
    Auto,
    /// Over the host
    Host,
    /// By NCCL, or not at all
    Nccl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LauncherArg {
    /// The first whose variables are all there
    Auto,
    /// None: this process decodes alone, whatever is set
    None,
    /// torchrun, or RANK, WORLD_SIZE and MASTER_ADDR set by hand
    Torchrun,
    /// mpirun, mpiexec, or srun with PMI
    Mpi,
    /// srun
    Slurm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CudnnArg {
    /// Where it is found
    Auto,
    /// They have to be there
    On,
    /// Our own kernel does everything
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArg {
    /// Tiled if tiling is on and the latents exceed a tile, else patch for several ranks, else
    /// whole
    Auto,
    /// One piece, one rank
    Whole,
    /// Overlapping tiles, blended; the same image for any number of ranks
    Tiled,
    /// One patch a rank with a halo around it, not blended
    Patch,
    /// One decode cut over the ranks, exact: each conv fetches its halo from the neighbours
    Sharded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// Text
    Table,
    /// Everything, for programs
    Json,
    /// A drawing of pieces, overlaps and load
    Svg,
}
