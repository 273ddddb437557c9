//! What a plan costs: redundant work, and work, memory and traffic per rank.

use crate::{Axes, Direction, Piece, Plan, PlanError, Size, TileGrid};

/// What the VAE costs, in numbers that do not depend on the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkModel {
    /// Floating-point operations per latent cell that goes through the VAE: convolutions, norms.
    pub flops_per_cell: f64,
    /// Floating-point operations per ordered pair of latent cells of one frame of a piece: attention
    /// in the middle of the VAE.
    pub flops_per_cell_pair: f64,
    /// Peak bytes of live values per latent cell of the piece that is worked on.
    pub live_bytes_per_cell: u64,
    /// Bytes that every rank holds whatever it works on: weights.
    pub fixed_bytes: u64,
    /// Bytes per pixel of a finished piece when it travels: channels times bytes per value.
    pub output_bytes_per_pixel: u64,
}

impl Default for WorkModel {
    /// One operation per latent cell and no bytes: costs are volumes.
    fn default() -> Self {
        Self {
            flops_per_cell: 1.0,
            flops_per_cell_pair: 0.0,
            live_bytes_per_cell: 0,
            fixed_bytes: 0,
            output_bytes_per_pixel: 0,
        }
    }
}

impl WorkModel {
    /// Floating-point operations for a piece of these latents.
    pub fn flops(&self, latents: Size) -> f64 {
        self.attending(latents, latents.area())
    }

    /// The same, where each cell meets `keys` cells of its frame.
    fn attending(&self, latents: Size, keys: u64) -> f64 {
        let cells = latents.area() as f64 * f64::from(latents.frames);
        self.flops_per_cell * cells + self.flops_per_cell_pair * cells * keys as f64
    }
}

/// What one rank does. Byte counts stop at `u64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RankEstimate {
    /// How many pieces it has.
    pub pieces: u64,
    /// Their latent cells.
    pub cells: u128,
    /// Their floating-point operations.
    pub flops: f64,
    /// The most device bytes at once: [`WorkModel::fixed_bytes`] and the live values of its
    /// largest piece.
    pub peak_bytes: u64,
    /// Bytes of finished pieces that it sends to rank 0, which stitches.
    pub sent_bytes: u64,
    /// Bytes of finished pieces that it receives: 0 but for rank 0.
    pub received_bytes: u64,
}

impl Plan {
    /// Latent cells that go through the VAE: overlaps and halos count each time they do. Closed
    /// form for tilings; a patch plan is walked, which has at most
    /// [`MAX_PATCH_RANKS`](crate::MAX_PATCH_RANKS) pieces.
    pub fn processed_cells(&self) -> u128 {
        match self {
            Self::Whole(whole) => whole.latents().volume(),
            Self::Sharded(grid) => grid.latents().volume(),
            Self::Patch(grid) => grid.patches().map(|patch| patch.window.volume()).sum(),
            Self::Tiled(grid) => {
                let Axes { time, height, width } = sums(grid, u128::from);
                time * height * width
            }
        }
    }

    /// Latent cells that go through the VAE over those there are; 1 for a whole decode.
    pub fn redundancy(&self) -> f64 {
        let latents = match self.direction() {
            Direction::Decode => self.input(),
            Direction::Encode => self.output(),
        };
        self.processed_cells() as f64 / latents.volume() as f64
    }

    /// Floating-point operations of all pieces together. Takes as long as
    /// [`processed_cells`](Self::processed_cells).
    pub fn flops(&self, model: &WorkModel) -> f64 {
        match self {
            Self::Whole(whole) => model.flops(whole.latents()),
            Self::Sharded(grid) => model.flops(grid.latents()),
            Self::Patch(grid) => grid.patches().map(|patch| model.flops(patch.window.size())).sum(),
            Self::Tiled(grid) => {
                let Axes { time, .. } = sums(grid, u128::from);
                let squares = sums(grid, |len| u128::from(len) * u128::from(len));
                let pairs = time as f64 * squares.height as f64 * squares.width as f64;
                let cells = self.processed_cells() as f64;
                model.flops_per_cell * cells + model.flops_per_cell_pair * pairs
            }
        }
    }

    /// Floating-point operations of a piece. A shard's queries meet the keys of all latents of
    /// their frame.
    pub fn piece_flops(&self, piece: &Piece, model: &WorkModel) -> f64 {
        let latents = self.piece_latents(piece);
        let keys = match self {
            Self::Sharded(grid) => grid.latents().area(),
            Self::Whole(_) | Self::Tiled(_) | Self::Patch(_) => latents.area(),
        };
        model.attending(latents, keys)
    }

    /// The latents of a piece that go through the VAE, halo and overlap included.
    pub fn piece_latents(&self, piece: &Piece) -> Size {
        match self {
            Self::Tiled(grid) if grid.direction() == Direction::Encode => {
                let dropped = grid.place(piece.index).is_some_and(|place| place.time > 0);
                let dropped = grid.time().dropped() * u32::from(dropped);
                let Size { frames, height, width } = piece.keep.size();
                Size::video(frames.saturating_add(dropped), height, width)
            }
            Self::Whole(_) | Self::Tiled(_) | Self::Patch(_) | Self::Sharded(_) => {
                piece.input.size()
            }
        }
    }

    /// How many cells those are.
    pub fn piece_cells(&self, piece: &Piece) -> u128 {
        self.piece_latents(piece).volume()
    }
}

/// `f` of the latent cells of each tile of an axis, added up.
fn sums(grid: &TileGrid, f: impl Fn(u32) -> u128 + Copy) -> Axes<u128> {
    grid.axes().map(|axis| axis.sum_cells(grid.direction(), f))
}

/// Writes each piece's floating-point operations, at least 1 and at most `u64::MAX`: the costs for
/// [`largest_first`](crate::largest_first).
///
/// # Errors
/// [`PlanError::LengthMismatch`] if there are not as many costs as pieces.
pub fn piece_costs(plan: &Plan, model: &WorkModel, costs: &mut [u64]) -> Result<(), PlanError> {
    check_pieces(plan, "costs", costs.len())?;
    for (cost, piece) in costs.iter_mut().zip(plan.pieces()) {
        // `as` saturates, and makes 0 of what is not a number.
        *cost = (plan.piece_flops(&piece, model) as u64).max(1);
    }
    Ok(())
}

/// Writes what each rank does if `owners[i]` has piece `i`. There are `estimates.len()` ranks.
///
/// # Errors
/// [`PlanError::LengthMismatch`] if there are not as many owners as pieces, and
/// [`PlanError::OwnerOutOfRange`].
pub fn estimate_ranks(
    plan: &Plan,
    owners: &[u32],
    model: &WorkModel,
    estimates: &mut [RankEstimate],
) -> Result<(), PlanError> {
    check_pieces(plan, "owners", owners.len())?;
    let idle = RankEstimate { peak_bytes: model.fixed_bytes, ..RankEstimate::default() };
    estimates.fill(idle);
    let ranks = estimates.len() as u64;
    let mut travelled = 0u64;
    for (piece, &owner) in plan.pieces().zip(owners) {
        let cells = plan.piece_cells(&piece);
        let out_of_range = PlanError::OwnerOutOfRange { piece: piece.index, owner, ranks };
        let rank = estimates.get_mut(owner as usize).ok_or(out_of_range)?;
        rank.pieces += 1;
        rank.cells += cells;
        rank.flops += plan.piece_flops(&piece, model);
        let live = bytes(cells, model.live_bytes_per_cell);
        rank.peak_bytes = rank.peak_bytes.max(model.fixed_bytes.saturating_add(live));
        if owner != 0 {
            let bytes = bytes(piece.keep.volume(), model.output_bytes_per_pixel);
            rank.sent_bytes = rank.sent_bytes.saturating_add(bytes);
            travelled = travelled.saturating_add(bytes);
        }
    }
    if let Some(stitcher) = estimates.first_mut() {
        stitcher.received_bytes = travelled;
    }
    Ok(())
}

/// Bytes of so many cells; stops at `u64::MAX`.
fn bytes(cells: u128, each: u64) -> u64 {
    u64::try_from(cells.saturating_mul(each.into())).unwrap_or(u64::MAX)
}

fn check_pieces(plan: &Plan, name: &'static str, len: usize) -> Result<(), PlanError> {
    let (len, expected) = (len as u64, plan.piece_count());
    if len == expected { Ok(()) } else { Err(PlanError::LengthMismatch { name, len, expected }) }
}
