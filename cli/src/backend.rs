//! Which devices decode, and with how many threads.

use std::num::NonZero;

use halovae_cpu::CpuBackend;

use crate::args::BackendArg;
use crate::error::Error;

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

/// The CPU with that many threads.
///
/// # Errors
/// That the system gives no threads.
pub(crate) fn cpu(threads: u32) -> Result<CpuBackend, Error> {
    Ok(CpuBackend::new(threads as usize)?)
}

/// The backends of a process's ranks, all of one kind.
pub(crate) enum Devices {
    /// The CPU.
    Cpu(Vec<CpuBackend>),
}

/// A backend for each rank, `threads` shared among them.
///
/// # Errors
/// [`Error::Device`] for too many ranks, or what the backend says.
pub(crate) fn open(asked: BackendArg, threads: u32, ranks: u32) -> Result<Devices, Error> {
    if ranks > MAX_LOCAL_RANKS {
        return Err(Error::Device(format!(
            "{ranks} ranks in one process, at most {MAX_LOCAL_RANKS} are possible; lower \
             --vae-patch-parallel-size"
        )));
    }
    match asked {
        BackendArg::Auto | BackendArg::Cpu => {
            let backends = (0..ranks).map(|rank| cpu(share(threads, ranks, rank)));
            backends.collect::<Result<_, _>>().map(Devices::Cpu)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_shared_evenly_and_nobody_has_none() {
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
