//! Whether ffmpeg encodes such a video at all, tried with one black frame before the decode, which may
//! take much longer.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use halovae_engine::tensor::Shape;

use super::child::Ffmpeg;
use crate::video::encoder::Encoder;
use crate::video::frames::{Frames, Layout};

/// An encoder that is slower than that, or a machine, is not held up any longer: what is wrong shows in
/// the decode.
const LIMIT: Duration = Duration::from_secs(20);

/// The most lines that are told; the first are nearest to the cause.
const LINES: usize = 4;

/// Has ffmpeg encode a black frame, from values of the extents `from` to a frame of `to`. What it refuses
/// is told, `Err` within the result.
///
/// # Errors
/// What the system says.
pub(super) fn encode_black(
    mut ffmpeg: Ffmpeg,
    [from, to]: [Shape; 2],
    layout: Layout,
) -> io::Result<Result<(), String>> {
    let killer = ffmpeg.stop();
    let (done, ended) = channel::<()>();
    let watch = std::thread::Builder::new().name("ffmpeg's time".into()).spawn(move || {
        let is_late = ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if is_late {
            killer.iter().for_each(|kill| kill());
        }
        is_late
    })?;
    let mut frames = Frames::new(Shape { frames: 1, ..from }, Shape { frames: 1, ..to }, layout)?;
    let row = vec![-1.0; from.width * from.channels];
    let mut written = Ok(());
    for _ in 0..from.height {
        if let Some(Some(frame)) = frames.push(&row) {
            written = ffmpeg.feed(frame);
        }
    }
    let ended = ffmpeg.end();
    drop(done);
    if watch.join().unwrap_or(false) {
        return Ok(Ok(()));
    }
    Ok(match (ended?, written) {
        (Some(died), _) => Err(died.told(|lines| &lines[..lines.len().min(LINES)])),
        // It has ended well without reading all of a frame.
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(())) => Ok(()),
    })
}
