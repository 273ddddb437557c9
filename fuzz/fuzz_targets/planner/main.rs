//! The planner with any numbers: it refuses or keeps its promises, and never panics.

#![no_main]

mod along;
mod groups;
mod input;
mod plan;
mod shards;
mod shares;

use halovae_core::{Direction, PatchGrid, Plan, Size, TileGrid, choose_strategy};
use libfuzzer_sys::fuzz_target;

use along::{chunks, time_scale, window};
use groups::groups;
use input::Input;
use plan::check;
use shards::shards;

/// Plans may have 2^64 pieces; that many are looked at from either end.
const LOOKED_AT: u64 = 48;

fuzz_target!(|input: Input| {
    groups(&input);
    window(&input);
    let (scale, size, tiling) = (input.scale(), input.size(), input.tiling());
    time_scale(scale.time, input.at as u32);
    chunks(size.frames, scale.time, &input);
    let direction = if input.encode { Direction::Encode } else { Direction::Decode };
    let triggers = tiling.triggers(direction, size);
    let _ = choose_strategy(input.ranks.get(), input.use_tiling, triggers);
    if let Ok(grid) = TileGrid::new(direction, size, &tiling) {
        assert_eq!(grid.triggers(), triggers);
        check(&Plan::tiled(grid), scale, &input);
    }
    let tile = Size::new(input.patch_tile[0].get(), input.patch_tile[1].get());
    let patches = PatchGrid::new(size, input.ranks.get(), tile, input.patch_overlap, scale);
    for grid in [patches, PatchGrid::like(size, input.ranks.get(), &tiling)] {
        let Ok(grid) = grid else { continue };
        assert_eq!(grid.ranks(), input.ranks.get());
        assert!(grid.rows() <= grid.cols());
        check(&Plan::patch(grid), scale, &input);
    }
    shards(size, scale, &input);
    if let Ok(plan) = Plan::whole(size, scale) {
        assert_eq!(Some(plan.output()), scale.layer(size));
        check(&plan, scale, &input);
    }
});
