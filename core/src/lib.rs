//! Planning of VAE decodes over several ranks: who decodes which part of the latents, and how the
//! parts become one image or video. An image is a video of one frame.
//!
//! Pure arithmetic on small `Copy` values: no allocation, no dependency (but an optional `serde`), no device. Every rank
//! computes the same plan from the same few numbers, so nothing about shapes needs to travel.
//! Every function is total: for all of `u32` it returns a value or a [`PlanError`].
//!
//! From a request to a picture or a video:
//!
//! 1. [`Request::resolve`]: how many ranks decode, and is tiling on.
//! 2. [`choose_strategy`]: whole, tiled or patch. Sharded is never chosen, it is asked for.
//! 3. [`Plan`]: the [`Piece`]s to decode, made from a [`TileGrid`], a [`PatchGrid`] or a
//!    [`ShardGrid`], and from a [`Scale`]: how pixels and frames lie on latent cells. The number of
//!    pixels per cell stands for the scale of an image.
//! 4. [`Plan::busy_ranks`] and [`Plan::share_out`]: which ranks decode, and which piece each.
//! 5. [`Plan::bands`], [`Band::blocks`], [`Block::terms`]: which pieces make which box of the
//!    output, and with which weights; frames are finished in order.
//! 6. [`Chunks`]: how many frames go through the VAE at a time.
//!
//! ```
//! use halovae_core::*;
//!
//! // FLUX.1 at 2048 x 1536 pixels over three ranks.
//! let latents = Size::new(256, 192);
//! let axis = AxisTiling::Overlap {
//!     tile_sample_min_size: 1024,
//!     tile_latent_min_size: 128,
//!     tile_overlap_factor: 0.25,
//! };
//! let tiling = Tiling::new(axis, axis, 8);
//!
//! let resolved = Request {
//!     vae_patch_parallel_size: 4,
//!     group_size: 3,
//!     use_tiling: true,
//!     parallel_supported: true,
//! }
//! .resolve()?;
//! assert_eq!(resolved.ranks, 3);
//! assert!(resolved.notices.iter().eq([Notice::SizeClamped { requested: 4, group: 3 }]));
//!
//! let triggers = tiling.triggers(Direction::Decode, latents);
//! let strategy = choose_strategy(resolved.ranks, resolved.use_tiling, triggers);
//! assert_eq!(strategy, Strategy::Tiled);
//!
//! let plan = Plan::tiled(TileGrid::new(Direction::Decode, latents, &tiling)?);
//! assert_eq!(plan.piece_count(), 6);
//! assert_eq!(plan.output(), Size::new(2048, 1536));
//!
//! // Largest pieces first, each to the least loaded rank.
//! let (mut costs, mut owners, mut order) = ([0; 6], [0; 6], [0; 6]);
//! let mut loads = [RankLoad::default(); 3];
//! let model = WorkModel { flops_per_cell: 6e8, ..WorkModel::default() };
//! piece_costs(&plan, &model, &mut costs)?;
//! let balance = largest_first(&costs, &mut owners, &mut order, &mut loads)?;
//! assert!(balance.imbalance() < 1.3);
//!
//! // What a stitcher does, for images of one channel that are all ones.
//! let mut image = vec![0.0f32; plan.output().area() as usize];
//! for block in plan.bands().flat_map(|band| band.blocks()) {
//!     let Region { top, left, height, width, .. } = block.region;
//!     let mut weights = vec![0.0; width as usize];
//!     for term in block.terms() {
//!         for dy in 0..height {
//!             term.fill_weights(0, dy, &mut weights);
//!             let row = (top + dy) as usize * plan.output().width as usize;
//!             let out = &mut image[row + left as usize..];
//!             out.iter_mut().zip(&weights).for_each(|(pixel, weight)| *pixel += weight);
//!         }
//!     }
//! }
//! assert!(image.iter().all(|pixel| (pixel - 1.0).abs() < 1e-6));
//! # Ok::<(), PlanError>(())
//! ```
//!
//! A video is planned with the same few calls:
//!
//! ```
//! use halovae_core::*;
//!
//! // HunyuanVideo, 129 frames of 720 x 1280 pixels: windows of 16 frames and the one before.
//! let scale = Scale::video(TimeScale::first_alone(4), 8);
//! let latents = Size::video(33, 90, 160);
//! let axis = AxisTiling::Stride { tile_sample_min_size: 256, tile_sample_stride: 192 };
//! let tiling = Tiling::new(axis, axis, scale).with_time(TimeTiling {
//!     tile_sample_min_num_frames: 16,
//!     tile_sample_stride_num_frames: 12,
//!     dropped: DroppedFrame::First,
//! });
//! let grid = TileGrid::new(Direction::Decode, latents, &tiling)?;
//! assert_eq!((grid.slices(), grid.rows(), grid.cols()), (11, 4, 7));
//! let plan = Plan::tiled(grid);
//! assert_eq!(plan.output(), Size::video(129, 720, 1280));
//!
//! // A stitcher works band by band, and hands out frames as the bands go on in time.
//! let mut finished = 0;
//! for band in plan.bands() {
//!     // Fetch the pieces up to `band.pieces().end`, drop those before its start, then blend.
//!     assert!(band.pieces().end - band.pieces().start <= 2 * 4 * 7);
//!     if band.top + band.height == plan.output().height {
//!         assert_eq!(band.first, finished);
//!         finished += band.frames;
//!     }
//! }
//! assert_eq!(finished, 129);
//!
//! // The same latents over four ranks in shards, and four latent frames at a time.
//! let shards = ShardGrid::of(latents, Axes::new(2, 1, 2), scale)?;
//! assert_eq!(shards.part(0, scale).size(), Size::video(61, 720, 640));
//! let chunks = Chunks::new(latents.frames, 4)?;
//! assert_eq!((chunks.len(), chunks.finished(1, scale.time)), (9, Some(13..29)));
//! # Ok::<(), PlanError>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod assign;
mod axis;
mod blend;
mod choose;
mod chunk;
mod cost;
mod error;
mod geometry;
mod grid;
mod margins;
mod notice;
mod parallel;
mod patch;
mod plan;
mod scale;
mod shard;
mod share;
mod span;
mod tile;
mod tiling;
mod window;

pub use assign::{Balance, RankLoad, balance, contiguous, largest_first, round_robin};
pub use axis::TileAxis;
pub use blend::{Band, Bands, Block, Blocks, Term, Terms};
pub use choose::{Request, Resolved, choose_strategy};
pub use chunk::Chunks;
pub use cost::{RankEstimate, WorkModel, estimate_ranks, piece_costs};
pub use error::PlanError;
pub use geometry::{Axes, Axis, Region, Size};
pub use margins::Margins;
pub use notice::{Notice, Notices};
pub use parallel::{DitParallel, vae_parallel_size};
pub use patch::{MAX_PATCH_RANKS, Patch, PatchGrid, Patches};
pub use plan::{Piece, Pieces, Plan, Strategy, Whole};
pub use scale::{Scale, TimeLaw, TimeScale};
pub use shard::{LayerHalo, MAX_SHARDS, Shard, ShardGrid, Transfer, Transfers};
pub use tile::{Tile, TileGrid, Tiles};
pub use tiling::{AxisTiling, Direction, DroppedFrame, MAX_BLEND_DEPTH, Tiling, TimeTiling};
pub use window::Window;
