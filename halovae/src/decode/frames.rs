//! Finished frames, one after the other.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use halovae_engine::event::{Observer, Silent};
use halovae_engine::group::{Cancel, panic_message};
use halovae_engine::sink::{RowsAt, Sink, byte};
use halovae_engine::tensor::{HostTensor, Shape};

use super::control::Control;
use super::decoder::Decoder;
use super::job::Done;
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
    /// Its values as bytes, row by row, channels last: from -1 to 1 become 0 to 255, rounded as in pictures
    /// that diffusers and halovae write, and what is beyond is cut off.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pixels.data().iter().map(|&value| byte(value)).collect()
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

/// What the decode's thread says.
enum Message {
    Frame(Frame),
    /// The last of a decode that comes to its end.
    Done(Box<Done>),
    /// The last of one that does not.
    Failed(Error),
}

/// The frames of a decode that runs on a thread of its own; see [`Decoder::frames`].
#[derive(Debug)]
pub struct Frames {
    shape: Shape,
    messages: Option<Receiver<Message>>,
    done: Option<Box<Done>>,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Decoder {
    /// Decodes on a thread of its own, and gives frames as they are finished. The decode is at most a few
    /// frames ahead of what has been taken, and ends when the stream is dropped.
    ///
    /// # Errors
    /// What is known before the decode begins: the planner's errors, too little memory, options that do
    /// not go together. What ends the decode later is the stream's last item.
    pub fn frames(self: &Arc<Self>, latents: HostTensor) -> Result<Frames, Error> {
        self.frames_with(latents, Arc::new(Silent), Cancel::new())
    }

    /// The same, with events told to `observer`, and a `cancel` whose clones end the decode. The stream
    /// cancels it when it is dropped.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn frames_with(
        self: &Arc<Self>,
        latents: HostTensor,
        observer: Arc<dyn Observer + Send>,
        cancel: Cancel,
    ) -> Result<Frames, Error> {
        // Plans, so that what cannot be is told here. The thread does it again, which costs little beside
        // a decode.
        let planned = self.plan(latents.shape())?;
        let shape = self.job(planned, latents.shape(), None)?.result();
        let (sender, messages) = sync_channel(WAITING);
        let (decoder, ended) = (self.clone(), cancel.clone());
        let decode = move || decode(&decoder, &latents, &sender, &*observer, ended);
        let thread = std::thread::Builder::new().name("frames".into()).spawn(decode);
        let thread = thread.map_err(Error::Thread)?;
        Ok(Frames { shape, messages: Some(messages), done: None, cancel, thread: Some(thread) })
    }
}

impl Frames {
    /// The shape of all that comes: `[batch, frames, height, width, channels]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What the decode did, once the last frame has been taken and the stream has ended; never of a decode
    /// that failed.
    pub fn done(&self) -> Option<&Done> {
        self.done.as_deref()
    }
}

fn decode(
    decoder: &Decoder,
    latents: &HostTensor,
    messages: &SyncSender<Message>,
    observer: &dyn Observer,
    cancel: Cancel,
) {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let mut sink = PerFrame::new(|frame| messages.send(Message::Frame(frame)).map_err(gone));
    let control = Control::new(cancel).observed(observer);
    let last = match decoder.decode_into(latents, &mut sink, &control) {
        Ok(done) => Message::Done(Box::new(done)),
        Err(error) => Message::Failed(error),
    };
    // A stream that was dropped has no use for it.
    let _ = messages.send(last);
}

impl Iterator for Frames {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.messages.as_ref()?.recv();
        if let Ok(Message::Frame(frame)) = message {
            return Some(Ok(frame));
        }
        self.messages = None;
        match message {
            Ok(Message::Failed(error)) => Some(Err(error)),
            Ok(Message::Done(done)) => {
                self.done = Some(done);
                None
            }
            // The thread ended without its last word.
            Ok(Message::Frame(_)) | Err(_) => {
                let panic = self.thread.take().and_then(|thread| thread.join().err());
                let message = panic.as_deref().map_or_else(String::new, panic_message);
                Some(Err(Error::Panicked(message)))
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.cancel.cancel();
        // First: the decode may wait for a frame to be taken.
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told by the panic's own message.
            let _ = thread.join();
        }
    }
}
