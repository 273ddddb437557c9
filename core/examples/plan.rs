//! The planner alone, in a program without std and without an allocator: which of four ranks decodes which
//! tile of FLUX.1's latents for 2048 x 1536 pixels.
//!
//! ```text
//! cargo run -p halovae-core --example plan
//! ```
//!
//! `core/tests/no_std` is the same without a C library, too.

#![no_std]
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

// To have a terminal to print to; nothing else needs it.
extern crate std;

use std::println;

use halovae_core::{
    AxisTiling, Direction, Plan, PlanError, RankLoad, Size, TileGrid, Tiling, WorkModel,
    largest_first, piece_costs,
};

/// More tiles than these have no room in the arrays below.
const MOST: usize = 64;

fn main() -> Result<(), PlanError> {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 1024,
        tile_latent_min_size: 128,
        tile_overlap_factor: 0.25,
    };
    let tiling = Tiling::new(axis, axis, 8);
    let plan = Plan::tiled(TileGrid::new(Direction::Decode, Size::new(256, 192), &tiling)?);

    // A list that cannot be avoided is the caller's slice.
    let (mut costs, mut owners, mut order) = ([0; MOST], [0; MOST], [0; MOST]);
    let mut loads = [RankLoad::default(); 4];
    let tiles = plan.piece_count() as usize;
    let (costs, owners) = (&mut costs[..tiles], &mut owners[..tiles]);
    piece_costs(&plan, &WorkModel::default(), costs)?;
    largest_first(costs, owners, &mut order[..tiles], &mut loads)?;

    for (piece, owner) in plan.pieces().zip(owners) {
        let size = piece.input;
        println!(
            "rank {owner}: {} x {} cells from row {}, column {}",
            size.height, size.width, size.top, size.left
        );
    }
    Ok(())
}
