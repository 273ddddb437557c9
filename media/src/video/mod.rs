//! Videos in one file: rows become frames, frames go to an encoder on a thread of its own, and the
//! encoder writes the file.

pub(crate) mod apng;
mod encoder;
pub(crate) mod ffmpeg;
mod frames;
pub(crate) mod gif;
#[cfg(feature = "mp4")]
pub(crate) mod mp4;
mod planes;
mod thread;
mod videos;
pub(crate) mod y4m;

use std::path::Path;
use std::{fmt, io};

use halovae_engine::tensor::Shape;

use crate::error::OutputError;
use crate::frame_rate::FrameRate;
use crate::temporary::Temporary;
use crate::unfit::Unfit;
use encoder::{Encoder, Video};
use frames::Layout;
pub(crate) use videos::{Videos, bytes};

/// A kind of file that holds a video, with what was chosen for it.
pub(crate) trait VideoFormat: fmt::Debug {
    /// The extents of the frames that it holds of a result of that shape, which are the result's but
    /// for a last row and column that is repeated; else why it holds none.
    ///
    /// # Errors
    /// Why, and what to do.
    fn fit(&self, shape: Shape) -> Result<Shape, Unfit>;

    /// Whether the format has so many frames in a second; else why not.
    ///
    /// # Errors
    /// Why, and what to do.
    fn check_rate(&self, _rate: FrameRate) -> Result<(), Unfit> {
        Ok(())
    }

    /// Tries whether what encodes outside of this process encodes a video of a result of that shape, to
    /// a file of that name; the file is not there afterwards.
    ///
    /// # Errors
    /// What it says.
    fn probe(&self, _path: &Path, _shape: Shape, _rate: FrameRate) -> Result<(), OutputError> {
        Ok(())
    }

    /// How its encoder takes frames.
    fn layout(&self) -> Layout;

    /// Whether the encoder writes to the name of a file.
    fn needs_name(&self) -> bool {
        false
    }

    /// Bytes that its encoder holds at most for frames of a shape that it [fits](Self::fit), beside the frame
    /// that it is given.
    fn encoder_bytes(&self, shape: Shape) -> u64;

    /// Threads of this process that an encode takes.
    fn threads(&self) -> u64 {
        1
    }

    /// Begins a file.
    ///
    /// # Errors
    /// What the system or the encoder says.
    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>>;
}

/// Refuses results without the colours of a video.
fn check_colours(shape: Shape, format: &'static str) -> Result<(), Unfit> {
    match shape.channels {
        1 | 3 => Ok(()),
        4 => Err(Unfit::Transparency { format, is_video: true }),
        channels => Err(Unfit::Channels { channels, video: Some(format) }),
    }
}

/// The extents with sides that chroma at half the resolution has.
///
/// # Errors
/// That a side is odd and may not be padded.
fn fit_even(shape: Shape, pads: bool, format: &'static str) -> Result<Shape, Unfit> {
    let even = frames::even(shape);
    if even == shape || pads {
        return Ok(even);
    }
    Err(Unfit::OddSides { sides: [shape.height, shape.width], format })
}
