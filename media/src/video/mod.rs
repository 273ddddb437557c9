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

use std::{fmt, io};

use halovae_engine::tensor::Shape;

use crate::frame_rate::FrameRate;
use crate::temporary::Temporary;
use encoder::{Encoder, Video};
use frames::Layout;
pub(crate) use videos::Videos;

/// A kind of file that holds a video, with what was chosen for it.
pub(crate) trait VideoFormat: fmt::Debug {
    /// The extents of the frames that it holds of a result of that shape, which are the result's but
    /// for a last row and column that is repeated; else why it holds none.
    ///
    /// # Errors
    /// Why, and what to do.
    fn fit(&self, shape: Shape) -> Result<Shape, String>;

    /// Whether the format has so many frames in a second; else why not.
    ///
    /// # Errors
    /// Why, and what to do.
    fn check_rate(&self, _rate: FrameRate) -> Result<(), String> {
        Ok(())
    }

    /// How its encoder takes frames.
    fn layout(&self) -> Layout;

    /// Whether the encoder writes to the name of a file.
    fn needs_name(&self) -> bool {
        false
    }

    /// Begins a file.
    ///
    /// # Errors
    /// What the system or the encoder says.
    fn begin(&self, file: &mut Temporary, video: Video) -> io::Result<Box<dyn Encoder>>;
}

/// Refuses results without the colours of a video.
fn check_colours(shape: Shape, name: &str) -> Result<(), String> {
    match shape.channels {
        1 | 3 => Ok(()),
        4 => Err(format!(
            "a {name} has no transparency, and the decoder gives 4 channels; write frames such as \
             %05d.png, a .png with --animated, or .npy or .safetensors"
        )),
        channels => Err(format!(
            "the decoder gives {channels} channels, a {name} has 1 or 3; write .npy or .safetensors"
        )),
    }
}

/// The extents with sides that chroma at half the resolution has.
///
/// # Errors
/// That a side is odd and may not be padded.
fn fit_even(shape: Shape, pads: bool, name: &str) -> Result<Shape, String> {
    let even = frames::even(shape);
    if even == shape || pads {
        return Ok(even);
    }
    Err(format!(
        "its codec has frames of even sides, and these have {} x {} (height x width); give --pad, which \
         repeats the last row or column, or write .y4m, or frames such as %05d.png instead of a {name}",
        shape.height, shape.width
    ))
}
