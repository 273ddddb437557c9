//! Which devices decode, and how.

/// The kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendChoice {
    /// CUDA where it works, else a GPU by wgpu, else the CPU. A GPU that is chosen so must first
    /// reproduce the CPU's result on small images.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs of any vendor, by Vulkan, Metal or DirectX 12.
    Wgpu,
    /// NVIDIA's GPUs.
    Cuda,
}

/// The type in which devices hold values and weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// On all devices.
    #[default]
    F32,
    /// On GPUs.
    F16,
    /// On NVIDIA's GPUs.
    Bf16,
}

impl Dtype {
    /// As the option's value is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// What ranks of a sharded decode on several NVIDIA GPUs exchange data by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exchange {
    /// NCCL where it is found and each rank has a GPU of its own, else host memory.
    #[default]
    Auto,
    /// Host memory.
    Host,
    /// NCCL; without it the decode fails.
    Nccl,
}

/// Whether NVIDIA's cuDNN may compute convs and attention in f16 and bf16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cudnn {
    /// Where it is found and faster than our own kernels.
    #[default]
    Auto,
    /// The same, and without it the decode fails.
    On,
    /// Never.
    Off,
}

/// Which devices decode, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeviceOptions {
    /// The kind of device.
    pub backend: BackendChoice,
    /// Indices or parts of names of GPUs, which ranks take in turns; the first GPU and those like it
    /// if there are none.
    pub device: Vec<String>,
    /// The type of values and weights.
    pub dtype: Dtype,
    /// Whether cuDNN may compute.
    pub cudnn: Cudnn,
    /// What ranks exchange data by.
    pub exchange: Exchange,
    /// CPU threads over all ranks of the process; as many as run at once if not given.
    pub threads: Option<u32>,
}

impl DeviceOptions {
    /// The CPU.
    pub fn cpu() -> Self {
        Self { backend: BackendChoice::Cpu, ..Self::default() }
    }
}
