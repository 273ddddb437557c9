//! Which ranks decode, and who has what.

use crate::cases::{any_case, any_shards};
use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

/// A plan of any kind.
fn plan() -> impl Strategy<Value = Plan> {
    let tiled = any_case().prop_map(|case| Plan::tiled(case.grid()));
    let sharded = any_shards().prop_map(Plan::sharded);
    let latents = (1u32..9, 1u32..9).prop_map(|(height, width)| Size::new(height, width));
    let whole = latents.prop_map(|latents| Plan::whole(latents, 8).unwrap());
    let latents = (1u32..9, 1u32..9).prop_map(|(height, width)| Size::new(height, width));
    let patch = (latents, 1u32..40).prop_map(|(latents, ranks)| {
        Plan::patch(PatchGrid::new(latents, ranks, Size::new(8, 8), [0.25; 2], 8).unwrap())
    });
    prop_oneof![whole, tiled, patch, sharded]
}

fn owners(plan: &Plan, images: u32, ranks: u32) -> Vec<u32> {
    let count = plan.piece_count() as usize * images as usize;
    let (mut owners, mut order, mut costs) = (vec![9; count], vec![9; count], vec![9; count]);
    let mut loads = vec![RankLoad::default(); ranks as usize];
    plan.share_out(images, &mut owners, &mut costs, &mut order, &mut loads).unwrap();
    owners
}

proptest! {
    /// The ranks that are said to decode are those that get a piece: the first ones.
    #[test]
    fn busy_ranks_are_those_that_get_pieces(plan in plan(), images in 1u32..4, ranks in 1u32..50) {
        let mut busy = owners(&plan, images, ranks);
        busy.sort_unstable();
        busy.dedup();
        let expected: Vec<u32> = (0..plan.busy_ranks(images, ranks)).collect();
        prop_assert_eq!(busy, expected);
    }

    /// Ranks that stay idle change nothing.
    #[test]
    fn idle_ranks_change_no_owner(plan in plan(), images in 1u32..4, ranks in 1u32..50) {
        let busy = plan.busy_ranks(images, ranks);
        prop_assert_eq!(owners(&plan, images, busy), owners(&plan, images, ranks));
        prop_assert_eq!(plan.busy_ranks(images, busy), busy);
    }

    #[test]
    fn every_shard_has_one_rank_and_every_rank_an_even_share(
        grid in any_shards(), ranks in 0u32..60, images in 1u32..3,
    ) {
        let mut owned = 0;
        let busy = ranks.clamp(1, grid.len());
        for rank in 0..busy {
            let shards = grid.shards_of(ranks, rank);
            prop_assert_eq!(shards.start, owned);
            owned = shards.end;
            for shard in shards.clone() {
                prop_assert_eq!(grid.owner(ranks, shard), rank);
            }
            let fair = f64::from(grid.len()) / f64::from(busy);
            prop_assert!((shards.len() as f64 - fair).abs() < 1.0);
        }
        prop_assert_eq!(owned, grid.len());
        prop_assert!(grid.shards_of(ranks, busy).is_empty());
        prop_assert!(grid.shards_of(ranks, u32::MAX).is_empty());
        if ranks > 0 {
            let expected: Vec<u32> = (0..grid.len()).map(|shard| grid.owner(ranks, shard)).collect();
            prop_assert_eq!(owners(&Plan::sharded(grid), images, ranks), expected.repeat(images as usize));
        }
    }

    /// Tiles go by size to the least loaded rank, those of all images together.
    #[test]
    fn tiles_go_to_the_least_loaded(case in any_case(), images in 1u32..3, ranks in 1u32..9) {
        let plan = Plan::tiled(case.grid());
        let mut costs = vec![0; plan.piece_count() as usize];
        piece_costs(&plan, &WorkModel::default(), &mut costs).unwrap();
        let costs = costs.repeat(images as usize);
        let (mut expected, mut order) = (vec![0; costs.len()], vec![0; costs.len()]);
        let mut loads = vec![RankLoad::default(); ranks as usize];
        largest_first(&costs, &mut expected, &mut order, &mut loads).unwrap();
        prop_assert_eq!(owners(&plan, images, ranks), expected);
    }

    /// A full grid of patches: rank and patch have the same number, as in vLLM-Omni.
    #[test]
    fn patches_belong_to_the_ranks_of_their_grid(ranks in 1u32..40) {
        let latents = Size::new(64, 64);
        let grid = PatchGrid::new(latents, ranks, Size::new(8, 8), [0.25; 2], 8).unwrap();
        let expected: Vec<u32> = grid.patches().map(|patch| patch.rank).collect();
        prop_assert_eq!(owners(&Plan::patch(grid), 1, ranks), expected);
    }
}

#[test]
fn eight_ranks_and_six_tiles() {
    let axis = |tile| AxisTiling::Stride { tile_sample_min_size: tile, tile_sample_stride: tile };
    let tiling = Tiling::new(axis(64), axis(64), 8);
    let grid = TileGrid::new(Direction::Decode, Size::new(16, 24), &tiling).unwrap();
    let plan = Plan::tiled(grid);
    assert_eq!(plan.piece_count(), 6);
    assert_eq!([1, 6, 8].map(|ranks| plan.busy_ranks(1, ranks)), [1, 6, 6]);
    assert_eq!(plan.busy_ranks(2, 8), 8);
    assert_eq!(plan.busy_ranks(u32::MAX, u32::MAX), u32::MAX);
    assert_eq!(plan.busy_ranks(0, 8), 0);
}

#[test]
fn slices_hold_every_piece_of_every_image() {
    let plan = Plan::whole(Size::new(4, 4), 8).unwrap();
    let share = |images, lengths: [usize; 3], ranks| {
        let [mut owners, mut order] = [vec![0; lengths[0]], vec![0; lengths[2]]];
        let mut loads = vec![RankLoad::default(); ranks];
        plan.share_out(images, &mut owners, &mut vec![0; lengths[1]], &mut order, &mut loads)
    };
    assert_eq!(share(2, [2, 2, 2], 3), Ok(()));
    let wrong = |name, len| Err(PlanError::LengthMismatch { name, len, expected: 2 });
    assert_eq!(share(2, [1, 2, 2], 3), wrong("owners", 1));
    assert_eq!(share(2, [2, 3, 2], 3), wrong("costs", 3));
    assert_eq!(share(2, [2, 2, 0], 3), wrong("order", 0));
    assert_eq!(share(2, [2, 2, 2], 0), Err(PlanError::Zero { name: "ranks" }));
}
