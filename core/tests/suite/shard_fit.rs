//! Which grids of shards fit, and which one is chosen, against a search through all of them.

use crate::cases::{any_shards, bands, layers};
use halovae_core::*;
use proptest::prelude::*;

/// Whether no band is empty or thinner than what the bands beside it fetch from it; in time the
/// first one may be.
fn axis_fits(axis: Axis, extent: u32, count: u32, scale: TimeScale, reach: [u32; 2]) -> bool {
    let bands = bands(extent, count);
    let [before, behind] = reach;
    let cells = |at: usize| scale.at(bands[at].end).unwrap() - scale.at(bands[at].start).unwrap();
    let lends = |at: usize| cells(at) >= before || (axis == Axis::Time && at == 0);
    bands.iter().all(|band| !band.is_empty())
        && (1..bands.len()).all(|at| lends(at - 1) && cells(at) >= behind)
}

fn grid_fits(latents: Size, shards: Axes<u32>, layers: &[LayerHalo]) -> bool {
    Axis::ALL.into_iter().all(|axis| {
        let (extent, count) = (latents.along(axis), shards[axis]);
        let fits = |layer: &LayerHalo| {
            axis_fits(axis, extent, count, layer.scale.along(axis), layer.reach.along(axis))
        };
        count <= extent && layers.iter().all(fits)
    })
}

fn bytes_received(grid: &ShardGrid, layers: &[LayerHalo]) -> u64 {
    let bytes = |layer: &LayerHalo| {
        let all = (0..grid.len()).flat_map(|to| grid.received(to, layer.scale, layer.reach));
        all.map(|transfer| transfer.region.volume() as u64 * layer.bytes_per_cell).sum::<u64>()
    };
    layers.iter().map(bytes).sum()
}

fn largest(grid: &ShardGrid) -> u128 {
    (0..grid.len()).map(|index| grid.shard(index).unwrap().core.volume()).max().unwrap()
}

fn coarsened(grid: &ShardGrid, requested: u32) -> Notice {
    let Axes { time: slices, height: rows, width: cols } = grid.shards();
    Notice::ShardsCoarsened { requested, slices, rows, cols }
}

proptest! {
    #[test]
    fn halo_bytes_are_those_of_all_transfers(grid in any_shards(), layers in layers()) {
        prop_assert_eq!(grid.halo_bytes(&layers), bytes_received(&grid, &layers));
        for layer in &layers {
            let fits = grid_fits(grid.latents(), grid.shards(), &[*layer]);
            prop_assert_eq!(grid.fits(layer.scale, layer.reach), fits);
        }
    }

    #[test]
    fn an_explicit_grid_is_coarsened_no_more_than_it_must(
        latents in (1u32..=20, 1u32..=20, 1u32..=20), shards in (1u32..=24, 1u32..=24, 1u32..=24),
        layers in layers(),
    ) {
        let latents = Size::video(latents.0, latents.1, latents.2);
        let asked = Axes::new(shards.0, shards.1, shards.2);
        let (grid, notice) = ShardGrid::fit(latents, asked, 8, &layers).unwrap();
        for axis in Axis::ALL {
            let most = (1..=asked[axis]).rev().find(|&count| {
                let mut shards = Axes::new(1, 1, 1);
                shards[axis] = count;
                grid_fits(latents, shards, &layers)
            });
            prop_assert_eq!(Some(grid.shards()[axis]), most);
        }
        prop_assert!(layers.iter().all(|layer| grid.fits(layer.scale, layer.reach)));
        let requested = asked.time * asked.height * asked.width;
        let expected = (grid.shards() != asked).then(|| coarsened(&grid, requested));
        prop_assert_eq!(notice, expected);
        prop_assert_eq!(ShardGrid::of(latents, grid.shards(), 8), Ok(grid));
    }

    #[test]
    fn the_chosen_grid_is_the_best(
        frames in prop_oneof![Just(1), 1u32..=7], height in 1u32..=10, width in 1u32..=10,
        shards in 1u32..=30, layers in layers(),
    ) {
        let latents = Size::video(frames, height, width);
        let (grid, notice) = ShardGrid::choose(latents, shards, 8, &layers).unwrap();
        let grids = |count: u32| {
            let all = (1..=count).flat_map(move |slices| (1..=count).map(move |rows| (slices, rows)));
            all.filter(move |(slices, rows)| count.is_multiple_of(slices * rows))
                .map(move |(slices, rows)| Axes::new(slices, rows, count / (slices * rows)))
        };
        let best = (1..=shards).rev().find_map(|count| {
            grids(count)
                .filter(|&shards| grid_fits(latents, shards, &layers))
                .map(|shards| ShardGrid::of(latents, shards, 8).unwrap())
                .min_by_key(|grid| {
                    (bytes_received(grid, &layers), largest(grid), grid.cols(), grid.rows())
                })
        });
        prop_assert_eq!(Some(grid), best);
        let expected = (grid.len() != shards).then(|| coarsened(&grid, shards));
        prop_assert_eq!(notice, expected);
    }
}

/// Two bands of 3 cells are 1 and 2 long: the second can lend 2 cells, the first cannot.
#[test]
fn uneven_bands_lend_what_they_have() {
    let grid = ShardGrid::new(Size::new(3, 1), 2, 1, 8).unwrap();
    assert!(grid.fits(1, Margins { bottom: 2, ..Margins::NONE }));
    assert!(!grid.fits(1, Margins { top: 2, ..Margins::NONE }));
    assert!(grid.fits(2, Margins { top: 2, ..Margins::NONE }));
}

#[test]
fn the_most_shards() {
    let latents = Size::new(2000, 2000);
    let grid = ShardGrid::new(latents, 1024, 1024, 1).unwrap();
    assert_eq!((MAX_SHARDS, grid.len()), (1_048_576, 1_048_576));
    let reach = Margins { top: 1, ..Margins::NONE };
    let bytes =
        |bytes_per_cell| grid.halo_bytes(&[LayerHalo { scale: 2.into(), reach, bytes_per_cell }]);
    assert_eq!((bytes(3), bytes(u64::MAX)), (1023 * 4000 * 3, u64::MAX));
    let expected = PlanError::TooManyShards { slices: 1, rows: 1024, cols: 1025, max: MAX_SHARDS };
    assert_eq!(ShardGrid::new(latents, 1024, 1025, 1), Err(expected));
}

/// A cut through time exchanges frames, a cut through columns a side of each frame: which of them is
/// less depends on whether there are more frames or more columns.
#[test]
fn long_videos_are_cut_in_time() {
    let reach = Margins { past: 2, ..Margins::of_frame([1; 4]) };
    let scale = Scale::video(TimeScale::first_alone(4), 8);
    let layers = [LayerHalo { scale, reach, bytes_per_cell: 2 }];
    let chosen = |frames| {
        let latents = Size::video(frames, 60, 104);
        ShardGrid::choose(latents, 2, scale, &layers).unwrap().0.shards()
    };
    assert_eq!(chosen(1), Axes::new(1, 1, 2));
    assert_eq!(chosen(21), Axes::new(1, 1, 2));
    assert_eq!(chosen(241), Axes::new(2, 1, 1));
}
