//! Which devices decode, and with how many threads.

#[cfg_attr(not(feature = "cuda"), path = "backend/no_cuda.rs")]
pub(crate) mod cuda;
mod devices;
#[cfg_attr(not(feature = "wgpu"), path = "backend/no_gpus.rs")]
pub(crate) mod gpus;
mod proof;

use std::num::NonZero;
use std::ops::Range;

use halovae_engine::program::Program;

pub(crate) use devices::{BoxedLinks, Devices, cpu};

use crate::args::{BackendArg, CudnnArg, DeviceArgs, DtypeArg, ExchangeArg};
use crate::error::{Chain, Error};
use crate::notices::Notice;

/// What the CPU backend calls itself.
pub(crate) const CPU: &str = "cpu";

/// More ranks than one process is sensibly cut into: each is a thread with threads of its own.
const MAX_LOCAL_RANKS: u32 = 1024;

/// CPU threads over all ranks: those asked for, else as many as run at once.
pub(crate) fn threads(asked: Option<u32>) -> u32 {
    let all = || {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    asked.unwrap_or_else(all)
}

/// How many of `threads` rank `rank` of `ranks` gets: an even share, at least one.
pub(crate) fn share(threads: u32, ranks: u32, rank: u32) -> u32 {
    let ranks = ranks.max(1);
    (threads / ranks + u32::from(rank < threads % ranks)).max(1)
}

/// A backend for each rank of this process, `threads` shared among them. `seats` are the places of
/// these ranks among all on the machine. An automatically chosen device must run `program`.
///
/// # Errors
/// [`Error::Device`] for too many ranks or a backend that this program does not have,
/// [`Error::Usage`], or what the backend says.
pub(crate) fn open(
    asked: &DeviceArgs,
    threads: u32,
    seats: Range<u32>,
    program: &Program,
    notices: &mut Vec<Notice>,
) -> Result<Devices, Error> {
    let ranks = seats.len() as u32;
    if ranks > MAX_LOCAL_RANKS {
        return Err(Error::Device(format!(
            "{ranks} ranks in one process, at most {MAX_LOCAL_RANKS} are possible; lower \
             --vae-patch-parallel-size"
        )));
    }
    if asked.exchange == ExchangeArg::Nccl
        && !matches!(asked.backend, BackendArg::Auto | BackendArg::Cuda)
    {
        return Err(Error::Usage("--exchange nccl needs --backend cuda".into()));
    }
    if asked.cudnn == CudnnArg::On
        && (asked.dtype == DtypeArg::F32
            || !matches!(asked.backend, BackendArg::Auto | BackendArg::Cuda))
    {
        return Err(Error::Usage("--cudnn on needs --backend cuda and --dtype f16 or bf16".into()));
    }
    let wants_gpu = !asked.device.is_empty() || asked.dtype != DtypeArg::F32;
    match asked.backend {
        BackendArg::Cpu if wants_gpu => {
            let dtype = if asked.dtype == DtypeArg::Bf16 { "bf16" } else { "f16" };
            Err(Error::Usage(format!(
                "--device and --dtype {dtype} need a GPU; leave --backend cpu out"
            )))
        }
        BackendArg::Cpu => cpu_ranks(threads, ranks),
        BackendArg::Wgpu if asked.dtype == DtypeArg::Bf16 => {
            Err(Error::Usage("--dtype bf16 needs --backend cuda: shaders have f16 only".into()))
        }
        BackendArg::Wgpu => gpus::open(asked, seats),
        BackendArg::Cuda => cuda::open(asked, seats, notices),
        // Nothing else has these.
        BackendArg::Auto
            if asked.dtype == DtypeArg::Bf16
                || asked.exchange == ExchangeArg::Nccl
                || asked.cudnn == CudnnArg::On =>
        {
            cuda::open(asked, seats, notices)
        }
        BackendArg::Auto => automatic(asked, threads, seats, wants_gpu, program, notices),
    }
}

/// CUDA where it works, else a GPU by wgpu, else the CPU unless a GPU is wanted. An automatically
/// chosen device must run the program, and first reproduce the CPU's result.
fn automatic(
    asked: &DeviceArgs,
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
    dtype: DtypeArg,
    program: &Program,
) -> Result<Devices, Error> {
    devices.and_then(|devices| proof::check(&devices, dtype, program).map(|()| devices))
}

fn cpu_ranks(threads: u32, ranks: u32) -> Result<Devices, Error> {
    let backends = (0..ranks).map(|rank| cpu(share(threads, ranks, rank)));
    backends.collect::<Result<_, _>>().map(Devices::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_shared_evenly_and_every_rank_has_one() {
        for threads in 1..=9 {
            for ranks in 1..=12 {
                let shares: Vec<u32> = (0..ranks).map(|rank| share(threads, ranks, rank)).collect();
                assert!(shares.iter().all(|&share| share >= 1));
                assert_eq!(shares.iter().sum::<u32>(), threads.max(ranks));
                let spread = shares.iter().max().unwrap() - shares.iter().min().unwrap();
                assert!(spread <= 1, "{shares:?}");
            }
        }
    }
}
