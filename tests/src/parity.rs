//! Golden models on any backend, by every strategy, against diffusers: within the bound for f32.

use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode::Decoder;

use crate::compare::{assert_f32_close, assert_same_bytes};
use crate::decode::{Cut, decode, plan, size_of};
use crate::golden::Golden;

/// Makes the decoder of a checkpoint on so many ranks.
pub trait OnRanks<B: Backend>: Fn(&Checkpoint, u32) -> Decoder<B> {}

impl<B: Backend, F: Fn(&Checkpoint, u32) -> Decoder<B>> OnRanks<B> for F {}

/// Whole, on one rank.
///
/// # Panics
/// If it is not as diffusers decodes it.
pub fn whole<B: Backend>(name: &str, on: impl OnRanks<B>) {
    let golden = Golden::load(name);
    let plan = plan(golden.config(), size_of(&golden.latents), Cut::Whole);
    let picture = decode(&on(&golden.checkpoint, 1), &golden.latents, &plan);
    assert_f32_close(&format!("{name}, whole"), &picture, golden.expected("whole"));
}

/// Tiled: as diffusers on one rank, and the same bytes on each of these numbers of ranks.
///
/// # Panics
/// If it is not.
pub fn tiled<B: Backend>(name: &str, ranks: impl IntoIterator<Item = u32>, on: impl OnRanks<B>) {
    let golden = Golden::load(name);
    let plan = plan(golden.config(), size_of(&golden.latents), Cut::Tiled(0.25));
    assert!(plan.piece_count() > 1, "{name}: a single tile tests nothing");
    let one = decode(&on(&golden.checkpoint, 1), &golden.latents, &plan);
    assert_f32_close(&format!("{name}, tiled"), &one, golden.expected("tiled"));
    for ranks in ranks {
        let picture = decode(&on(&golden.checkpoint, ranks), &golden.latents, &plan);
        assert_same_bytes(&format!("{name}, tiled, {ranks} ranks"), &picture, &one);
    }
}

/// A patch on each rank, for each of these numbers of ranks.
///
/// # Panics
/// If it is not as diffusers' patches.
pub fn patch<B: Backend>(name: &str, ranks: impl IntoIterator<Item = u32>, on: impl OnRanks<B>) {
    let golden = Golden::load(name);
    for ranks in ranks {
        let plan = plan(golden.config(), size_of(&golden.latents), Cut::Patch(ranks));
        let picture = decode(&on(&golden.checkpoint, ranks), &golden.latents, &plan);
        let expected = match ranks {
            1 => golden.expected("whole"),
            _ => golden.expected(&format!("patch{ranks}")),
        };
        assert_f32_close(&format!("{name}, {ranks} patches"), &picture, expected);
    }
}

/// Grids of rows and columns of shards, each on so many ranks.
///
/// # Panics
/// If one is not as diffusers decodes the whole.
pub fn sharded<B: Backend>(
    name: &str,
    grids: impl IntoIterator<Item = (u32, u32, u32)>,
    on: impl OnRanks<B>,
) {
    let golden = Golden::load(name);
    for (rows, cols, ranks) in grids {
        let plan = plan(golden.config(), size_of(&golden.latents), Cut::Sharded(rows, cols));
        let picture = decode(&on(&golden.checkpoint, ranks), &golden.latents, &plan);
        let what = format!("{name}, {rows} x {cols} shards on {ranks} ranks");
        assert_f32_close(&what, &picture, golden.expected("whole"));
    }
}
