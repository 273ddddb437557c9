//! What a kernel does to each value that it reads before the operation proper.

use crate::error::{KernelError, check};
use crate::simd::{Simd, exp};

/// What is done to each input value before the operation proper.
#[derive(Clone, Copy, Debug)]
pub enum Prologue<'a> {
    /// Nothing.
    None,
    /// `silu(x)`.
    Silu,
    /// `x * scale + shift`, one pair for each sample and channel (`[n][c]`).
    ///
    /// The frames that are read are shared out evenly over the samples, in order.
    Affine {
        /// Factors, `[n][c]`.
        scale: &'a [f32],
        /// Summands, `[n][c]`.
        shift: &'a [f32],
    },
    /// `silu(x * scale + shift)`, like [`Prologue::Affine`].
    AffineSilu {
        /// Factors, `[n][c]`.
        scale: &'a [f32],
        /// Summands, `[n][c]`.
        shift: &'a [f32],
    },
    /// `x * factors[frame][pixel] * gamma[channel]`, or without `gamma`: a norm over the channels of each position, once
    /// its factors are known (see [`position_factors`](crate::kernels::position_factors)).
    Positions {
        /// For each frame one factor for each pixel.
        factors: &'a [&'a [f32]],
        /// One factor for each channel, if there are such.
        gamma: Option<&'a [f32]>,
        /// Whether SiLU follows.
        silu: bool,
    },
}

impl Prologue<'_> {
    pub(crate) fn check(&self, [frames, pixels, c]: [usize; 3]) -> Result<(), KernelError> {
        match self {
            Self::None | Self::Silu => {}
            Self::Affine { scale, shift } | Self::AffineSilu { scale, shift } => {
                let samples = (scale.len() / c.max(1)).max(1);
                check("norm factors", samples * c, scale.len())?;
                check("norm summands", samples * c, shift.len())?;
                if !frames.is_multiple_of(samples) {
                    return Err(KernelError::Shape {
                        reason: "a norm's samples must have the same number of frames each",
                    });
                }
            }
            Self::Positions { factors, gamma, .. } => {
                check("frames of norm factors", frames, factors.len())?;
                for frame in *factors {
                    check("norm factors of a frame", pixels, frame.len())?;
                }
                if let Some(gamma) = gamma {
                    check("norm gamma", c, gamma.len())?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether each position has a factor of its own.
    pub(crate) fn by_position(&self) -> bool {
        matches!(self, Self::Positions { .. })
    }

    /// What is done to the pixels of frame `frame` of `frames`, from channel `c0` of `c`.
    pub(crate) fn at(&self, [frame, frames]: [usize; 2], [c0, c]: [usize; 2]) -> Pointwise {
        let nothing = Pointwise {
            scale: std::ptr::null(),
            shift: std::ptr::null(),
            position: std::ptr::null(),
            silu: false,
        };
        match *self {
            Self::None => nothing,
            Self::Silu => Pointwise { silu: true, ..nothing },
            Self::Affine { scale, shift } | Self::AffineSilu { scale, shift } => {
                let at = frame * (scale.len() / c) / frames * c + c0;
                let silu = matches!(self, Self::AffineSilu { .. });
                Pointwise { scale: &scale[at], shift: &shift[at], silu, ..nothing }
            }
            Self::Positions { factors, gamma, silu } => {
                let scale = gamma.map_or(std::ptr::null(), |gamma| &gamma[c0]);
                Pointwise { scale, position: factors[frame].as_ptr(), silu, ..nothing }
            }
        }
    }
}

/// A prologue as the kernels take it, for a row of pixels.
#[derive(Clone, Copy)]
pub(crate) struct Pointwise {
    /// Factors by channel, or null for none.
    pub scale: *const f32,
    /// Summands by channel; null unless there are factors, and none by pixel.
    pub shift: *const f32,
    /// Factors by pixel, or null for none.
    pub position: *const f32,
    pub silu: bool,
}

impl Pointwise {
    /// The same for the pixels from `pixel` on.
    pub(crate) fn at_pixel(self, pixel: usize) -> Self {
        self.with_positions(self.position.wrapping_add(pixel))
    }

    /// The same with other factors by pixel, if there are such factors.
    pub(crate) fn with_positions(self, position: *const f32) -> Self {
        match self.position.is_null() {
            true => self,
            false => Self { position, ..self },
        }
    }
}

/// A row of pixels to map.
pub(crate) struct Activate {
    pub src: *const f32,
    pub src_pixel: usize,
    pub dst: *mut f32,
    pub dst_pixel: usize,
    pub pixels: usize,
    pub channels: usize,
    pub map: Pointwise,
    /// Whether `dst` has room for whole vectors after each pixel's channels (they are filled up
    /// with zeros or the map of zeros).
    pub whole: bool,
}

/// The factors of a map.
const NO_FACTORS: u8 = 0;
const AFFINE: u8 = 1;
/// By pixel and by channel.
const POSITIONS: u8 = 2;
/// By pixel alone.
const BARE_POSITIONS: u8 = 3;

/// Runs `a`.
///
/// # Safety
///
/// `S` is available, and the pointers are valid for the pixels and channels that `a` names.
#[inline(always)]
pub(crate) unsafe fn activate<S: Simd>(a: &Activate) {
    // SAFETY: the contract is passed on.
    unsafe {
        match (a.map.scale.is_null(), a.map.position.is_null(), a.map.silu) {
            (true, true, false) => activate_as::<S, NO_FACTORS, false>(a),
            (true, true, true) => activate_as::<S, NO_FACTORS, true>(a),
            (true, false, false) => activate_as::<S, BARE_POSITIONS, false>(a),
            (true, false, true) => activate_as::<S, BARE_POSITIONS, true>(a),
            (false, true, false) => activate_as::<S, AFFINE, false>(a),
            (false, true, true) => activate_as::<S, AFFINE, true>(a),
            (false, false, false) => activate_as::<S, POSITIONS, false>(a),
            (false, false, true) => activate_as::<S, POSITIONS, true>(a),
        }
    }
}

#[inline(always)]
unsafe fn activate_as<S: Simd, const FACTORS: u8, const SILU: bool>(a: &Activate) {
    // SAFETY: the accesses stay within `channels` of each pixel, rounded up to whole vectors on the
    // side of `dst` where `whole` allows it.
    unsafe {
        for pixel in 0..a.pixels {
            let src = a.src.add(pixel * a.src_pixel);
            let dst = a.dst.add(pixel * a.dst_pixel);
            let position = match FACTORS {
                POSITIONS | BARE_POSITIONS => S::splat(*a.map.position.add(pixel)),
                _ => S::splat(1.0),
            };
            let mut c = 0;
            while c + S::LANES <= a.channels {
                let mut x = S::load(src.add(c));
                if FACTORS == AFFINE {
                    x = S::fma(x, S::load(a.map.scale.add(c)), S::load(a.map.shift.add(c)));
                }
                if FACTORS == POSITIONS {
                    x = S::mul(S::mul(x, position), S::load(a.map.scale.add(c)));
                }
                if FACTORS == BARE_POSITIONS {
                    x = S::mul(x, position);
                }
                if SILU {
                    x = exp::silu::<S>(x);
                }
                S::store(dst.add(c), x);
                c += S::LANES;
            }
            if c < a.channels {
                let n = a.channels - c;
                let mut x = S::load_first(src.add(c), n);
                if FACTORS == AFFINE {
                    let scale = S::load_first(a.map.scale.add(c), n);
                    x = S::fma(x, scale, S::load_first(a.map.shift.add(c), n));
                }
                if FACTORS == POSITIONS {
                    x = S::mul(S::mul(x, position), S::load_first(a.map.scale.add(c), n));
                }
                if FACTORS == BARE_POSITIONS {
                    x = S::mul(x, position);
                }
                if SILU {
                    x = exp::silu::<S>(x);
                }
                if a.whole {
                    S::store(dst.add(c), x);
                } else {
                    S::store_first(dst.add(c), x, n);
                }
            }
        }
    }
}
