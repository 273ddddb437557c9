//! GIF: every frame with up to 256 colours of its own.

mod codes;
mod colours;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use gif::{Encoder as GifEncoder, EncodingError, Frame, Repeat};
use halovae_engine::tensor::Shape;

use super::encoder::{Encoder, Video};
use super::frames::Layout;
use super::{VideoFormat, check_colours};
use crate::frame_rate::FrameRate;
use crate::pixel::Depth;
use crate::temporary::Temporary;
use crate::unfit::Unfit;
use codes::Codes;
use colours::Colours;

/// Browsers show a frame for a tenth of a second that says less.
const SHORTEST: u64 = 2;

/// A GIF, shown again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gif;

/// When a frame begins to be shown, in hundredths of a second: the nearest to its exact time.
fn begin_of(frame: u64, rate: FrameRate) -> u64 {
    let (frames, seconds) = (u128::from(rate.frames()), u128::from(rate.seconds()));
    let hundredths = (200 * u128::from(frame) * seconds + frames) / (2 * frames);
    u64::try_from(hundredths).unwrap_or(u64::MAX)
}

impl VideoFormat for Gif {
    fn fit(&self, shape: Shape) -> Result<Shape, Unfit> {
        check_colours(shape, ".gif")?;
        let max = usize::from(u16::MAX);
        let fits = |side| (1..=max).contains(&side);
        match fits(shape.height) && fits(shape.width) {
            true => Ok(shape),
            false => Err(Unfit::GifSides { sides: [shape.height, shape.width], max }),
        }
    }

    fn check_rate(&self, rate: FrameRate) -> Result<(), Unfit> {
        let hundredths = begin_of(1, rate);
        let is_slow = hundredths > u64::from(u16::MAX);
        let is_fast = u64::from(rate.frames()) * SHORTEST > 100 * u64::from(rate.seconds());
        match is_slow || is_fast {
            false => Ok(()),
            true => Err(Unfit::GifRate { rate, hundredths: [SHORTEST, u16::MAX.into()] }),
        }
    }

    fn layout(&self) -> Layout {
        Layout::Pixels(Depth::Eight)
    }

    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>> {
        // Checked by `fit`.
        let [height, width] = [video.shape.height, video.shape.width].map(|side| side as u16);
        let out = BufWriter::new(file.handle()?);
        let mut encoder = GifEncoder::new(out, width, height, &[]).map_err(into_io)?;
        encoder.set_repeat(Repeat::Infinite).map_err(into_io)?;
        let pixels = pixels(video.shape);
        let colours = (video.shape.channels != 1).then(|| Colours::new(pixels)).transpose()?;
        let codes = Codes::new(pixels)?;
        let rate = video.rate;
        Ok(Box::new(Animation { encoder, height, width, colours, codes, rate, frames: 0 }))
    }

    fn encoder_bytes(&self, shape: Shape) -> u64 {
        let pixels = pixels(shape);
        let colours = if shape.channels == 1 { 0 } else { colours::bytes(pixels) };
        colours.saturating_add(codes::bytes(pixels))
    }
}

/// Pixels of a frame.
fn pixels(shape: Shape) -> u64 {
    (shape.height as u64).saturating_mul(shape.width as u64)
}

/// The colours of gray frames: every level.
fn grays() -> Vec<u8> {
    (0..=u8::MAX).flat_map(|level| [level; 3]).collect()
}

struct Animation {
    encoder: GifEncoder<BufWriter<File>>,
    height: u16,
    width: u16,
    /// Unless frames are gray.
    colours: Option<Colours>,
    codes: Codes,
    rate: FrameRate,
    frames: u64,
}

impl Encoder for Animation {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let (palette, indices) = match &mut self.colours {
            None => (grays(), frame),
            Some(colours) => colours.choose(frame),
        };
        let codes = self.codes.encode(indices, palette.len() / 3)?;
        // So that roundings do not add up.
        let hundredths = begin_of(self.frames + 1, self.rate) - begin_of(self.frames, self.rate);
        self.frames += 1;
        let frame = Frame {
            width: self.width,
            height: self.height,
            delay: u16::try_from(hundredths).unwrap_or(u16::MAX),
            palette: Some(palette),
            buffer: Cow::Borrowed(codes),
            ..Frame::default()
        };
        self.encoder.write_lzw_pre_encoded_frame(&frame).map_err(into_io)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.encoder.into_inner().map_err(into_io)?.flush()
    }
}

fn into_io(error: EncodingError) -> io::Error {
    match error {
        EncodingError::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// No frame begins more than half a hundredth of a second from its time, however many there
        /// were before; and none is shown so shortly that browsers would show it longer.
        #[test]
        fn times_do_not_drift(
            frames in 1u32..100_000,
            seconds in 1u32..10_000,
            frame in 0u64..1_000_000,
        ) {
            let rate: FrameRate = format!("{frames}/{seconds}").parse().unwrap();
            let exact = 100.0 * frame as f64 * f64::from(seconds) / f64::from(frames);
            proptest::prop_assert!((begin_of(frame, rate) as f64 - exact).abs() <= 0.5 + 1e-9 * exact);
            if Gif.check_rate(rate).is_ok() {
                let hundredths = begin_of(frame + 1, rate) - begin_of(frame, rate);
                proptest::prop_assert!((SHORTEST..=u16::MAX.into()).contains(&hundredths));
            }
        }
    }

    #[test]
    fn rates_that_a_gif_has_not_are_refused() {
        let check = |rate: &str| Gif.check_rate(rate.parse().unwrap());
        for rate in ["16", "24", "30000/1001", "50", "1/2", "1/655"] {
            assert_eq!(check(rate), Ok(()), "{rate}");
        }
        for rate in ["51", "60", "60000/1001", "4294967295", "1/656", "1/4294967295"] {
            assert!(matches!(check(rate), Err(Unfit::GifRate { .. })), "{rate}");
        }
    }
}
