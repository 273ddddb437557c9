//! How the cells of a layer lie on those of the latents.

/// Which frames of a layer a frame of the latents owns, for a layer of `factor` frames per frame
/// of the latents.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
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
pub struct TimeScale {
    /// Frames of the layer per frame of the latents, but for the first if it is apart.
    pub factor: u32,
    /// Which frames those are.
    pub law: TimeLaw,
}

impl TimeScale {
    /// As many frames as the latents have.
    pub const SAME: Self = Self { factor: 1, law: TimeLaw::Even };

    /// The first frame of the layer that belongs to frame `latent` of the latents; with the number
    /// of latent frames, how many frames the layer has. `None` where that leaves `u32`.
    pub fn at(self, latent: u32) -> Option<u32> {
        match (self.law, latent.checked_sub(1)) {
            (TimeLaw::Even, _) => latent.checked_mul(self.factor),
            (TimeLaw::FirstAlone | TimeLaw::AfterFirst, None) => Some(0),
            (TimeLaw::FirstAlone, Some(before)) => before.checked_mul(self.factor)?.checked_add(1),
            (TimeLaw::AfterFirst, Some(before)) => before.checked_mul(self.factor),
        }
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

impl Default for TimeScale {
    fn default() -> Self {
        Self::SAME
    }
}

/// How the cells of a layer lie on those of the latents.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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
        Self { time: TimeScale::SAME, space }
    }
}

impl From<u32> for Scale {
    fn from(space: u32) -> Self {
        Self::image(space)
    }
}
