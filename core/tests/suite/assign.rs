use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn costs(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0u64..6, 0u64..100], len)
}

fn run(costs: &[u64], ranks: usize) -> (Vec<u32>, Vec<u32>, Vec<RankLoad>, Balance) {
    let mut owners = vec![u32::MAX; costs.len()];
    let mut order = owners.clone();
    let mut loads = vec![RankLoad { load: 77, rank: 77 }; ranks];
    let balance = largest_first(costs, &mut owners, &mut order, &mut loads).unwrap();
    (owners, order, loads, balance)
}

/// Loads of an assignment, added up one by one.
fn loads_of(costs: &[u64], owners: &[u32], ranks: usize) -> Vec<u128> {
    let mut loads = vec![0; ranks];
    for (&cost, &owner) in costs.iter().zip(owners) {
        loads[owner as usize] += u128::from(cost);
    }
    loads
}

/// The least makespan of all assignments.
fn optimum(costs: &[u64], ranks: usize) -> u64 {
    fn place(costs: &[u64], loads: &mut Vec<u64>, best: &mut u64) {
        let Some((&cost, rest)) = costs.split_first() else {
            *best = (*best).min(*loads.iter().max().unwrap());
            return;
        };
        for rank in 0..loads.len() {
            loads[rank] += cost;
            if loads[rank] < *best {
                place(rest, loads, best);
            }
            loads[rank] -= cost;
        }
    }
    let mut best = costs.iter().sum::<u64>();
    place(costs, &mut vec![0; ranks], &mut best);
    best
}

/// The least makespan of all ways to cut `costs` into `ranks` runs, some perhaps empty.
fn run_optimum(costs: &[u64], ranks: usize) -> u64 {
    let total: u64 = costs.iter().sum();
    if ranks == 1 {
        return total;
    }
    let cuts = (0..=costs.len()).map(|cut| {
        let (first, rest) = costs.split_at(cut);
        first.iter().sum::<u64>().max(run_optimum(rest, ranks - 1))
    });
    cuts.min().unwrap()
}

proptest! {
    #[test]
    fn largest_first_is_the_greedy_rule(costs in costs(0..=300), ranks in 1usize..50) {
        let (owners, order, loads, balance) = run(&costs, ranks);
        let mut expected_order: Vec<u32> = (0..costs.len() as u32).collect();
        expected_order.sort_by_key(|&i| std::cmp::Reverse(costs[i as usize])); // stable
        let mut expected_loads = vec![0u128; ranks];
        let mut expected = vec![0; costs.len()];
        for &i in &expected_order {
            let least = *expected_loads.iter().min().unwrap();
            let rank = expected_loads.iter().position(|&load| load == least).unwrap();
            expected_loads[rank] += u128::from(costs[i as usize]);
            expected[i as usize] = rank as u32;
        }
        prop_assert_eq!(&owners, &expected);
        prop_assert_eq!(order, expected_order);
        let expected: Vec<RankLoad> =
            (0..).zip(&expected_loads).map(|(rank, &load)| RankLoad { load, rank }).collect();
        prop_assert_eq!(&loads, &expected);
        prop_assert_eq!(balance.makespan, *expected_loads.iter().max().unwrap());
        prop_assert_eq!(balance.total, expected_loads.iter().sum::<u128>());
        prop_assert_eq!(balance.ranks as usize, ranks);

        let mut again = vec![RankLoad::default(); ranks];
        prop_assert_eq!(halovae_core::balance(&costs, &owners, &mut again), Ok(balance));
        prop_assert_eq!(again, loads);
    }

    #[test]
    fn largest_first_is_near_the_optimum(costs in costs(1..=8), ranks in 1usize..=4) {
        let (.., balance) = run(&costs, ranks);
        let best = u128::from(optimum(&costs, ranks));
        let ranks = ranks as u128;
        prop_assert!(balance.makespan >= best);
        prop_assert!(balance.makespan * 3 * ranks <= best * (4 * ranks - 1));
    }

    #[test]
    fn contiguous_runs_have_the_least_makespan(costs in costs(0..=9), ranks in 1u32..=4) {
        let mut owners = vec![u32::MAX; costs.len()];
        let balance = contiguous(&costs, &mut owners, ranks).unwrap();
        prop_assert!(owners.first().is_none_or(|&owner| owner == 0));
        prop_assert!(owners.is_sorted_by(|a, b| *b == *a || *b == a + 1));
        let loads = loads_of(&costs, &owners, ranks as usize);
        prop_assert_eq!(balance.makespan, *loads.iter().max().unwrap());
        prop_assert_eq!(balance.makespan, u128::from(run_optimum(&costs, ranks as usize)));
        prop_assert_eq!(balance.total, loads.iter().sum::<u128>());
        prop_assert_eq!(balance.ranks, ranks);
        let busy = (0..ranks).filter(|rank| owners.contains(rank)).count();
        prop_assert_eq!(busy, costs.len().min(ranks as usize));
    }

    #[test]
    fn round_robin_deals_out(len in 0usize..50, ranks in 1u32..9) {
        let mut owners = vec![u32::MAX; len];
        round_robin(&mut owners, ranks).unwrap();
        for (i, owner) in owners.into_iter().enumerate() {
            prop_assert_eq!(owner as usize, i % ranks as usize);
        }
    }

    #[test]
    fn any_costs_at_all(costs in prop::collection::vec(any::<u64>(), 0..20), ranks in 1usize..9) {
        let total: u128 = costs.iter().map(|&cost| u128::from(cost)).sum();
        let (.., greedy) = run(&costs, ranks);
        let mut owners = vec![0; costs.len()];
        let runs = contiguous(&costs, &mut owners, ranks as u32).unwrap();
        prop_assert_eq!((greedy.total, runs.total), (total, total));
        prop_assert!(greedy.makespan * ranks as u128 >= total);
        prop_assert!(runs.makespan * ranks as u128 >= total);
    }
}

#[test]
fn sums_beyond_u64() {
    let costs = [u64::MAX; 5];
    let (.., balance) = run(&costs, 2);
    assert_eq!(balance.makespan, 3 * u128::from(u64::MAX));
    assert_eq!(balance.total, 5 * u128::from(u64::MAX));
    assert_eq!(contiguous(&costs, &mut [0; 5], 2), Ok(balance));
}

#[test]
fn imbalance() {
    let balance = |makespan, total, ranks| Balance { makespan, total, ranks };
    assert_eq!(balance(5, 10, 2).imbalance(), 1.0);
    assert_eq!(balance(10, 10, 2).imbalance(), 2.0);
    assert_eq!(balance(6, 12, 3).imbalance(), 1.5);
    assert_eq!(balance(0, 0, 3).imbalance(), 1.0);
}

#[test]
fn wrong_lengths_and_ranks() {
    let mismatch = |name, len, expected| PlanError::LengthMismatch { name, len, expected };
    let no_ranks = PlanError::Zero { name: "ranks" };
    let one = &mut [RankLoad::default()];
    let costs = &[1, 2];
    assert_eq!(largest_first(costs, &mut [0], &mut [0; 2], one), Err(mismatch("owners", 1, 2)));
    assert_eq!(largest_first(costs, &mut [0; 2], &mut [0; 3], one), Err(mismatch("order", 3, 2)));
    assert_eq!(largest_first(costs, &mut [0; 2], &mut [0; 2], &mut []), Err(no_ranks));
    assert_eq!(contiguous(costs, &mut [0; 3], 1), Err(mismatch("owners", 3, 2)));
    assert_eq!(contiguous(costs, &mut [0; 2], 0), Err(no_ranks));
    assert_eq!(round_robin(&mut [0; 2], 0), Err(no_ranks));
    assert_eq!(balance(costs, &[0], one), Err(mismatch("owners", 1, 2)));
    assert_eq!(balance(costs, &[0, 0], &mut []), Err(no_ranks));
    let beyond = PlanError::OwnerOutOfRange { piece: 1, owner: 3, ranks: 3 };
    assert_eq!(balance(costs, &[2, 3], &mut [RankLoad::default(); 3]), Err(beyond));
}
