//! CPU threads, and how ranks share them.

use std::num::NonZero;

/// CPU threads over all ranks: those asked for, else as many as run at once.
pub fn threads(asked: Option<u32>) -> u32 {
    let all = || {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    asked.unwrap_or_else(all)
}

/// How many of `threads` rank `rank` of `ranks` gets: an even share, at least one.
pub fn share(threads: u32, ranks: u32, rank: u32) -> u32 {
    let ranks = ranks.max(1);
    (threads / ranks + u32::from(rank < threads % ranks)).max(1)
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
