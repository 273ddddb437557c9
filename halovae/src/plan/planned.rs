//! The only place where options meet the planner: from options and a config to a plan and notices.

use halovae_core::{
    Direction, LayerHalo, PatchGrid, Plan, PlanError, Request, Scale, ShardGrid, Size, Strategy,
    TileGrid, Tiling, choose_strategy,
};
use halovae_engine::shard::{self, UncutError};

use crate::error::Error;
use crate::notice::Notice;
use crate::options::{CutOptions, OptionError};
use crate::words::extents;

/// More pieces than a decode or a reader can use; bounds the memory of lists of them.
const MAX_PIECES: u64 = 1 << 22;

/// More ranks than there are machines; bounds the memory of lists of them.
const MAX_RANKS: u32 = halovae_core::MAX_PATCH_RANKS;

/// More shards than are of any use on one rank; bounds the time of going through them all.
const MAX_SHARDS_A_RANK: u32 = 1024;

/// A plan and how it came about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// `vae_patch_parallel_size` as asked for.
    pub requested: u32,
    /// The ranks that there are.
    pub group: u32,
    /// The ranks that decode.
    pub ranks: u32,
    /// How pixels lie on latent cells.
    pub scale: Scale,
    /// What differs from the request.
    pub notices: Vec<Notice>,
}

impl Planned {
    /// A plan that is decoded by so many ranks, without anything to be told of it.
    pub fn new(plan: Plan, ranks: u32, scale: Scale) -> Self {
        Self { plan, requested: ranks, group: ranks, ranks, scale, notices: Vec::new() }
    }
}

/// Makes the plan for a batch of `images`, at least one. `layers` are those that shards exchange,
/// unless there can be none; without a decoder nothing is exchanged, and every grid costs the same.
///
/// # Errors
/// [`Error::Plan`] where the planner refuses; [`Error::Option`] for options that do not go together;
/// [`Error::Uncut`] for shards of what cannot be cut.
pub(crate) fn plan(
    latents: Size,
    images: u32,
    cut: &CutOptions,
    group: u32,
    tiling: &Tiling,
    layers: Result<&[LayerHalo], &UncutError>,
) -> Result<Planned, Error> {
    let CutOptions { vae_use_tiling: use_tiling, strategy, shard_grid, tiles: options, .. } = *cut;
    let requested = cut.vae_patch_parallel_size.unwrap_or(1);
    let asked = Request {
        vae_patch_parallel_size: requested,
        group_size: if requested == 0 { 1 } else { group },
        use_tiling,
        parallel_supported: true,
    };
    let resolved = asked.resolve()?;
    let scale = tiling.scale;
    let mut notices: Vec<Notice> = resolved.notices.iter().map(Notice::Planner).collect();
    if strategy.is_some() {
        // With a strategy that the user named, tiling was not switched on for them.
        notices.retain(|notice| !notice.is_tiling_switched_on());
    }
    let strategy = match strategy {
        Some(strategy) => strategy,
        None => {
            let triggers = tiling.triggers(Direction::Decode, latents);
            let chosen = choose_strategy(resolved.ranks, resolved.use_tiling, triggers);
            if chosen == Strategy::Patch {
                // That tiling is on changes nothing then.
                notices.retain(|notice| !notice.is_tiling_switched_on());
                notices.push(Notice::PatchPicked { ranks: resolved.ranks });
            }
            chosen
        }
    };
    if shard_grid.is_some() && strategy != Strategy::Sharded {
        return Err(OptionError::needs("shard_grid", ["strategy", "sharded"]).into());
    }
    if options.is_given() && strategy != Strategy::Tiled {
        // Tiles that cannot be are wrong also where this strategy does not come to use them.
        TileGrid::new(Direction::Decode, latents, tiling)?;
    }
    let is_in_vain = match strategy {
        Strategy::Tiled => false,
        // Patches take their margins from the tiles of rows and columns.
        Strategy::Patch => options.time_option().is_some(),
        Strategy::Whole | Strategy::Sharded => options.is_given(),
    };
    if is_in_vain && !use_tiling {
        notices.push(Notice::NotTiled { strategy });
    }
    let plan = match strategy {
        Strategy::Whole => Plan::whole(latents, scale)?,
        Strategy::Tiled => Plan::tiled(TileGrid::new(Direction::Decode, latents, tiling)?),
        Strategy::Patch => Plan::patch(PatchGrid::like(latents, resolved.ranks, tiling)?),
        Strategy::Sharded => {
            let layers = layers.map_err(UncutError::clone)?;
            let (grid, notice) = match shard_grid {
                None => shard::choose(latents, resolved.ranks, scale, layers)?,
                Some(shards) => ShardGrid::fit(latents, shards, scale, layers)?,
            };
            if grid.len() / resolved.ranks.min(grid.len()) > MAX_SHARDS_A_RANK {
                let (shards, ranks) = (grid.len(), resolved.ranks);
                let max = MAX_SHARDS_A_RANK;
                return Err(OptionError::ShardsOnRanks { shards, ranks, max }.into());
            }
            notices.extend(notice.map(|notice| match shard_grid {
                None => Notice::Planner(notice),
                Some(asked) => Notice::GridCoarsened { asked, taken: grid.shards() },
            }));
            Plan::sharded(grid)
        }
    };
    if plan.piece_count() > MAX_PIECES {
        let (latents, pieces) = (extents(latents), plan.piece_count());
        return Err(OptionError::Pieces { latents, pieces, max: MAX_PIECES }.into());
    }
    let most = resolved.ranks;
    if most > MAX_RANKS {
        return Err(PlanError::TooManyRanks { ranks: most, max: MAX_RANKS }.into());
    }
    let ranks = plan.busy_ranks(images, most);
    if ranks < most {
        // Each of them has one.
        notices.push(Notice::IdleRanks { ranks: most, pieces: ranks.into() });
    }
    Ok(Planned { plan, requested, group, ranks, scale, notices })
}

#[cfg(test)]
mod tests {
    use halovae_core::Axes;

    use super::*;
    use crate::options::TileOptions;

    fn ranks(ranks: u32, vae_use_tiling: bool, strategy: Option<Strategy>) -> CutOptions {
        let vae_patch_parallel_size = Some(ranks);
        CutOptions { vae_patch_parallel_size, vae_use_tiling, strategy, ..CutOptions::default() }
    }

    fn planned_images(
        latents: Size,
        images: u32,
        cut: &CutOptions,
        tile: u32,
    ) -> Result<Planned, Error> {
        let tile_sample_min_size = Some([tile; 2]);
        let tiles = TileOptions { tile_sample_min_size, ..TileOptions::default() };
        let tiling = tiles.tiling(None, 8)?;
        let group = cut.vae_patch_parallel_size.unwrap();
        // The tiles are the model's own.
        plan(latents, images, cut, group, &tiling, Ok(&[]))
    }

    fn planned(latents: Size, cut: &CutOptions, tile: u32) -> Result<Planned, Error> {
        planned_images(latents, 1, cut, tile)
    }

    #[test]
    fn auto_follows_the_guide() {
        let strategy = |size, tiling, extent| {
            let ranks = ranks(size, tiling, None);
            planned(Size::new(extent, extent), &ranks, 256).unwrap().plan.strategy()
        };
        assert_eq!(strategy(1, false, 64), Strategy::Whole);
        assert_eq!(strategy(1, true, 64), Strategy::Tiled);
        assert_eq!(strategy(1, true, 32), Strategy::Whole);
        assert_eq!(strategy(4, false, 64), Strategy::Tiled);
        assert_eq!(strategy(4, false, 32), Strategy::Patch);
    }

    #[test]
    fn tiles_that_are_asked_for_in_vain_are_told() {
        let latents = Size::new(32, 32);
        let tiling = TileOptions { tile_sample_min_size: Some([256; 2]), ..TileOptions::default() };
        let notices = |strategy, tiles: TileOptions| {
            let cut = CutOptions { tiles, ..CutOptions::of(strategy, 1) };
            let tiling = tiling.tiling(None, 8).unwrap();
            plan(latents, 1, &cut, 1, &tiling, Ok(&[])).unwrap().notices
        };
        for strategy in [Strategy::Whole, Strategy::Sharded] {
            assert_eq!(notices(strategy, tiling), [Notice::NotTiled { strategy }]);
            assert_eq!(notices(strategy, TileOptions::default()), []);
        }
        assert_eq!(notices(Strategy::Tiled, tiling), []);
        assert_eq!(notices(Strategy::Patch, tiling), []);
    }

    #[test]
    fn a_picked_patch_is_told() {
        let picked = |size, strategy, extent| {
            let ranks = ranks(size, true, strategy);
            let notices = planned(Size::new(extent, extent), &ranks, 256).unwrap().notices;
            notices.contains(&Notice::PatchPicked { ranks: size })
        };
        assert!(picked(4, None, 32));
        // A strategy that the user named is not told; tiles and whole decodes are others.
        assert!(!picked(4, Some(Strategy::Patch), 32));
        assert!(!picked(4, None, 64));
        assert!(!picked(1, None, 32));
    }

    #[test]
    fn a_named_strategy_is_taken() {
        let latents = Size::new(32, 32);
        let tiled = planned(latents, &ranks(4, false, Some(Strategy::Tiled)), 256).unwrap();
        assert_eq!(tiled.plan.strategy(), Strategy::Tiled);
        assert_eq!(tiled.ranks, 4);
        let whole = planned(latents, &ranks(4, true, Some(Strategy::Whole)), 256).unwrap();
        assert_eq!((whole.plan.piece_count(), whole.ranks), (1, 1));
        assert_eq!(whole.notices, [Notice::IdleRanks { ranks: 4, pieces: 1 }]);
        let patch = planned(latents, &CutOptions::of(Strategy::Patch, 4), 256).unwrap();
        assert_eq!(patch.plan.piece_count(), 4);
    }

    #[test]
    fn shards_are_asked_for() {
        let latents = Size::new(32, 20);
        let sharded = CutOptions::of(Strategy::Sharded, 4);
        let shards = |request: &CutOptions| {
            let planned = planned(latents, request, 256).unwrap();
            let Plan::Sharded(grid) = planned.plan else { panic!("{:?}", planned.plan) };
            (grid.rows(), grid.cols(), planned.ranks, planned.notices.len())
        };
        let auto = shards(&sharded);
        assert_eq!((auto.0 * auto.1, auto.2, auto.3), (4, 4, 0));
        // Without a decoder nothing is known to be exchanged, but bands of no cell there are not.
        let given = |rows, cols, size| CutOptions {
            shard_grid: Some(Axes::new(1, rows, cols)),
            ..CutOptions::of(Strategy::Sharded, size)
        };
        assert_eq!(shards(&given(2, 3, 1)), (2, 3, 1, 0));
        assert_eq!(shards(&given(1, 21, 1)), (1, 20, 1, 1));
        assert_eq!(shards(&given(1, 2, 3)), (1, 2, 2, 1));
        let tiled = CutOptions { strategy: Some(Strategy::Tiled), ..given(2, 2, 4) };
        assert!(matches!(planned(latents, &tiled, 256), Err(Error::Option(_))));
    }

    #[test]
    fn a_batch_keeps_ranks_busy() {
        let ranks = ranks(4, false, Some(Strategy::Whole));
        let of = |images| {
            let planned = planned_images(Size::new(32, 32), images, &ranks, 256).unwrap();
            (planned.ranks, planned.notices)
        };
        assert_eq!(of(3), (3, vec![Notice::IdleRanks { ranks: 4, pieces: 3 }]));
        assert_eq!(of(5), (4, vec![]));
    }

    #[test]
    fn tiles_that_cannot_be_are_refused_even_where_nothing_is_tiled() {
        let latents = Size::new(32, 32);
        let whole = |tile: u32| {
            let tile_sample_min_size = Some([tile; 2]);
            let tiles = TileOptions { tile_sample_min_size, ..TileOptions::default() };
            planned(latents, &CutOptions { tiles, ..ranks(1, false, None) }, tile)
        };
        assert!(matches!(whole(100), Err(Error::Plan(_))));
        assert!(matches!(whole(0), Err(Error::Option(_))));
        assert!(matches!(whole(7), Err(Error::Option(_))));
        assert!(matches!(
            planned(latents, &ranks(0, false, None), 256),
            Err(Error::Plan(PlanError::Zero { name: "vae_patch_parallel_size" }))
        ));
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_listed() {
        let latents = Size::new(1 << 28, 1 << 28);
        assert!(matches!(planned(latents, &ranks(1, true, None), 64), Err(Error::Option(_))));
        assert!(matches!(
            planned(Size::new(64, 64), &ranks(u32::MAX, true, None), 256),
            Err(Error::Plan(PlanError::TooManyRanks { .. }))
        ));
        assert!(matches!(
            planned(Size::new(u32::MAX, 1), &ranks(1, false, None), 256),
            Err(Error::Plan(PlanError::OutputTooLarge { .. }))
        ));
    }
}
