//! Animated PNG: every frame as it is, of 8 or 16 bits, with alpha if there is some.

mod animation;

use std::fs::File;
use std::io::{self, BufWriter};

use halovae_engine::tensor::Shape;

use super::VideoFormat;
use super::encoder::{Encoder, Video};
use super::frames::Layout;
use crate::frame_rate::FrameRate;
use crate::pictures::PictureFormat;
use crate::pixel::Depth;
use crate::png;
use crate::temporary::Temporary;
use crate::unfit::Unfit;
use animation::{Animation, CHUNK};

/// An animated PNG, shown again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apng {
    depth: Depth,
}

/// How long a frame is shown, in seconds, as a fraction of numbers of 16 bits.
fn delay(rate: FrameRate) -> Result<[u16; 2], Unfit> {
    let (mut a, mut b) = (rate.frames(), rate.seconds());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let [seconds, frames] =
        [rate.seconds(), rate.frames()].map(|number| u16::try_from(number / a).ok());
    match (seconds, frames) {
        (Some(seconds), Some(frames)) => Ok([seconds, frames]),
        _ => Err(Unfit::Rate { rate, format: "animated .png", most: u16::MAX.into() }),
    }
}

impl Apng {
    pub(crate) fn new(depth: Depth) -> Self {
        Self { depth }
    }
}

impl VideoFormat for Apng {
    fn fit(&self, shape: Shape) -> Result<Shape, Unfit> {
        let extents = PictureFormat::Png.check(shape, self.depth)?;
        // The number of the last chunk has 31 bits; a frame has one chunk that tells of it.
        let chunks_of_frame = extents.bytes.saturating_mul(2) / CHUNK as u64 + 2;
        if chunks_of_frame.saturating_mul(shape.frames as u64) > i32::MAX as u64 {
            let what = format!("{} frames", shape.frames);
            return Err(Unfit::TooMany { what, holder: "an animated .png" });
        }
        Ok(shape)
    }

    fn check_rate(&self, rate: FrameRate) -> Result<(), Unfit> {
        delay(rate).map(drop)
    }

    fn layout(&self) -> Layout {
        Layout::Pixels(self.depth)
    }

    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>> {
        let extents = PictureFormat::Png.check(video.shape, self.depth)?;
        let delay = delay(video.rate)?;
        let out = BufWriter::new(file.handle()?);
        // The number of frames is checked by `fit`.
        let frames = video.shape.frames as u32;
        Ok(Box::new(Animation::begin(out, extents, frames, delay)?))
    }

    fn encoder_bytes(&self, shape: Shape) -> u64 {
        let rows = PictureFormat::Png.check(shape, self.depth).map_or(0, png::bytes);
        rows.saturating_add(4 * CHUNK as u64)
    }
}

impl Encoder for Animation<BufWriter<File>> {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.write(frame)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish()
    }
}
