//! Animated PNG: every frame as it is, of 8 or 16 bits, with alpha if there is some.

use std::fs::File;
use std::io::{self, BufWriter};

use halovae_engine::tensor::Shape;
use png::{Compression, Encoder as PngEncoder, Writer};

use super::VideoFormat;
use super::encoder::{Encoder, Video};
use super::frames::Layout;
use crate::frame_rate::FrameRate;
use crate::pictures::PictureFormat;
use crate::pixel::Depth;
use crate::png::{bit_depth, color_type, into_io};
use crate::temporary::Temporary;
use crate::unfit::Unfit;

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
        // The number of the last chunk, of which each frame has at least two, has 31 bits.
        if shape.frames > 1 << 20 {
            let what = format!("{} frames", shape.frames);
            return Err(Unfit::TooMany { what, holder: "an animated .png" });
        }
        PictureFormat::Png.check(shape, self.depth).map(|_| shape)
    }

    fn check_rate(&self, rate: FrameRate) -> Result<(), Unfit> {
        delay(rate).map(drop)
    }

    fn layout(&self) -> Layout {
        Layout::Pixels(self.depth)
    }

    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>> {
        let extents = PictureFormat::Png.check(video.shape, self.depth)?;
        let [seconds, frames] = delay(video.rate)?;
        let out = BufWriter::new(file.handle()?);
        let mut encoder = PngEncoder::new(out, extents.width, extents.height);
        encoder.set_compression(Compression::Fast);
        encoder.set_depth(bit_depth(self.depth));
        encoder.set_color(color_type(extents.colour));
        encoder.set_animated(video.shape.frames as u32, 0).map_err(into_io)?;
        encoder.set_frame_delay(seconds, frames).map_err(into_io)?;
        // A frame with alpha takes the place of the one before, and does not lie on it.
        encoder.set_blend_op(png::BlendOp::Source).map_err(into_io)?;
        Ok(Box::new(Animation(encoder.write_header().map_err(into_io)?)))
    }
}

struct Animation(Writer<BufWriter<File>>);

impl Encoder for Animation {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.0.write_image_data(frame).map_err(into_io)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish().map_err(into_io)
    }
}
