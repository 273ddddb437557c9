//! `.mp4` with H.264 by OpenH264, which is part of the program.

mod avc;
mod boxes;
mod h264;
mod muxer;
mod track;

use std::io;

use halovae_engine::tensor::Shape;

use super::encoder::{Encoder, Video};
use super::frames::Layout;
use super::planes::{Samples, Siting};
use super::{VideoFormat, check_colours, fit_even};
use crate::frame_rate::FrameRate;
use crate::temporary::Temporary;
use crate::unfit::Unfit;
use h264::H264;
use muxer::Muxer;
use track::Track;

/// The quantisers that OpenH264 takes. It raises lower ones by itself, so they are refused.
pub(crate) const QUANTISERS: std::ops::RangeInclusive<u8> = 12..=51;

/// Real frames come back with some 44 dB, at three times the size of 24.
const DEFAULT_QUANTISER: u8 = 18;

/// The shorter and the longer side that OpenH264 takes at most, in pixels.
const MOST: [usize; 2] = [2160, 3840];
/// The shorter side that it takes at least.
const LEAST: usize = 16;

/// Frames of a video that any rate is written for.
const LONGEST: u32 = 1000;

/// Built-in H.264 in an `.mp4`: 8 bits, BT.709 in limited range, every frame with the same quantiser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mp4 {
    quantiser: u8,
    pads: bool,
}

impl Mp4 {
    /// With a quantiser of [`QUANTISERS`], or its own.
    pub(crate) fn new(quantiser: Option<u8>, pads: bool) -> Self {
        Self { quantiser: quantiser.unwrap_or(DEFAULT_QUANTISER), pads }
    }
}

impl VideoFormat for Mp4 {
    fn fit(&self, shape: Shape) -> Result<Shape, Unfit> {
        check_colours(shape, ".mp4")?;
        let even = fit_even(shape, self.pads, ".mp4")?;
        let mut sides = [even.height, even.width];
        sides.sort_unstable();
        let [short, long] = sides;
        if short > MOST[0] || long > MOST[1] || short < LEAST {
            return Err(Unfit::H264Sides {
                sides: [shape.height, shape.width],
                least: LEAST,
                most: MOST,
            });
        }
        if u32::try_from(shape.frames).is_err() {
            let what = format!("{} frames", shape.frames);
            return Err(Unfit::TooMany { what, holder: "an .mp4" });
        }
        Ok(even)
    }

    fn check_rate(&self, rate: FrameRate) -> Result<(), Unfit> {
        // Readers take these numbers for signed ones, of a track that is no longer than they count.
        let most = u32::MAX / 2 / LONGEST;
        match rate.frames().max(rate.seconds()) <= most {
            true => Ok(()),
            false => Err(Unfit::Rate { rate, format: ".mp4", most }),
        }
    }

    fn layout(&self) -> Layout {
        Layout::Planes(Samples { bits: 8, siting: Siting::Left, fills_gray: true })
    }

    fn encoder_bytes(&self, shape: Shape) -> u64 {
        h264::bytes(shape)
    }

    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>> {
        let Shape { height, width, frames, .. } = video.shape;
        let track = Track { width, height, frames, rate: video.rate };
        let muxer = Muxer::begin(file.handle()?, track)?;
        Ok(Box::new(H264::begin(muxer, video, self.quantiser)?))
    }
}
