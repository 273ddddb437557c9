use halovae_core::*;
use proptest::prelude::*;

/// vLLM-Omni's patch decode, rank by rank, in signed integers: core, window, crop.
fn reference(
    (h, w): (i64, i64),
    ranks: i64,
    tile: (i64, i64),
    overlap: [f64; 2],
    scale: i64,
) -> Vec<(i64, [[i64; 4]; 3])> {
    let halo_base_h = (tile.0 as f64 * overlap[0]).trunc() as i64 / 2;
    let halo_base_w = (tile.1 as f64 * overlap[1]).trunc() as i64 / 2;
    let isqrt = (1..=ranks).take_while(|r| r * r <= ranks).last().unwrap();
    let rows = (1..=isqrt).rev().find(|r| ranks % r == 0).unwrap();
    let cols = ranks / rows;
    let mut patches = Vec::new();
    for i in 0..rows {
        for j in 0..cols {
            let (h0, h1) = (i * h / rows, (i + 1) * h / rows);
            let (w0, w1) = (j * w / cols, (j + 1) * w / cols);
            if h0 == h1 || w0 == w1 {
                continue;
            }
            let half = (h1 - h0).min(w1 - w0) / 2;
            let (halo_h, halo_w) = (halo_base_h.max(half), halo_base_w.max(half));
            let (top, left) = ((h0 - halo_h).max(0), (w0 - halo_w).max(0));
            let (bottom, right) = ((h1 + halo_h).min(h), (w1 + halo_w).min(w));
            let core = [h0, w0, h1 - h0, w1 - w0];
            let window = [top, left, bottom - top, right - left];
            let crop = [h0 - top, w0 - left, h1 - h0, w1 - w0].map(|cells| cells * scale);
            patches.push((i * cols + j, [core, window, crop]));
        }
    }
    patches
}

fn rect([top, left, height, width]: [i64; 4]) -> Region {
    let u = |value| u32::try_from(value).unwrap();
    Region::new(u(top), u(left), u(height), u(width))
}

proptest! {
    #[test]
    fn patches_are_those_of_vllm_omni(
        h in 1u32..50, w in 1u32..50, ranks in 1u32..70,
        tile_h in 1u32..40, tile_w in 1u32..40,
        overlap_h in 0.0..1.0f64, overlap_w in 0.0..1.0f64, scale in 1u32..9,
    ) {
        let latents = Size::new(h, w);
        let overlap = [overlap_h, overlap_w];
        let grid =
            PatchGrid::new(latents, ranks, Size::new(tile_h, tile_w), overlap, scale).unwrap();
        let expected = reference(
            (h.into(), w.into()), ranks.into(), (tile_h.into(), tile_w.into()), overlap, scale.into(),
        );
        prop_assert_eq!(grid.len(), expected.len() as u64);
        prop_assert_eq!(grid.ranks(), ranks);
        prop_assert_eq!(grid.rows() * grid.cols(), ranks);
        prop_assert!(grid.rows() <= grid.cols());
        prop_assert_eq!(grid.latents(), latents);
        prop_assert_eq!(grid.output(), Size::new(h * scale, w * scale));
        let mut patches = grid.patches();
        for (index, (rank, [core, window, crop])) in (0..).zip(expected) {
            let left = (grid.len() - index) as usize;
            prop_assert_eq!(patches.size_hint(), (left, Some(left)));
            let patch = patches.next().unwrap();
            prop_assert_eq!(grid.patch(index), Some(patch));
            prop_assert_eq!((patch.index, i64::from(patch.rank)), (index, rank));
            prop_assert_eq!(patch.core, rect(core));
            prop_assert_eq!(patch.window, rect(window));
            prop_assert_eq!(patch.crop, rect(crop));
            let output = core.map(|value| value * i64::from(scale));
            prop_assert_eq!(patch.output, rect(output));

            prop_assert!(latents.at_origin().contains(patch.window));
            prop_assert!(patch.window.contains(patch.core));
            let piece = Plan::patch(grid).piece(index).unwrap();
            let expected =
                Piece { index, input: patch.window, keep: patch.crop, output: patch.output };
            prop_assert_eq!(piece, expected);
        }
        prop_assert_eq!(patches.next(), None);
        prop_assert_eq!(grid.patch(grid.len()), None);
    }
}

/// Patches of a model that stores a stride have exactly half of what its tiles share.
#[test]
fn the_halo_of_a_stored_stride_is_exact() {
    for (tile, shared) in [(49, 2), (47, 24), (67, 58), (32, 8)] {
        let axis = AxisTiling::Stride {
            tile_sample_min_size: tile * 8,
            tile_sample_stride: (tile - shared) * 8,
        };
        let tiling = Tiling::new(axis, axis, 8);
        let grid = PatchGrid::like(Size::new(400, 400), 4, &tiling).unwrap();
        assert_eq!(grid.halo(Axis::Height, Size::new(1, 1)), shared / 2, "{shared} of {tile}");
    }
}

#[test]
fn ranks_without_work() {
    let grid = PatchGrid::new(Size::new(2, 2), 16, Size::new(8, 8), [0.25, 0.25], 8).unwrap();
    assert_eq!((grid.rows(), grid.cols(), grid.len()), (4, 4, 4));
    let ranks: Vec<u32> = grid.patches().map(|patch| patch.rank).collect();
    assert_eq!(ranks, [5, 7, 13, 15]);
}

#[test]
fn the_most_ranks() {
    let new = |ranks| PatchGrid::new(Size::new(9, 9), ranks, Size::new(8, 8), [0.25, 0.25], 8);
    let grid = new(MAX_PATCH_RANKS).unwrap();
    assert_eq!((MAX_PATCH_RANKS, grid.rows(), grid.cols()), (1_048_576, 1024, 1024));
    let expected = PlanError::TooManyRanks { ranks: MAX_PATCH_RANKS + 1, max: MAX_PATCH_RANKS };
    assert_eq!(new(MAX_PATCH_RANKS + 1), Err(expected));
}
