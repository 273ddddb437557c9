//! The only place where flags meet the planner: from flags and a config to a plan and notices.

use halovae_core::{
    Axes, Direction, DitParallel, LayerHalo, PatchGrid, Plan, PlanError, Request, Scale, ShardGrid,
    Size, Strategy, TileGrid, Tiling, choose_strategy,
};
use halovae_engine::shard::{self, UncutError};

use crate::args::{GroupArgs, RankArgs, ShardGridArg, StrategyArg};
use crate::error::Error;
use crate::notices::Notice;
use crate::plan::tiles::TileOptions;
use crate::words::extents;

/// More pieces than a decode or a reader can use; bounds the memory of lists of them.
const MAX_PIECES: u64 = 1 << 22;

/// More ranks than there are machines; bounds the memory of lists of them.
const MAX_RANKS: u32 = halovae_core::MAX_PATCH_RANKS;

/// More shards than are of any use on one rank; bounds the time of going through them all.
const MAX_SHARDS_A_RANK: u32 = 1024;

/// A plan and how it came about.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: Plan,
    /// `vae_patch_parallel_size` as asked for.
    pub(crate) requested: u32,
    /// The ranks that there are.
    pub(crate) group: u32,
    /// The ranks that decode.
    pub(crate) ranks: u32,
    /// How pixels lie on latent cells.
    pub(crate) scale: Scale,
    /// What differs from the request.
    pub(crate) notices: Vec<Notice>,
}

/// How a decode is to be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutRequest {
    /// `vae_patch_parallel_size`.
    pub(crate) ranks: u32,
    /// `vae_use_tiling`.
    pub(crate) use_tiling: bool,
    /// The strategy, unless the planner chooses it.
    pub(crate) strategy: Option<Strategy>,
    /// Slices, rows and columns of shards, unless the planner chooses them.
    pub(crate) shard_grid: Option<Axes<u32>>,
}

impl CutRequest {
    /// A strategy over so many ranks.
    pub(crate) fn of(strategy: Strategy, ranks: u32) -> Self {
        let use_tiling = strategy == Strategy::Tiled;
        Self { ranks, use_tiling, strategy: Some(strategy), shard_grid: None }
    }

    /// What flags ask for; `ranks` where they do not say how many.
    pub(crate) fn new(args: &RankArgs, ranks: u32) -> Self {
        Self {
            ranks: args.vae_patch_parallel_size.unwrap_or(ranks),
            use_tiling: args.vae_use_tiling,
            strategy: match args.strategy {
                StrategyArg::Auto => None,
                StrategyArg::Whole => Some(Strategy::Whole),
                StrategyArg::Tiled => Some(Strategy::Tiled),
                StrategyArg::Patch => Some(Strategy::Patch),
                StrategyArg::Sharded => Some(Strategy::Sharded),
            },
            shard_grid: match args.shard_grid {
                ShardGridArg::Auto => None,
                ShardGridArg::Given { slices, rows, cols } => Some(Axes::new(slices, rows, cols)),
            },
        }
    }
}

/// The ranks that exist: the product of the transformer's parallel sizes if any is given, else as
/// many as are asked for.
pub(crate) fn group_size(group: &GroupArgs, requested: u32) -> Result<u32, PlanError> {
    let sizes = [
        group.data_parallel_size,
        group.cfg_parallel_size,
        group.ulysses_degree,
        group.ring_degree,
        group.pipeline_parallel_size,
        group.tensor_parallel_size,
    ];
    if sizes.iter().all(Option::is_none) {
        return Ok(requested);
    }
    let [data, cfg, ulysses, ring, pipeline, tensor] = sizes.map(|size| size.unwrap_or(1));
    DitParallel { data, cfg, ulysses, ring, pipeline, tensor }.size()
}

/// Makes the plan for a batch of `images`, at least one. `layers` are those that shards exchange,
/// unless there can be none; without a decoder nothing is exchanged, and every grid costs the same.
///
/// # Errors
/// [`Error::Plan`] where the planner refuses; [`Error::Usage`] for flags that do not go together;
/// [`Error::Uncut`] for shards of what cannot be cut.
pub(crate) fn plan(
    latents: Size,
    images: u32,
    request: &CutRequest,
    group: u32,
    options: &TileOptions,
    tiling: &Tiling,
    layers: Result<&[LayerHalo], &UncutError>,
) -> Result<Planned, Error> {
    let CutRequest { ranks: requested, use_tiling, strategy, shard_grid } = *request;
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
        return Err(Error::Usage("--shard-grid needs --strategy sharded".into()));
    }
    if options.is_given() && strategy != Strategy::Tiled {
        // Tiles that cannot be are wrong also where this strategy does not come to use them.
        TileGrid::new(Direction::Decode, latents, tiling)?;
    }
    let is_in_vain = match strategy {
        Strategy::Tiled => false,
        // Patches take their margins from the tiles of rows and columns.
        Strategy::Patch => options.time_flag().is_some(),
        Strategy::Whole | Strategy::Sharded => options.is_more_than_a_size(),
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
                return Err(Error::Usage(format!(
                    "{} shards on {} rank(s), at most {MAX_SHARDS_A_RANK} a rank take turns; use \
                     a coarser --shard-grid or more ranks",
                    grid.len(),
                    resolved.ranks
                )));
            }
            notices.extend(notice.map(|notice| match shard_grid {
                None => Notice::Planner(notice),
                Some(asked) => Notice::GridCoarsened { asked, taken: grid.shards() },
            }));
            Plan::sharded(grid)
        }
    };
    if plan.piece_count() > MAX_PIECES {
        return Err(Error::Usage(format!(
            "the latents of {} cells make {} pieces, at most {MAX_PIECES} are planned; use larger \
             tiles",
            extents(latents),
            plan.piece_count()
        )));
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
    use super::*;
    use crate::args::Pair;

    fn ranks(ranks: u32, use_tiling: bool, strategy: Option<Strategy>) -> CutRequest {
        CutRequest { ranks, use_tiling, strategy, shard_grid: None }
    }

    fn planned(latents: Size, request: &CutRequest, tile: u32) -> Result<Planned, Error> {
        let options = TileOptions {
            sample_min_size: Some(Pair { height: tile, width: tile }),
            ..TileOptions::default()
        };
        let tiling = options.tiling(None, 8)?;
        plan(latents, 1, request, request.ranks, &options, &tiling, Ok(&[]))
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
        let patch = planned(latents, &CutRequest::of(Strategy::Patch, 4), 256).unwrap();
        assert_eq!(patch.plan.piece_count(), 4);
    }

    #[test]
    fn shards_are_asked_for() {
        let latents = Size::new(32, 20);
        let sharded = CutRequest::of(Strategy::Sharded, 4);
        let shards = |request: &CutRequest| {
            let planned = planned(latents, request, 256).unwrap();
            let Plan::Sharded(grid) = planned.plan else { panic!("{:?}", planned.plan) };
            (grid.rows(), grid.cols(), planned.ranks, planned.notices.len())
        };
        let auto = shards(&sharded);
        assert_eq!((auto.0 * auto.1, auto.2, auto.3), (4, 4, 0));
        // Without a decoder nothing is known to be exchanged, but bands of no cell there are not.
        let given = |rows, cols, size| CutRequest {
            shard_grid: Some(Axes::new(1, rows, cols)),
            ..CutRequest::of(Strategy::Sharded, size)
        };
        assert_eq!(shards(&given(2, 3, 1)), (2, 3, 1, 0));
        assert_eq!(shards(&given(1, 21, 1)), (1, 20, 1, 1));
        assert_eq!(shards(&given(1, 2, 3)), (1, 2, 2, 1));
        let tiled = CutRequest { strategy: Some(Strategy::Tiled), ..given(2, 2, 4) };
        assert!(matches!(planned(latents, &tiled, 256), Err(Error::Usage(_))));
    }

    #[test]
    fn a_batch_keeps_ranks_busy() {
        let ranks = ranks(4, false, Some(Strategy::Whole));
        let options = TileOptions {
            sample_min_size: Some(Pair { height: 256, width: 256 }),
            ..TileOptions::default()
        };
        let tiling = options.tiling(None, 8).unwrap();
        let of = |images| {
            let planned =
                plan(Size::new(32, 32), images, &ranks, 4, &options, &tiling, Ok(&[])).unwrap();
            (planned.ranks, planned.notices)
        };
        assert_eq!(of(3), (3, vec![Notice::IdleRanks { ranks: 4, pieces: 3 }]));
        assert_eq!(of(5), (4, vec![]));
    }

    #[test]
    fn tiles_that_cannot_be_are_refused_even_where_nothing_is_tiled() {
        let latents = Size::new(32, 32);
        let whole = ranks(1, false, None);
        assert!(matches!(planned(latents, &whole, 100), Err(Error::Plan(_))));
        assert!(matches!(planned(latents, &whole, 0), Err(Error::Usage(_))));
        assert!(matches!(planned(latents, &whole, 7), Err(Error::Usage(_))));
        assert!(matches!(
            planned(latents, &ranks(0, false, None), 256),
            Err(Error::Plan(PlanError::Zero { name: "vae_patch_parallel_size" }))
        ));
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_listed() {
        let latents = Size::new(1 << 28, 1 << 28);
        assert!(matches!(planned(latents, &ranks(1, true, None), 64), Err(Error::Usage(_))));
        assert!(matches!(
            planned(Size::new(64, 64), &ranks(u32::MAX, true, None), 256),
            Err(Error::Plan(PlanError::TooManyRanks { .. }))
        ));
        assert!(matches!(
            planned(Size::new(u32::MAX, 1), &ranks(1, false, None), 256),
            Err(Error::Plan(PlanError::OutputTooLarge { .. }))
        ));
    }

    #[test]
    fn the_group_is_the_product_of_what_is_given() {
        let none = GroupArgs {
            data_parallel_size: None,
            cfg_parallel_size: None,
            ulysses_degree: None,
            ring_degree: None,
            pipeline_parallel_size: None,
            tensor_parallel_size: None,
        };
        assert_eq!(group_size(&none, 7), Ok(7));
        let some = GroupArgs { cfg_parallel_size: Some(2), ulysses_degree: Some(3), ..none };
        assert_eq!(group_size(&some, 7), Ok(6));
    }
}
