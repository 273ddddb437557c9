//! Which rank gets which piece. Everything is written into the caller's slices.

use core::cmp::Reverse;

use crate::PlanError;
use crate::error::nonzero;

/// What one rank has to do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RankLoad {
    /// The costs of its pieces added up.
    pub load: u128,
    /// The rank.
    pub rank: u32,
}

/// How well an assignment spreads the costs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Balance {
    /// The load of the most loaded rank.
    pub makespan: u128,
    /// The costs of all pieces added up.
    pub total: u128,
    /// How many ranks there are, those without work included.
    pub ranks: u32,
}

impl Balance {
    /// The makespan over the mean load: 1 is perfect, `ranks` is one rank doing everything.
    /// 1 if there is no work.
    pub fn imbalance(&self) -> f64 {
        if self.total == 0 {
            return 1.0;
        }
        self.makespan as f64 * f64::from(self.ranks) / self.total as f64
    }

    fn of(loads: &[RankLoad], ranks: u32) -> Self {
        let makespan = loads.iter().map(|load| load.load).max().unwrap_or(0);
        // A u32 count of u64 costs cannot reach u128.
        Self { makespan, total: loads.iter().map(|load| load.load).sum(), ranks }
    }
}

/// Largest first, each piece to the least loaded rank, ties to the lowest rank; among equal costs
/// the lower index first. The makespan is within `4/3 - 1/(3 * ranks)` of the best one (Graham).
///
/// There are `loads.len()` ranks; on return `loads[rank]` is that rank's. `order` is scratch and
/// on return holds the pieces in the order in which they were given out.
/// Takes `O(n * (log n + log ranks))`.
///
/// # Errors
/// [`PlanError::LengthMismatch`] if `owners` or `order` is not as long as `costs`,
/// [`PlanError::Zero`] without ranks, [`PlanError::TooMany`] if a length exceeds `u32`.
pub fn largest_first(
    costs: &[u64],
    owners: &mut [u32],
    order: &mut [u32],
    loads: &mut [RankLoad],
) -> Result<Balance, PlanError> {
    check_len("owners", owners.len(), costs.len())?;
    check_len("order", order.len(), costs.len())?;
    count("costs", costs.len())?;
    let ranks = clear(loads)?;
    order.iter_mut().zip(0..).for_each(|(slot, index)| *slot = index);
    order.sort_unstable_by_key(|&index| (Reverse(costs[index as usize]), index));
    // A binary heap by (load, rank), least first; all zero and by rank it is one already.
    for &index in order.iter() {
        let index = index as usize;
        owners[index] = loads[0].rank;
        loads[0].load += u128::from(costs[index]);
        sift_down(loads);
    }
    loads.sort_unstable_by_key(|load| load.rank);
    Ok(Balance::of(loads, ranks))
}

/// Piece `i` to rank `i % ranks`.
///
/// # Errors
/// [`PlanError::Zero`] without ranks.
pub fn round_robin(owners: &mut [u32], ranks: u32) -> Result<(), PlanError> {
    nonzero("ranks", ranks)?;
    owners.iter_mut().zip((0..ranks).cycle()).for_each(|(owner, rank)| *owner = rank);
    Ok(())
}

/// Runs of neighbouring pieces, rank by rank, with the least makespan that runs can have.
///
/// The least makespan is searched by bisection: a bound can be kept iff filling rank after rank up
/// to it needs no more than the ranks there are. Takes `O(n * log(largest cost))`. No rank stays
/// without a piece while another has two, if there are enough pieces.
///
/// # Errors
/// [`PlanError::LengthMismatch`] if `owners` is not as long as `costs`, [`PlanError::Zero`]
/// without ranks, [`PlanError::TooMany`] if `costs` is longer than `u32`.
pub fn contiguous(costs: &[u64], owners: &mut [u32], ranks: u32) -> Result<Balance, PlanError> {
    check_len("owners", owners.len(), costs.len())?;
    count("costs", costs.len())?;
    nonzero("ranks", ranks)?;
    let total: u128 = costs.iter().copied().map(u128::from).sum();
    let largest = u128::from(costs.iter().copied().max().unwrap_or(0));
    let mean = total.div_ceil(u128::from(ranks));
    // Filling up to `mean + largest` loads every rank but the last with at least the mean.
    let (mut low, mut high) = (mean.max(largest), mean + largest);
    while low < high {
        let middle = low + (high - low) / 2;
        if runs_fit(costs, ranks, middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let (mut rank, mut load, mut makespan) = (0, 0u128, 0);
    for (index, (owner, &cost)) in owners.iter_mut().zip(costs).enumerate() {
        let cost = u128::from(cost);
        let left = (costs.len() - index) as u64;
        // As many pieces as ranks behind this one: each gets one.
        let spread = index > 0 && left < u64::from(ranks - rank);
        if load + cost > low || spread {
            rank += 1;
            load = 0;
        }
        load += cost;
        makespan = makespan.max(load);
        *owner = rank;
    }
    Ok(Balance { makespan, total, ranks })
}

/// Loads, makespan and imbalance of any assignment over `loads.len()` ranks.
///
/// # Errors
/// [`PlanError::LengthMismatch`] if `owners` is not as long as `costs`,
/// [`PlanError::OwnerOutOfRange`], [`PlanError::Zero`] without ranks, [`PlanError::TooMany`] if a
/// length exceeds `u32`.
pub fn balance(
    costs: &[u64],
    owners: &[u32],
    loads: &mut [RankLoad],
) -> Result<Balance, PlanError> {
    check_len("owners", owners.len(), costs.len())?;
    count("costs", costs.len())?;
    let ranks = clear(loads)?;
    for ((&cost, &owner), piece) in costs.iter().zip(owners).zip(0..) {
        let out_of_range = PlanError::OwnerOutOfRange { piece, owner, ranks: u64::from(ranks) };
        loads.get_mut(owner as usize).ok_or(out_of_range)?.load += u128::from(cost);
    }
    Ok(Balance::of(loads, ranks))
}

/// Whether filling rank after rank up to `bound`, which no single cost exceeds, is enough.
fn runs_fit(costs: &[u64], ranks: u32, bound: u128) -> bool {
    let (mut rank, mut load) = (0u32, 0u128);
    for &cost in costs {
        load += u128::from(cost);
        if load > bound {
            rank += 1;
            load = u128::from(cost);
            if rank == ranks {
                return false;
            }
        }
    }
    true
}

/// Restores the heap after its first element grew.
fn sift_down(heap: &mut [RankLoad]) {
    let mut parent = 0;
    loop {
        let right = 2 * (parent + 1);
        let held = [right - 1, right].into_iter().filter(|&child| child < heap.len());
        let Some(child) = held.min_by_key(|&child| heap[child]) else { return };
        if heap[parent] <= heap[child] {
            return;
        }
        heap.swap(parent, child);
        parent = child;
    }
}

fn clear(loads: &mut [RankLoad]) -> Result<u32, PlanError> {
    let ranks = count("loads", loads.len())?;
    nonzero("ranks", ranks)?;
    loads.iter_mut().zip(0..).for_each(|(slot, rank)| *slot = RankLoad { load: 0, rank });
    Ok(ranks)
}

fn count(name: &'static str, len: usize) -> Result<u32, PlanError> {
    u32::try_from(len).map_err(|_| PlanError::TooMany { name, len: len as u64 })
}

fn check_len(name: &'static str, len: usize, expected: usize) -> Result<(), PlanError> {
    if len == expected {
        Ok(())
    } else {
        Err(PlanError::LengthMismatch { name, len: len as u64, expected: expected as u64 })
    }
}
