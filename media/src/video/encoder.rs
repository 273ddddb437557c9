//! What makes a file of the frames of one video.

use std::io;

use halovae_engine::tensor::Shape;

use crate::frame_rate::FrameRate;

/// A video as an encoder gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Video {
    /// Its extents, those that were padded included; one of a batch.
    pub(crate) shape: Shape,
    pub(crate) rate: FrameRate,
}

/// Encodes the frames of one video into its file, on a thread of its own. Dropped before its end, it
/// gives up.
pub(crate) trait Encoder: Send {
    /// Takes the next frame, in the layout of its format.
    fn write(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Completes the file.
    fn finish(self: Box<Self>) -> io::Result<()>;

    /// What makes a call of the encoder return that waits for something outside this process.
    fn stop(&self) -> Option<Stop> {
        None
    }
}

/// Ends what an encoder waits for.
pub(crate) type Stop = Box<dyn Fn() + Send>;
