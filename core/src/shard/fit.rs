//! Grids whose bands are as thick as the halos that are fetched from them.

use super::{LayerHalo, MAX_SHARDS, ShardGrid, check_shards, shards_of};
use crate::error::nonzero;
use crate::{Axes, Axis, Margins, Notice, PlanError, Scale, Size};

impl ShardGrid {
    /// A grid of so many shards along each axis, made coarser along each axis for itself until no
    /// band is thinner than a halo that is fetched from it; then with a notice.
    ///
    /// # Errors
    /// Those of [`ShardGrid::of`], but for bands, which are made fewer. The notice's `requested`
    /// stops at `u32::MAX`.
    pub fn fit(
        latents: Size,
        shards: Axes<u32>,
        scale: impl Into<Scale>,
        layers: &[LayerHalo],
    ) -> Result<(Self, Option<Notice>), PlanError> {
        let scale = scale.into();
        check_shards(shards)?;
        Self::new(latents, 1, 1, scale)?;
        let fitting =
            Axes::from_fn(|axis| shards[axis].min(most_bands(axis, latents.along(axis), layers)));
        let grid = Self::of(latents, fitting, scale)?;
        let requested = u32::try_from(shards_of(shards)).unwrap_or(u32::MAX);
        Ok((grid, (fitting != shards).then(|| grid.coarsened(requested))))
    }

    /// Of all grids of `shards` shards that fit, the one with the least exchanged bytes, of those
    /// the one whose largest shard is smallest, of those the one with the fewest columns, of those
    /// the one with the fewest rows. If none fits, the same for the largest number of shards below
    /// for which one does, with a notice; a single shard always fits.
    ///
    /// # Errors
    /// [`PlanError::Zero`], and those of [`ShardGrid::of`] for a single shard.
    pub fn choose(
        latents: Size,
        shards: u32,
        scale: impl Into<Scale>,
        layers: &[LayerHalo],
    ) -> Result<(Self, Option<Notice>), PlanError> {
        let scale = scale.into();
        nonzero("shards", shards)?;
        let single = Self::new(latents, 1, 1, scale)?;
        let most = Axes::from_fn(|axis| most_bands(axis, latents.along(axis), layers));
        let best = |count: u32| {
            factors(count)
                .filter(|shards| Axis::ALL.into_iter().all(|axis| shards[axis] <= most[axis]))
                .filter_map(|shards| Self::of(latents, shards, scale).ok())
                .min_by_key(|grid| {
                    (grid.halo_bytes(layers), grid.largest(), grid.cols(), grid.rows())
                })
        };
        let possible = u32::try_from(shards_of(most)).unwrap_or(u32::MAX);
        let grid =
            (1..=shards.min(possible).min(MAX_SHARDS)).rev().find_map(best).unwrap_or(single);
        Ok((grid, (grid.len() != shards).then(|| grid.coarsened(shards))))
    }

    fn coarsened(&self, requested: u32) -> Notice {
        let Axes { time: slices, height: rows, width: cols } = self.shards();
        Notice::ShardsCoarsened { requested, slices, rows, cols }
    }

    /// Whether every halo of such a layer lies within the direct neighbours: no band is thinner than
    /// what is fetched from it. In time the first band may be: it lends all frames that there are.
    pub fn fits(&self, scale: impl Into<Scale>, reach: Margins) -> bool {
        let layers = [LayerHalo { scale: scale.into(), reach, bytes_per_cell: 0 }];
        let latents = self.latents();
        Axis::ALL
            .into_iter()
            .all(|axis| self.shards()[axis] <= most_bands(axis, latents.along(axis), &layers))
    }
}

/// Into how many bands an axis can be cut without any of them being empty, or thinner than a halo
/// that is fetched from it; an axis that is not cut has no halo.
fn most_bands(axis: Axis, extent: u32, layers: &[LayerHalo]) -> u32 {
    // Of `n` bands all but the last lend cells to the next, and the thinnest of them is the first,
    // with floor(extent / n) latent cells. All but the first lend cells to the previous one, and
    // the thinnest of these has floor((extent + 1) / n). Both decrease with `n`. In time the first
    // one may be too thin, and the thinnest of those between the first and the last, of which there
    // is none where two bands are enough, has floor((extent + 1) / n) too.
    let most = |cells: u64, reach: u32, factor: u32| match (reach, factor) {
        (0, _) => u64::from(extent),
        // A layer without cells has no room for any halo.
        (_, 0) => 1,
        _ => cells / u64::from(reach.div_ceil(factor)),
    };
    let cells = u64::from(extent);
    let fitting = layers.iter().map(|layer| {
        let (factor, [before, behind]) = (layer.scale.along(axis).factor, layer.reach.along(axis));
        let forward = match axis {
            Axis::Time => most(cells + 1, before, factor).max(2),
            Axis::Height | Axis::Width => most(cells, before, factor),
        };
        forward.min(most(cells + 1, behind, factor))
    });
    // No more than `extent`, which is u32.
    fitting.fold(cells, u64::min).max(1) as u32
}

/// The ways to write `number`, which is at least 1, as a product of three, in no particular order.
fn factors(number: u32) -> impl Iterator<Item = Axes<u32>> {
    divisors(number).flat_map(move |slices| {
        let frame = number / slices;
        divisors(frame).map(move |rows| Axes::new(slices, rows, frame / rows))
    })
}

/// The divisors of `number`, which is at least 1, in no particular order.
fn divisors(number: u32) -> impl Iterator<Item = u32> {
    (1..=number.isqrt()).filter(move |&small| number.is_multiple_of(small)).flat_map(move |small| {
        let large = number / small;
        core::iter::once(small).chain((large != small).then_some(large))
    })
}
