//! A tiled decode gives the same bytes for any number of ranks and threads.

use halovae_core::{AxisTiling, Direction, Plan, Size, TileGrid, Tiling};
use halovae_tests::compare::assert_same_bytes;
use halovae_tests::decode::{Cut, SmallModel, cpu, cpu_decoder, cpu_ranks, decode, plan, size_of};
use halovae_tests::golden::{self, Golden};
use proptest::prelude::*;

/// Ranks with different numbers of threads each, as when cores cannot be shared out evenly.
#[test]
fn golden_models() {
    for name in golden::images() {
        let golden = Golden::load(name);
        let plan = plan(golden.config(), size_of(&golden.latents), Cut::Tiled(0.25));
        let one = decode(&cpu_decoder(&golden.checkpoint, 1), &golden.latents, &plan);
        for ranks in 2..=6 {
            let several = decode(&cpu_decoder(&golden.checkpoint, ranks), &golden.latents, &plan);
            assert_same_bytes(&format!("{name}, {ranks} ranks"), &several, &one);
        }
    }
}

/// Many more tiles a rank than may be under way to the stitcher, so that ranks wait for it.
#[test]
fn many_tiles() {
    let model = SmallModel::new();
    let latents = model.latents(2, 30, 41, 7);
    let plan = plan(&model.config, size_of(&latents), Cut::Tiled(0.5));
    assert!(plan.piece_count() > 80);
    let one = decode(&model.decoder(cpu_ranks(1, 1)), &latents, &plan);
    for ranks in [2, 5, 16] {
        let several = decode(&model.decoder(cpu_ranks(ranks, 1)), &latents, &plan);
        assert_same_bytes(&format!("{ranks} ranks"), &several, &one);
    }
}

fn tiling(tile: Size, overlap: [f64; 2], scale: u32) -> Tiling {
    let axis = |cells, tile_overlap_factor| AxisTiling::Overlap {
        tile_sample_min_size: cells * scale,
        tile_latent_min_size: cells,
        tile_overlap_factor,
    };
    Tiling::new(axis(tile.height, overlap[0]), axis(tile.width, overlap[1]), scale)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_grid_any_ranks(
        batch in 1usize..=3,
        height in 1u32..=21,
        width in 1u32..=21,
        tile in prop::sample::select(vec![(4, 4), (4, 8), (8, 8), (12, 4), (16, 16)]),
        overlap in prop::sample::select(vec![[0.0; 2], [0.25; 2], [0.5; 2], [0.25, 0.5], [0.75, 0.0]]),
        ranks in 2u32..=6,
        threads in prop::collection::vec(1usize..=3, 6),
        seed in any::<u64>(),
    ) {
        let model = SmallModel::new();
        let latents = model.latents(batch, height, width, seed);
        let tiling = tiling(Size::new(tile.0, tile.1), overlap, model.config.scale());
        let grid = TileGrid::new(Direction::Decode, Size::new(height, width), &tiling).unwrap();
        let plan = Plan::tiled(grid);
        let one = decode(&model.decoder(vec![cpu(1)]), &latents, &plan);
        let backends = threads[..ranks as usize].iter().map(|&threads| cpu(threads)).collect();
        let several = decode(&model.decoder(backends), &latents, &plan);
        assert_same_bytes("several ranks", &several, &one);
    }
}
