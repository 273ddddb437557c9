//! Grids of shards, and what shards send each other.

use halovae_core::{Axes, LayerHalo, Margins, Plan, Region, Scale, ShardGrid, Size};

use crate::LOOKED_AT;
use crate::input::{Extent, Input};
use crate::plan::check;

/// Grids of shards: bands that hold their halos, and transfers that both sides agree on.
pub(crate) fn shards(size: Size, scale: Scale, input: &Input) {
    let [top, bottom, left, right, ..] = input.factors.map(Extent::get);
    let [past, future] = input.time.map_or([0; 2], |time| time.past_and_future.map(Extent::get));
    let reach = Margins { past, future, ..Margins::of_frame([top, bottom, left, right]) };
    let layer = LayerHalo { scale: input.layer_scale(), reach, bytes_per_cell: input.bytes[0] };
    let [rows, cols] = input.patch_tile.map(Extent::get);
    let slices = input.time.map_or(1, |time| time.slices.get());
    let fit = ShardGrid::fit(size, Axes::new(slices, rows, cols), scale, &[layer]);
    let chosen = ShardGrid::choose(size, input.ranks.get(), scale, &[layer]);
    for grid in [fit, chosen] {
        let Ok((grid, _)) = grid else { continue };
        assert!(grid.fits(layer.scale, reach), "{grid:?}");
        // Along an axis the longest band is less than twice the mean.
        assert!((0.999_999..8.0).contains(&grid.imbalance()), "{grid:?}");
        check(&Plan::sharded(grid), scale, input);
        // Cells of other laws may leave u32 although the output's do not.
        let Some(whole) = layer.scale.layer(size) else { continue };
        let index = (input.at % u64::from(grid.len())) as u32;
        halo(&grid, index, layer);
        if u64::from(grid.len()) <= LOOKED_AT {
            let owned = (0..grid.len()).map(|index| grid.part(index, layer.scale).volume());
            assert_eq!(owned.sum::<u128>(), whole.volume());
            let received = (0..grid.len()).map(|index| halo(&grid, index, layer));
            let bytes = received.sum::<u128>().saturating_mul(layer.bytes_per_cell.into());
            assert_eq!(grid.halo_bytes(&[layer]), u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}

/// What a shard receives of a layer fills the box around its part, and nothing twice. How many
/// cells that is.
fn halo(grid: &ShardGrid, index: u32, LayerHalo { scale, reach, .. }: LayerHalo) -> u128 {
    let (part, margins) = (grid.part(index, scale), grid.margins(index, scale, reach));
    let framed = Axes::from_fn(|axis| {
        let ((start, len), [before, behind]) = (part.span(axis), margins.along(axis));
        (start - before, before + len + behind)
    });
    let framed = Region::from_spans(framed);
    let received: Vec<_> = grid.received(index, scale, reach).collect();
    assert!(received.len() <= 26);
    assert!(received.is_sorted_by(|a, b| a.from < b.from), "{received:?}");
    let mut cells = 0;
    for (at, transfer) in received.iter().enumerate() {
        assert!(transfer.to == index && transfer.from != index, "{transfer:?}");
        assert!(grid.part(transfer.from, scale).contains(transfer.region), "{transfer:?}");
        assert!(framed.contains(transfer.region), "{transfer:?}");
        let twice = |other: Region| transfer.region.intersect(other).is_some();
        assert!(!twice(part) && !received[..at].iter().any(|other| twice(other.region)));
        assert!(grid.sent(transfer.from, scale, reach).any(|sent| sent == *transfer));
        cells += transfer.region.volume();
    }
    assert_eq!(part.volume() + cells, framed.volume(), "{part:?} in {framed:?}: {received:?}");
    cells
}
