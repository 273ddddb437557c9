//! Finished frames, one after the other.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use halovae_engine::group::Cancel;
use halovae_engine::sink::{RowsAt, Sink};
use halovae_engine::tensor::{HostTensor, Shape};

use super::control::Control;
use super::decoder::Decoder;
use crate::error::Error;

/// A finished frame of a video, or an image.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Frame {
    /// Which image or video of the batch.
    pub image: usize,
    /// Which frame of it.
    pub index: usize,
    /// Its values, `[1, 1, height, width, channels]`, as diffusers' VAE gives them: from -1 to 1 for a
    /// picture's.
    pub pixels: HostTensor,
}

impl Frame {
    /// Its values as bytes, row by row, channels last: from -1 to 1 become 0 to 255, rounded, and what is
    /// beyond is cut off.
    pub fn to_bytes(&self) -> Vec<u8> {
        // The conversion stops at both ends.
        self.pixels.data().iter().map(|value| ((value + 1.0) * 127.5).round() as u8).collect()
    }
}

/// A sink that hands on frames, each when its last row has come.
pub struct PerFrame<F> {
    take: F,
    /// Extents of a frame.
    shape: Option<Shape>,
    rows: Vec<f32>,
}

impl<F: FnMut(Frame) -> io::Result<()>> PerFrame<F> {
    /// Calls `take` with every frame. An error of it ends the decode.
    pub fn new(take: F) -> Self {
        Self { take, shape: None, rows: Vec::new() }
    }
}

impl<F: FnMut(Frame) -> io::Result<()>> Sink for PerFrame<F> {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        self.shape = Some(Shape { batch: 1, frames: 1, ..shape });
        self.rows.clear();
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let shape = self.shape.ok_or_else(|| io::Error::other("rows before the first frame"))?;
        self.rows.extend_from_slice(rows);
        if Some(self.rows.len()) != shape.elements() {
            return Ok(());
        }
        let pixels = HostTensor::new(shape, std::mem::take(&mut self.rows))
            .ok_or_else(|| io::Error::other("a frame of another size"))?;
        (self.take)(Frame { image: at.image, index: at.frame, pixels })
    }
}

impl<F> std::fmt::Debug for PerFrame<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerFrame").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Frames that wait to be taken; the decode waits where there are more.
const WAITING: usize = 2;

/// The frames of a decode that runs on a thread of its own; see [`Decoder::frames`].
#[derive(Debug)]
pub struct Frames {
    frames: Option<Receiver<Result<Frame, Error>>>,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Decoder {
    /// Decodes on a thread of its own, and gives frames as they are finished. The decode is at most a few
    /// frames ahead of what has been taken, and ends when the stream is dropped.
    pub fn frames(self: &Arc<Self>, latents: HostTensor) -> Frames {
        Frames::start(self.clone(), latents)
    }
}

impl Frames {
    fn start(decoder: Arc<Decoder>, latents: HostTensor) -> Self {
        let (sender, frames) = sync_channel(WAITING);
        let cancel = Cancel::new();
        let ended = cancel.clone();
        let failed = sender.clone();
        let thread = std::thread::Builder::new().name("frames".into());
        let thread = thread.spawn(move || decode(&decoder, &latents, &sender, ended));
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                // There is room for one message, and nothing else sends.
                let _ = failed.try_send(Err(Error::Device(format!("no thread: {error}"))));
                None
            }
        };
        Self { frames: Some(frames), cancel, thread }
    }
}

fn decode(
    decoder: &Decoder,
    latents: &HostTensor,
    frames: &SyncSender<Result<Frame, Error>>,
    cancel: Cancel,
) {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let mut sink = PerFrame::new(|frame| frames.send(Ok(frame)).map_err(gone));
    if let Err(error) = decoder.decode_into(latents, &mut sink, &Control::new(cancel)) {
        // A stream that was dropped has no use for it.
        let _ = frames.send(Err(error));
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.frames.as_ref()?.recv().ok();
        if !matches!(next, Some(Ok(_))) {
            self.frames = None;
        }
        next
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.cancel.cancel();
        // First: the decode may wait for a frame to be taken.
        self.frames = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told by the panic's own message.
            let _ = thread.join();
        }
    }
}
