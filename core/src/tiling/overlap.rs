//! Overlaps by factor: the step that diffusers' floating-point numbers come to.

use super::{Direction, MAX_BLEND_DEPTH, min_stride};
use crate::{Axis, PlanError};

/// A tile whose sizes in cells and in pixels agree, waiting for an overlap factor.
#[derive(Clone, Copy)]
pub(super) struct OverlapTile {
    pub(super) direction: Direction,
    pub(super) scale: u32,
    pub(super) cells: u32,
}

/// What is wrong with an overlap factor.
pub(super) enum Misfit {
    TooDeep,
    NotWhole,
}

impl OverlapTile {
    /// The step in latent cells, if it is the same on both sides of the VAE: exactly that of an
    /// overlap of whole cells, or what diffusers' floating-point numbers come to.
    pub(super) fn step(self, factor: f64) -> Result<u32, Misfit> {
        let (latent_step, pixel_step) = match self.whole_overlap(factor) {
            Some(overlap) => (self.cells - overlap, (self.cells - overlap) * self.scale),
            None => self.steps_of_diffusers(factor),
        };
        if latent_step < min_stride(self.cells) {
            Err(Misfit::TooDeep)
        } else if u64::from(latent_step) * u64::from(self.scale) != u64::from(pixel_step) {
            Err(Misfit::NotWhole)
        } else {
            Ok(latent_step)
        }
    }

    /// The overlap in latent cells, if the factor stands for a whole number of them. A division
    /// of two whole numbers gives the float that is nearest to their quotient, and so does reading
    /// a decimal that equals the quotient: 0.8 and 64 / 80 are one float, whatever a product of
    /// 80 and 0.8 comes to. It is less than the tile, as the factor is less than 1.
    fn whole_overlap(self, factor: f64) -> Option<u32> {
        let overlap = nearest(f64::from(self.cells) * factor);
        (self.factor(overlap) == factor).then_some(overlap)
    }

    fn factor(self, overlap: u32) -> f64 {
        f64::from(overlap) / f64::from(self.cells)
    }

    /// The step in latent cells and that in pixels, as diffusers has them: one is `overlap_size`,
    /// on the input's side, and the other `row_limit`, on the output's.
    fn steps_of_diffusers(self, factor: f64) -> (u32, u32) {
        let pixels = self.cells * self.scale;
        // `as` truncates towards zero as Python's int() does, and the products are at most a tile.
        let overlap_size = |tile: u32| (f64::from(tile) * (1.0 - factor)) as u32;
        let row_limit = |tile: u32| tile - (f64::from(tile) * factor) as u32;
        match self.direction {
            Direction::Decode => (overlap_size(self.cells), row_limit(pixels)),
            Direction::Encode => (row_limit(self.cells), overlap_size(pixels)),
        }
    }

    /// The factor nearest to `factor` that works with this tile and is not 0, unless nothing but 0
    /// does.
    fn near(self, factor: f64) -> f64 {
        let most = self.cells - min_stride(self.cells);
        self.factor(nearest(f64::from(self.cells) * factor).max(1).min(most))
    }

    pub(super) fn error(self, misfit: Misfit, axis: Axis, tile_overlap_factor: f64) -> PlanError {
        let works = self.near(tile_overlap_factor);
        match misfit {
            Misfit::TooDeep => PlanError::OverlapTooDeep {
                axis,
                tile_latent_min_size: self.cells,
                tile_overlap_factor,
                max: MAX_BLEND_DEPTH,
                works,
            },
            Misfit::NotWhole => PlanError::OverlapNotWhole {
                axis,
                tile_latent_min_size: self.cells,
                tile_overlap_factor,
                works,
            },
        }
    }
}

/// The whole number nearest to one that is not negative, the lower of two.
fn nearest(value: f64) -> u32 {
    let below = value as u32;
    below + u32::from(value - f64::from(below) > 0.5)
}
