//! The only place where flags meet the planner: from flags and a config to a plan and notices.

use halovae_core::{
    Axes, AxisTiling, Direction, DitParallel, LayerHalo, PatchGrid, Plan, PlanError, Request,
    Scale, ShardGrid, Size, Strategy, TileGrid, Tiling, TimeScale, choose_strategy,
};
use halovae_engine::shard::{self, UncutError};

use crate::args::{GroupArgs, Pair, PlanArgs, RankArgs, ShardGridArg, StrategyArg, TileArgs};
use crate::error::Error;
use crate::notices::Notice;
use crate::words::{extents, frames_per_latent};

/// Of every model whose tiles are given by an overlap factor, and where there is no model.
const DEFAULT_OVERLAP_FACTOR: f64 = 0.25;

/// More pieces than anybody decodes or looks at; bounds the memory of lists of them.
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

/// Tiles as asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TileOptions {
    sample_min_size: Option<Pair<u32>>,
    latent_min_size: Option<Pair<u32>>,
    overlap_factor: Option<Pair<f64>>,
    sample_stride: Option<Pair<u32>>,
}

impl From<&TileArgs> for TileOptions {
    fn from(args: &TileArgs) -> Self {
        Self {
            sample_min_size: args.tile_sample_min_size,
            latent_min_size: None,
            overlap_factor: args.tile_overlap_factor,
            sample_stride: args.tile_sample_stride,
        }
    }
}

impl From<&PlanArgs> for TileOptions {
    fn from(args: &PlanArgs) -> Self {
        Self { latent_min_size: args.tile_latent_min_size, ..Self::from(&args.tiles) }
    }
}

impl TileOptions {
    /// Whether anything is not as the model has it.
    fn is_given(&self) -> bool {
        self.sample_min_size.is_some()
            || self.latent_min_size.is_some()
            || self.overlap_factor.is_some()
            || self.sample_stride.is_some()
    }

    /// The tiles: flags first, then the model's own.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tile of less than a latent cell, or without any size.
    pub(crate) fn tiling(&self, own: Option<&Tiling>, scale: u32) -> Result<Tiling, Error> {
        if scale == 0 {
            return Err(PlanError::Zero { name: "scale" }.into());
        }
        if let Some(Pair { height, width }) = self.sample_min_size
            && [height, width].iter().any(|&pixels| pixels > 0 && pixels < scale)
        {
            return Err(Error::Usage(format!(
                "--tile-sample-min-size {height}x{width} is less than one latent cell, which is \
                 {scale} pixels; give a multiple of {scale}"
            )));
        }
        let height = AxisOptions {
            sample_min_size: self.sample_min_size.map(|pair| pair.height),
            latent_min_size: self.latent_min_size.map(|pair| pair.height),
            overlap_factor: self.overlap_factor.map(|pair| pair.height),
            sample_stride: self.sample_stride.map(|pair| pair.height),
        };
        let width = AxisOptions {
            sample_min_size: self.sample_min_size.map(|pair| pair.width),
            latent_min_size: self.latent_min_size.map(|pair| pair.width),
            overlap_factor: self.overlap_factor.map(|pair| pair.width),
            sample_stride: self.sample_stride.map(|pair| pair.width),
        };
        let height = height.tiling(own.map(|own| own.height), scale)?;
        let width = width.tiling(own.map(|own| own.width), scale)?;
        // What no flag is about, such as tiles of frames, stays as the model has it.
        let mut tiling = own.copied().unwrap_or_else(|| Tiling::new(height, width, scale));
        (tiling.height, tiling.width) = (height, width);
        Ok(tiling)
    }
}

/// Tiles along one axis as asked for.
struct AxisOptions {
    sample_min_size: Option<u32>,
    latent_min_size: Option<u32>,
    overlap_factor: Option<f64>,
    sample_stride: Option<u32>,
}

impl AxisOptions {
    fn tiling(self, own: Option<AxisTiling>, scale: u32) -> Result<AxisTiling, Error> {
        let (own_sample, own_latent, own_factor, own_stride) = match own {
            None | Some(AxisTiling::Whole) => (None, None, None, None),
            Some(AxisTiling::Overlap {
                tile_sample_min_size: sample,
                tile_latent_min_size: latent,
                tile_overlap_factor: factor,
            }) => (Some(sample), Some(latent), Some(factor), None),
            Some(AxisTiling::Stride { tile_sample_min_size: sample, tile_sample_stride }) => {
                (Some(sample), None, None, Some(tile_sample_stride))
            }
        };
        let Self { sample_min_size, latent_min_size, overlap_factor, sample_stride } = self;
        let is_given = sample_min_size.or(latent_min_size).is_some();
        if let Some(whole @ AxisTiling::Whole) = own.filter(|_| !is_given) {
            return Ok(whole);
        }
        let no_size =
            || Error::Usage("the tile size is missing; give --tile-sample-min-size".into());
        let tile_sample_min_size = sample_min_size
            .or(latent_min_size.map(|cells| cells.saturating_mul(scale)))
            .or(own_sample)
            .ok_or_else(no_size)?;
        // The stride that the model stores stays where only the size is given, as in diffusers.
        let stride = sample_stride.or(own_stride.filter(|_| overlap_factor.is_none()));
        if let Some(tile_sample_stride) = stride {
            return Ok(AxisTiling::Stride { tile_sample_min_size, tile_sample_stride });
        }
        // The model's own tile in cells is not always that in pixels over the scale, so it counts
        // only as long as neither is changed.
        let tile_latent_min_size = latent_min_size
            .or(sample_min_size.map(|pixels| pixels / scale))
            .or(own_latent)
            .unwrap_or(tile_sample_min_size / scale);
        let tile_overlap_factor = overlap_factor.or(own_factor).unwrap_or(DEFAULT_OVERLAP_FACTOR);
        Ok(AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor })
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
    ranks: &RankArgs,
    group: u32,
    options: &TileOptions,
    tiling: &Tiling,
    layers: Result<&[LayerHalo], &UncutError>,
) -> Result<Planned, Error> {
    let requested = ranks.vae_patch_parallel_size.unwrap_or(1);
    let request = Request {
        vae_patch_parallel_size: requested,
        group_size: if requested == 0 { 1 } else { group },
        use_tiling: ranks.vae_use_tiling,
        parallel_supported: true,
    };
    let resolved = request.resolve()?;
    let scale = tiling.scale;
    let mut notices: Vec<Notice> = resolved.notices.iter().map(Notice::Planner).collect();
    if ranks.strategy != StrategyArg::Auto {
        // With a strategy that the user named, tiling was not switched on for them.
        notices.retain(|notice| !notice.is_tiling_switched_on());
    }
    let strategy = match ranks.strategy {
        StrategyArg::Auto => {
            let triggers = tiling.triggers(Direction::Decode, latents);
            let chosen = choose_strategy(resolved.ranks, resolved.use_tiling, triggers);
            if chosen == Strategy::Patch {
                // That tiling is on changes nothing then.
                notices.retain(|notice| !notice.is_tiling_switched_on());
                notices.push(Notice::PatchPicked { ranks: resolved.ranks });
            }
            chosen
        }
        StrategyArg::Whole => Strategy::Whole,
        StrategyArg::Tiled => Strategy::Tiled,
        StrategyArg::Patch => Strategy::Patch,
        StrategyArg::Sharded => Strategy::Sharded,
    };
    if ranks.shard_grid != ShardGridArg::Auto && strategy != Strategy::Sharded {
        return Err(Error::Usage("--shard-grid needs --strategy sharded".into()));
    }
    if options.is_given() && strategy != Strategy::Tiled {
        // Tiles that cannot be are wrong also where this strategy does not come to use them.
        TileGrid::new(Direction::Decode, latents, tiling)?;
    }
    let plan = match strategy {
        Strategy::Whole => Plan::whole(latents, scale)?,
        Strategy::Tiled => Plan::tiled(TileGrid::new(Direction::Decode, latents, tiling)?),
        Strategy::Patch => Plan::patch(PatchGrid::like(latents, resolved.ranks, tiling)?),
        Strategy::Sharded => {
            let layers = layers.map_err(UncutError::clone)?;
            let (grid, notice) = match ranks.shard_grid {
                ShardGridArg::Auto => shard::choose(latents, resolved.ranks, scale, layers)?,
                ShardGridArg::Given { rows, cols } => {
                    ShardGrid::fit(latents, Axes::new(1, rows, cols), scale, layers)?
                }
            };
            if grid.len() / resolved.ranks.min(grid.len()) > MAX_SHARDS_A_RANK {
                return Err(Error::Usage(format!(
                    "{} shards on {} rank(s), at most {MAX_SHARDS_A_RANK} a rank take turns; use \
                     a coarser --shard-grid or more ranks",
                    grid.len(),
                    resolved.ranks
                )));
            }
            notices.extend(notice.map(Notice::Planner));
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

/// The latent cells along an axis, from a flag in pixels.
///
/// # Errors
/// [`Error::Usage`] names the nearest sizes that work.
pub(crate) fn cells_of_pixels(flag: &str, pixels: u32, scale: u32) -> Result<u32, Error> {
    if scale == 0 {
        return Err(PlanError::Zero { name: "scale" }.into());
    }
    if pixels == 0 {
        return Err(Error::Usage(format!("{flag} is 0; give a multiple of {scale}")));
    }
    if pixels.is_multiple_of(scale) {
        return Ok(pixels / scale);
    }
    let below = u64::from(pixels / scale) * u64::from(scale);
    let above = below + u64::from(scale);
    let nearest = match below {
        0 => format!("{above}"),
        below => format!("{below} or {above}"),
    };
    Err(Error::Usage(format!(
        "{flag} {pixels} is not a multiple of {scale}, the pixels of a latent cell; the nearest is \
         {nearest}"
    )))
}

/// The frames of latents that decode to so many, from a flag.
///
/// # Errors
/// [`Error::Usage`] names the nearest numbers that work.
pub(crate) fn latent_frames(flag: &str, frames: u32, scale: TimeScale) -> Result<u32, Error> {
    let Some(last) = frames.checked_sub(1) else {
        return Err(Error::Usage(format!("{flag} is 0; give at least 1")));
    };
    let latents = u64::from(scale.latent(last).unwrap_or(last)) + 1;
    let of = |latents: u64| scale.at(u32::try_from(latents).ok()?).filter(|&frames| frames > 0);
    if of(latents) == Some(frames) {
        // As the frames are, and there are no more latents.
        return Ok(latents as u32);
    }
    let nearest: Vec<_> =
        [of(latents - 1), of(latents)].iter().flatten().map(u32::to_string).collect();
    Err(Error::Usage(format!(
        "{flag} {frames} is no number that latents decode to (by frame of theirs: {}); the nearest is \
         {}",
        frames_per_latent(scale),
        nearest.join(" or ")
    )))
}

/// A tile in pixels, along one axis, where there are tiles.
pub(crate) fn tile_pixels(axis: AxisTiling) -> Option<u32> {
    match axis {
        AxisTiling::Overlap { tile_sample_min_size, .. }
        | AxisTiling::Stride { tile_sample_min_size, .. } => Some(tile_sample_min_size),
        AxisTiling::Whole => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(size: u32, tiling: bool, strategy: StrategyArg) -> RankArgs {
        let shard_grid = ShardGridArg::Auto;
        RankArgs {
            vae_patch_parallel_size: Some(size),
            vae_use_tiling: tiling,
            strategy,
            shard_grid,
        }
    }

    fn planned(latents: Size, ranks: &RankArgs, tile: u32) -> Result<Planned, Error> {
        let options = TileOptions {
            sample_min_size: Some(Pair { height: tile, width: tile }),
            ..TileOptions::default()
        };
        let tiling = options.tiling(None, 8)?;
        plan(
            latents,
            1,
            ranks,
            ranks.vae_patch_parallel_size.unwrap_or(1),
            &options,
            &tiling,
            Ok(&[]),
        )
    }

    #[test]
    fn auto_follows_the_guide() {
        let strategy = |size, tiling, extent| {
            let ranks = ranks(size, tiling, StrategyArg::Auto);
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
        assert!(picked(4, StrategyArg::Auto, 32));
        // A strategy that the user named is not told; tiles and whole decodes are others.
        assert!(!picked(4, StrategyArg::Patch, 32));
        assert!(!picked(4, StrategyArg::Auto, 64));
        assert!(!picked(1, StrategyArg::Auto, 32));
    }

    #[test]
    fn a_named_strategy_is_taken() {
        let latents = Size::new(32, 32);
        let tiled = planned(latents, &ranks(4, false, StrategyArg::Tiled), 256).unwrap();
        assert_eq!(tiled.plan.strategy(), Strategy::Tiled);
        assert_eq!(tiled.ranks, 4);
        let whole = planned(latents, &ranks(4, true, StrategyArg::Whole), 256).unwrap();
        assert_eq!((whole.plan.piece_count(), whole.ranks), (1, 1));
        assert_eq!(whole.notices, [Notice::IdleRanks { ranks: 4, pieces: 1 }]);
        let patch = planned(latents, &ranks(4, false, StrategyArg::Patch), 256).unwrap();
        assert_eq!(patch.plan.piece_count(), 4);
    }

    #[test]
    fn shards_are_asked_for() {
        let latents = Size::new(32, 20);
        let sharded = ranks(4, false, StrategyArg::Sharded);
        let shards = |ranks: &RankArgs| {
            let planned = planned(latents, ranks, 256).unwrap();
            let Plan::Sharded(grid) = planned.plan else { panic!("{:?}", planned.plan) };
            (grid.rows(), grid.cols(), planned.ranks, planned.notices.len())
        };
        let auto = shards(&sharded);
        assert_eq!((auto.0 * auto.1, auto.2, auto.3), (4, 4, 0));
        // Without a decoder nothing is known to be exchanged, but bands of no cell there are not.
        let given = |rows, cols, size| RankArgs {
            shard_grid: ShardGridArg::Given { rows, cols },
            vae_patch_parallel_size: Some(size),
            ..ranks(1, false, StrategyArg::Sharded)
        };
        assert_eq!(shards(&given(2, 3, 1)), (2, 3, 1, 0));
        assert_eq!(shards(&given(1, 21, 1)), (1, 20, 1, 1));
        assert_eq!(shards(&given(1, 2, 3)), (1, 2, 2, 1));
        let tiled = RankArgs { strategy: StrategyArg::Tiled, ..given(2, 2, 4) };
        assert!(matches!(planned(latents, &tiled, 256), Err(Error::Usage(_))));
    }

    #[test]
    fn a_batch_keeps_ranks_busy() {
        let ranks = ranks(4, false, StrategyArg::Whole);
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
        let whole = ranks(1, false, StrategyArg::Auto);
        assert!(matches!(planned(latents, &whole, 100), Err(Error::Plan(_))));
        assert!(matches!(planned(latents, &whole, 0), Err(Error::Plan(_))));
        assert!(matches!(planned(latents, &whole, 7), Err(Error::Usage(_))));
        assert!(matches!(
            planned(latents, &ranks(0, false, StrategyArg::Auto), 256),
            Err(Error::Plan(PlanError::Zero { name: "vae_patch_parallel_size" }))
        ));
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_listed() {
        let latents = Size::new(1 << 28, 1 << 28);
        assert!(matches!(
            planned(latents, &ranks(1, true, StrategyArg::Auto), 64),
            Err(Error::Usage(_))
        ));
        assert!(matches!(
            planned(Size::new(64, 64), &ranks(u32::MAX, true, StrategyArg::Auto), 256),
            Err(Error::Plan(PlanError::TooManyRanks { .. }))
        ));
        assert!(matches!(
            planned(Size::new(u32::MAX, 1), &ranks(1, false, StrategyArg::Auto), 256),
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

    #[test]
    fn pixels_become_cells_or_the_nearest_is_named() {
        assert_eq!(cells_of_pixels("--height", 1024, 8).unwrap(), 128);
        let told = |pixels| cells_of_pixels("--height", pixels, 8).unwrap_err().to_string();
        assert!(told(1020).contains("1016 or 1024"));
        assert!(told(3).ends_with("is 8"));
        assert!(told(u32::MAX).contains("4294967288 or 4294967296"));
        assert!(cells_of_pixels("--height", 0, 8).is_err());
        assert!(cells_of_pixels("--height", 8, 0).is_err());
    }

    #[test]
    fn frames_become_those_of_latents_or_the_nearest_are_named() {
        let wan = TimeScale::first_alone(4);
        for (frames, latents) in [(1, 1), (5, 2), (81, 21)] {
            assert_eq!(latent_frames("--frames", frames, wan).unwrap(), latents);
            assert_eq!(latent_frames("--frames", latents, TimeScale::SAME).unwrap(), latents);
        }
        let told =
            |frames, scale| latent_frames("--frames", frames, scale).unwrap_err().to_string();
        assert!(told(80, wan).ends_with("77 or 81"), "{}", told(80, wan));
        assert!(told(2, wan).ends_with("1 or 5"), "{}", told(2, wan));
        assert!(told(3, TimeScale::even(4)).ends_with("is 4"), "{}", told(3, TimeScale::even(4)));
        assert!(told(0, wan).contains("at least 1"));
        // Beyond what can be counted there is none above.
        assert!(told(u32::MAX, wan).ends_with("is 4294967293"), "{}", told(u32::MAX, wan));
    }

    #[test]
    fn a_changed_tile_in_pixels_changes_the_one_in_cells() {
        let axis = AxisTiling::Overlap {
            tile_sample_min_size: 100,
            tile_latent_min_size: 12,
            tile_overlap_factor: 0.5,
        };
        let own = Tiling::new(axis, axis, 8);
        let latent = |options: TileOptions| match options.tiling(Some(&own), 8).unwrap().height {
            AxisTiling::Overlap {
                tile_latent_min_size,
                tile_sample_min_size,
                tile_overlap_factor,
            } => {
                assert_eq!(tile_overlap_factor, 0.5);
                (tile_sample_min_size, tile_latent_min_size)
            }
            AxisTiling::Stride { .. } | AxisTiling::Whole => unreachable!("no stride was given"),
        };
        assert_eq!(latent(TileOptions::default()), (100, 12));
        let sample = TileOptions { sample_min_size: pair(256), ..TileOptions::default() };
        assert_eq!(latent(sample), (256, 32));
        let cells = TileOptions { latent_min_size: pair(16), ..TileOptions::default() };
        assert_eq!(latent(cells), (128, 16));
    }

    #[test]
    fn a_stored_stride_stays_until_the_overlap_is_given() {
        let stride = |tile_sample_min_size, tile_sample_stride| AxisTiling::Stride {
            tile_sample_min_size,
            tile_sample_stride,
        };
        let own = Tiling::new(stride(256, 192), stride(256, 128), 8);
        let axes = |options: TileOptions| {
            let tiling = options.tiling(Some(&own), 8).unwrap();
            [tiling.height, tiling.width]
        };
        assert_eq!(axes(TileOptions::default()), [own.height, own.width]);
        let sample = TileOptions { sample_min_size: pair(512), ..TileOptions::default() };
        assert_eq!(axes(sample), [stride(512, 192), stride(512, 128)]);
        let given = TileOptions { sample_stride: pair(64), ..TileOptions::default() };
        assert_eq!(axes(given), [stride(256, 64); 2]);
        let factor = Some(Pair { height: 0.5, width: 0.5 });
        let factor = TileOptions { overlap_factor: factor, ..TileOptions::default() };
        let overlap = AxisTiling::Overlap {
            tile_sample_min_size: 256,
            tile_latent_min_size: 32,
            tile_overlap_factor: 0.5,
        };
        assert_eq!(axes(factor), [overlap; 2]);
    }

    fn pair(value: u32) -> Option<Pair<u32>> {
        Some(Pair { height: value, width: value })
    }
}
