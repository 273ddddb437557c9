//! Which devices decode, and with how many threads.

#[cfg_attr(not(feature = "cuda"), path = "no_cuda.rs")]
pub(crate) mod cuda;
mod device;
#[cfg_attr(not(feature = "wgpu"), path = "no_gpus.rs")]
mod gpus;
mod list;
mod proof;
mod set;

use std::ops::Range;

use halovae_engine::program::Program;

pub use device::Device;
pub use gpus::quiet_drivers;
pub use list::list;
pub(crate) use set::{BoxedLinks, Devices, cpu};

use crate::error::{Chain, Error};
use crate::notice::Notice;
use crate::options::{BackendChoice, Cudnn, DeviceOptions, Dtype, Exchange, OptionError};
use crate::plan::share;

/// What the CPU backend calls itself.
pub(crate) const CPU: &str = "cpu";

/// More ranks than one process is sensibly cut into: each is a thread with threads of its own.
const MAX_LOCAL_RANKS: u32 = 1024;

/// A backend for each rank of this process, `threads` shared among them. `seats` are the places of
/// these ranks among all on the machine. An automatically chosen device must run `program`.
///
/// # Errors
/// [`Error::Device`] for a backend that this program does not have, [`Error::Option`], or what the
/// backend says.
pub(crate) fn open(
    asked: &DeviceOptions,
    threads: u32,
    seats: Range<u32>,
    program: &Program,
    notices: &mut Vec<Notice>,
) -> Result<Devices, Error> {
    let ranks = seats.len() as u32;
    if ranks > MAX_LOCAL_RANKS {
        return Err(OptionError::RanksInOneProcess { ranks, max: MAX_LOCAL_RANKS }.into());
    }
    if asked.exchange == Exchange::Nccl
        && !matches!(asked.backend, BackendChoice::Auto | BackendChoice::Cuda)
    {
        let needed = ["backend", "cuda"];
        return Err(OptionError::value_needs(["exchange", "nccl"], needed, "").into());
    }
    if asked.cudnn == Cudnn::On
        && (asked.dtype == Dtype::F32
            || !matches!(asked.backend, BackendChoice::Auto | BackendChoice::Cuda))
    {
        return Err(OptionError::CudnnNeedsHalf.into());
    }
    let wants_gpu = !asked.device.is_empty() || asked.dtype != Dtype::F32;
    match asked.backend {
        BackendChoice::Cpu if wants_gpu => Err(OptionError::NeedsGpu { dtype: asked.dtype }.into()),
        BackendChoice::Cpu => cpu_ranks(threads, ranks),
        BackendChoice::Wgpu if asked.dtype == Dtype::Bf16 => {
            let (given, needed) = (["dtype", "bf16"], ["backend", "cuda"]);
            Err(OptionError::value_needs(given, needed, ": shaders have f16 only").into())
        }
        BackendChoice::Wgpu => gpus::open(asked, seats),
        BackendChoice::Cuda => cuda::open(asked, seats, notices),
        // Nothing else has these.
        BackendChoice::Auto
            if asked.dtype == Dtype::Bf16
                || asked.exchange == Exchange::Nccl
                || asked.cudnn == Cudnn::On =>
        {
            cuda::open(asked, seats, notices)
        }
        BackendChoice::Auto => automatic(asked, threads, seats, wants_gpu, program, notices),
    }
}

/// CUDA where it works, else a GPU by wgpu, else the CPU unless a GPU is wanted. An automatically
/// chosen device must run the program, and first reproduce the CPU's result.
fn automatic(
    asked: &DeviceOptions,
    threads: u32,
    seats: Range<u32>,
    wants_gpu: bool,
    program: &Program,
    notices: &mut Vec<Notice>,
) -> Result<Devices, Error> {
    let ranks = seats.len() as u32;
    let passed_over =
        |error: &Error, instead| Notice::PassedOver { why: Chain(error).to_string(), instead };
    if cuda::may_be() {
        let mut told = Vec::new();
        match proven(cuda::open(asked, seats.clone(), &mut told), asked.dtype, program) {
            Ok(devices) => {
                notices.append(&mut told);
                return Ok(devices);
            }
            Err(error) if cuda::is_absence(&error) => {}
            Err(error) => notices.push(passed_over(&error, "CUDA is left out")),
        }
    }
    if wants_gpu {
        return gpus::open(asked, seats);
    }
    if !gpus::has_any() {
        return cpu_ranks(threads, ranks);
    }
    proven(gpus::open(asked, seats), asked.dtype, program).or_else(|error| {
        notices.push(passed_over(&error, "the CPU decodes"));
        cpu_ranks(threads, ranks)
    })
}

fn proven(
    devices: Result<Devices, Error>,
    dtype: Dtype,
    program: &Program,
) -> Result<Devices, Error> {
    devices.and_then(|devices| proof::check(&devices, dtype, program).map(|()| devices))
}

fn cpu_ranks(threads: u32, ranks: u32) -> Result<Devices, Error> {
    let backends = (0..ranks).map(|rank| cpu(share(threads, ranks, rank)));
    backends.collect::<Result<_, _>>().map(Devices::Cpu)
}
