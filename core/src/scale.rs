//! How the cells of a layer lie on those of the latents.

use crate::error::nonzero;
use crate::{Axis, PlanError, Size};

/// Which frames of a layer a frame of the latents owns, for a layer of `factor` frames per frame
/// of the latents.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum TimeLaw {
    /// Each owns `factor` frames: a video of `T` has `factor * T`.
    #[default]
    Even,
    /// The first owns one frame and each other one `factor`: `1 + factor * (T - 1)`.
    FirstAlone,
    /// The first owns none and each other one `factor`: `factor * (T - 1)`. So lies what is
    /// computed of a [`FirstAlone`](Self::FirstAlone) layer's other frames.
    AfterFirst,
}

/// How the frames of a layer lie on those of the latents.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimeScale {
    /// Frames of the layer per frame of the latents, but for the first if it is apart.
    pub factor: u32,
    /// Which frames those are.
    pub law: TimeLaw,
}

impl TimeScale {
    /// As many frames as the latents have.
    pub const SAME: Self = Self::even(1);

    /// `factor` frames for each frame of the latents.
    pub const fn even(factor: u32) -> Self {
        Self { factor, law: TimeLaw::Even }
    }

    /// One frame for the first frame of the latents, and `factor` for each other one.
    pub const fn first_alone(factor: u32) -> Self {
        Self { factor, law: TimeLaw::FirstAlone }
    }

    /// The first frame of the layer that belongs to frame `latent` of the latents; with the number
    /// of latent frames, how many frames the layer has. `None` where that leaves `u32`.
    pub const fn at(self, latent: u32) -> Option<u32> {
        let cells = self.cells(latent);
        if cells <= u32::MAX as u64 { Some(cells as u32) } else { None }
    }

    /// The frame of the latents that owns `frame` of the layer; `None` if the factor is 0.
    pub fn latent(self, frame: u32) -> Option<u32> {
        match self.law {
            TimeLaw::Even => frame.checked_div(self.factor),
            TimeLaw::FirstAlone => match frame.checked_sub(1) {
                None => Some(0),
                Some(behind) => behind.checked_div(self.factor)?.checked_add(1),
            },
            TimeLaw::AfterFirst => frame.checked_div(self.factor)?.checked_add(1),
        }
    }
}

/// Of the cells of any axis, since rows and columns lie as frames do that are [`TimeLaw::Even`].
impl TimeScale {
    /// Cells of the layer over `latents` cells of the latents; fits, as the factor is `u32`.
    pub(crate) const fn cells(self, latents: u32) -> u64 {
        let (latents, factor) = (latents as u64, self.factor as u64);
        match self.law {
            TimeLaw::Even => latents * factor,
            TimeLaw::FirstAlone if latents > 0 => 1 + (latents - 1) * factor,
            TimeLaw::FirstAlone | TimeLaw::AfterFirst => latents.saturating_sub(1) * factor,
        }
    }

    /// How many cells of the latents a layer of `cells` cells lies on, unless it ends inside one.
    pub(crate) fn latents(self, cells: u32) -> Option<u32> {
        let lone = u32::from(self.law == TimeLaw::FirstAlone);
        let others = cells.checked_sub(lone)?;
        let whole = others.checked_rem(self.factor)? == 0;
        (whole && self.law != TimeLaw::AfterFirst).then(|| others / self.factor + lone)
    }
}

impl Default for TimeScale {
    fn default() -> Self {
        Self::SAME
    }
}

/// How the cells of a layer lie on those of the latents.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Scale {
    /// Its frames.
    pub time: TimeScale,
    /// Its rows per row of the latents, and its columns per column.
    pub space: u32,
}

impl Scale {
    /// The latents themselves.
    pub const ONE: Self = Self::image(1);

    /// `space` rows and columns per latent cell, and as many frames as the latents.
    pub const fn image(space: u32) -> Self {
        Self::video(TimeScale::SAME, space)
    }

    /// `space` rows and columns per latent cell, and frames as `time` has them.
    pub const fn video(time: TimeScale, space: u32) -> Self {
        Self { time, space }
    }

    /// How the layer's cells lie along an axis. Rows and columns lie as frames do that are
    /// [`TimeLaw::Even`].
    pub const fn along(self, axis: Axis) -> TimeScale {
        match axis {
            Axis::Time => self.time,
            Axis::Height | Axis::Width => TimeScale::even(self.space),
        }
    }

    /// How large the layer is; `None` where that leaves `u32`.
    pub fn layer(self, latents: Size) -> Option<Size> {
        let along = |axis| self.along(axis).at(latents.along(axis));
        Some(Size::video(along(Axis::Time)?, along(Axis::Height)?, along(Axis::Width)?))
    }

    /// Whether an output can lie so on the latents.
    pub(crate) fn check(self) -> Result<(), PlanError> {
        nonzero("scale", self.space)?;
        nonzero("scale in time", self.time.factor)?;
        match self.time.law {
            TimeLaw::Even | TimeLaw::FirstAlone => Ok(()),
            TimeLaw::AfterFirst => Err(PlanError::FirstFrameMissing { factor: self.time.factor }),
        }
    }

    /// The output of latents that are not empty.
    pub(crate) fn output(self, latents: Size) -> Result<Size, PlanError> {
        nonzero("latent frames", latents.frames)?;
        nonzero("latent height", latents.height)?;
        nonzero("latent width", latents.width)?;
        self.check()?;
        let along = |axis| scaled(axis, latents.along(axis), self.along(axis));
        Ok(Size::video(along(Axis::Time)?, along(Axis::Height)?, along(Axis::Width)?))
    }
}

/// Latent cells along an axis in cells of the output.
pub(crate) fn scaled(axis: Axis, extent: u32, scale: TimeScale) -> Result<u32, PlanError> {
    scale.at(extent).ok_or(PlanError::OutputTooLarge { axis, extent, scale: scale.factor })
}

impl From<u32> for Scale {
    fn from(space: u32) -> Self {
        Self::image(space)
    }
}
