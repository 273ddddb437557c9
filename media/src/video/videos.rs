//! Each video of a batch as a file.

use std::io;
use std::sync::Arc;

use halovae_engine::sink::{RowsAt, Sink};
use halovae_engine::tensor::Shape;

use super::VideoFormat;
use super::encoder::Video;
use super::frames::{self, Frames};
use super::thread::{EncoderThread, FRAMES_HELD};
use crate::buffer::{FIXED_BYTES, STACK_BYTES};
use crate::error::about;
use crate::file_sink::FileSink;
use crate::frame_rate::FrameRate;
use crate::names::Names;
use crate::temporary::{Stages, Temporary};

/// Writes each video of a batch to a file, while the next frames are decoded.
pub(crate) struct Videos {
    names: Names,
    format: Arc<dyn VideoFormat>,
    rate: FrameRate,
    begun: Option<Begun>,
}

struct Begun {
    videos: usize,
    frames_of_each: usize,
    video: Video,
    frames: Frames,
    // Before the stages, so that an encoder has ended when its file goes.
    current: Option<Current>,
    begun: usize,
    complete: Vec<Temporary>,
    stages: Stages,
}

struct Current {
    encoder: EncoderThread,
    frames_left: usize,
    file: Temporary,
}

impl Videos {
    pub(crate) fn new(names: Names, format: Arc<dyn VideoFormat>, rate: FrameRate) -> Self {
        Self { names, format, rate, begun: None }
    }
}

/// Bytes that are held to write videos of that shape, which the format holds: those of a frame that is made
/// of rows, of the frames on their way to the encoder, and of the encoder. The programs that it starts
/// are not among them.
pub(crate) fn bytes(shape: Shape, format: &dyn VideoFormat) -> u64 {
    let Ok(to) = format.fit(shape) else { return 0 };
    let frame = format.layout().frame_bytes(to);
    [
        frames::bytes(shape, to, format.layout()),
        frame.saturating_mul(FRAMES_HELD.min(shape.frames) as u64),
        format.encoder_bytes(to),
        format.threads().saturating_mul(STACK_BYTES),
        FIXED_BYTES,
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

impl Sink for Videos {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        let Self { names, format, rate, .. } = self;
        format.check_rate(*rate)?;
        let from = Shape { batch: 1, ..shape };
        let to = format.fit(from)?;
        let path = names.get(0, shape.batch, 0);
        let frames = Frames::new(from, to, format.layout()).map_err(|error| about(&path, error))?;
        let mut begun = Begun {
            videos: shape.batch,
            frames_of_each: shape.frames,
            video: Video { shape: to, rate: *rate },
            frames,
            current: None,
            begun: 0,
            complete: Vec::new(),
            stages: Stages::default(),
        };
        // Whether a file can be begun shows now, and not when some of the video has been decoded.
        begun.next(names, format.as_ref()).map_err(|error| about(&path, error))?;
        self.begun = Some(begun);
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let begun = self.begun.as_mut().ok_or_else(|| io::Error::other("rows before begin"))?;
        let path = self.names.get(at.image, begun.videos, 0);
        begun
            .write_rows(&self.names, self.format.as_ref(), rows)
            .map_err(|error| about(&path, error))
    }
}

impl Begun {
    /// Begins the next video.
    fn next(&mut self, names: &Names, format: &dyn VideoFormat) -> io::Result<()> {
        if self.begun == self.videos {
            return Err(io::Error::other("more videos than the batch has"));
        }
        let path = names.get(self.begun, self.videos, 0);
        let mut file = match self.videos > 1 || format.needs_name() {
            true => Temporary::create_in(&mut self.stages, &path)?,
            false => Temporary::create(&path)?,
        };
        let frame_bytes = format.layout().frame_bytes(self.video.shape);
        let buffers = FRAMES_HELD.min(self.frames_of_each);
        let encoder = format.begin(&mut file, self.video)?;
        let encoder = EncoderThread::start(encoder, buffers, frame_bytes)?;
        self.begun += 1;
        self.current = Some(Current { encoder, frames_left: self.frames_of_each, file });
        Ok(())
    }

    fn write_rows(
        &mut self,
        names: &Names,
        format: &dyn VideoFormat,
        rows: &[f32],
    ) -> io::Result<()> {
        if self.current.is_none() {
            self.next(names, format)?;
        }
        let current = self.current.as_mut().expect("begun above, if it was not before");
        let frame = self.frames.push(rows);
        let frame = frame.ok_or_else(|| io::Error::other("more rows than the frame has"))?;
        let Some(frame) = frame else { return Ok(()) };
        current.encoder.send(frame)?;
        current.frames_left -= 1;
        if current.frames_left == 0 {
            let Some(Current { encoder, mut file, .. }) = self.current.take() else {
                return Ok(());
            };
            encoder.finish()?;
            file.close();
            self.complete.push(file);
        }
        Ok(())
    }
}

impl FileSink for Videos {
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        match self.begun {
            Some(begun) if begun.complete.len() == begun.videos => Ok(begun.complete),
            _ => Err(io::Error::other("the decode ended before every frame was complete")),
        }
    }
}
