//! What is asked of an output beside its name.

use std::num::NonZeroU32;

use crate::frame_rate::FrameRate;
use crate::pixel::Depth;

/// How an output is to be written, beside its format. Formats that have no such choice refuse it.
///
/// Errors name these fields, or in their alternate form the flags of the command line that are called so.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Bits a channel.
    pub bit_depth: Depth,
    /// Frames in a second, if that is given.
    pub fps: Option<FrameRate>,
    /// An encoder of the program ffmpeg, by ffmpeg's name for it, in the place of the format's own.
    pub codec: Option<String>,
    /// The quality of an encoder that loses some: 0 is best. Its scale is the encoder's: the quantiser of
    /// the built-in H.264, and what ffmpeg's encoders call `crf`.
    pub crf: Option<u8>,
    /// Whether frames of odd sides, which most codecs do not hold, get another row or column, that
    /// repeats the last.
    pub pad: bool,
    /// Whether frames become one animated picture, of formats that have both.
    pub animated: bool,
    /// Of a video, each frame whose number is a multiple of this becomes a picture as soon as it is
    /// decoded, beside the output.
    pub preview: Option<NonZeroU32>,
}
