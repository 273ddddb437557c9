//! A thread that encodes frames while the next ones are decoded.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::encoder::{Encoder, Stop};
use crate::buffer;

/// The most frames that there are at a time between the decode and the encoder: one is encoded while
/// one waits and one is copied.
pub(crate) const FRAMES_HELD: usize = 3;

/// An encoder on a thread of its own. Frames go there in buffers that come back; as there are few of
/// them, a slow encoder holds the decode back. Dropped before its end, it gives up the video.
pub(crate) struct EncoderThread {
    to: Option<Sender<Message>>,
    returned: Receiver<Vec<u8>>,
    stop: Option<Stop>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

enum Message {
    Frame(Vec<u8>),
    End,
}

impl EncoderThread {
    /// Starts it, with so many buffers for frames of so many bytes.
    ///
    /// # Errors
    /// That the system has no thread, or no memory for the frames.
    pub(crate) fn start(
        mut encoder: Box<dyn Encoder>,
        buffers: usize,
        frame_bytes: u64,
    ) -> io::Result<Self> {
        let (to, from) = channel();
        let (give_back, returned) = channel();
        for _ in 0..buffers {
            // Its receiver is here.
            let _ = give_back.send(buffer::reserve(frame_bytes, "frames on their way to a file")?);
        }
        let stop = encoder.stop();
        let run = move || {
            for message in from {
                match message {
                    Message::Frame(frame) => {
                        encoder.write(&frame)?;
                        // The decode may have ended.
                        let _ = give_back.send(frame);
                    }
                    Message::End => return encoder.finish(),
                }
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("encoder".into()).spawn(run);
        let thread = thread.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the system has no thread for the encoder: {error}"),
            )
        })?;
        Ok(Self { to: Some(to), returned, stop, thread: Some(thread) })
    }

    /// Hands a frame to the encoder; waits while there are as many frames as may be.
    ///
    /// # Errors
    /// What the encoder failed with, at this frame or one before.
    pub(crate) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let Ok(mut buffer) = self.returned.recv() else {
            return self.end().and(Err(gone()));
        };
        buffer.clear();
        buffer.extend_from_slice(frame);
        match self.tell(Message::Frame(buffer)) {
            true => Ok(()),
            false => self.end().and(Err(gone())),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// What the encoder failed with.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.tell(Message::End);
        self.end()
    }

    /// Whether the thread is there to take it.
    fn tell(&self, message: Message) -> bool {
        self.to.as_ref().is_some_and(|to| to.send(message).is_ok())
    }

    /// Waits for the thread's end.
    fn end(&mut self) -> io::Result<()> {
        self.to = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(gone()),
        }
    }
}

impl Drop for EncoderThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.to = None;
            self.stop.iter().for_each(|stop| stop());
            // The decode has failed already, or was cancelled.
            let _ = self.end();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the encoder has ended before the video")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    #[derive(Default)]
    struct Seen {
        sent: usize,
        encoded: usize,
        most: usize,
        is_finished: bool,
    }

    /// Encodes a frame when as many wait for it as can, so that more would show.
    struct Slow {
        seen: Arc<(Mutex<Seen>, Condvar)>,
        frames: usize,
        fails_at: usize,
    }

    impl Encoder for Slow {
        fn write(&mut self, frame: &[u8]) -> io::Result<()> {
            let (seen, changed) = &*self.seen;
            let seen = seen.lock().unwrap();
            let is_full =
                |seen: &mut Seen| seen.sent < (seen.encoded + FRAMES_HELD).min(self.frames);
            let mut seen = changed.wait_while(seen, is_full).unwrap();
            assert_eq!(frame, [seen.encoded as u8; 5]);
            seen.most = seen.most.max(seen.sent - seen.encoded);
            if seen.encoded == self.fails_at {
                return Err(io::ErrorKind::StorageFull.into());
            }
            seen.encoded += 1;
            Ok(())
        }

        fn finish(self: Box<Self>) -> io::Result<()> {
            self.seen.0.lock().unwrap().is_finished = true;
            Ok(())
        }
    }

    /// Sends frames until one is refused.
    fn send(frames: usize, fails_at: usize) -> (io::Result<()>, Seen) {
        let seen = Arc::new((Mutex::default(), Condvar::new()));
        let slow = Slow { seen: seen.clone(), frames, fails_at };
        let mut thread = EncoderThread::start(Box::new(slow), FRAMES_HELD, 5).unwrap();
        let mut send = |frame: usize| {
            thread.send(&[frame as u8; 5])?;
            seen.0.lock().unwrap().sent += 1;
            seen.1.notify_all();
            Ok(())
        };
        let sent = (0..frames).try_for_each(&mut send);
        let result = sent.and_then(|()| thread.finish());
        let seen = std::mem::take(&mut *seen.0.lock().unwrap());
        (result, seen)
    }

    #[test]
    fn a_slow_encoder_holds_the_decode_back() {
        for frames in [1, 2, FRAMES_HELD, 50] {
            let (result, seen) = send(frames, usize::MAX);
            result.unwrap();
            assert_eq!((seen.encoded, seen.is_finished), (frames, true));
            assert_eq!(seen.most, FRAMES_HELD.min(frames));
        }
    }

    #[test]
    fn what_the_encoder_fails_with_is_told() {
        for fails_at in [0, 1, 7, 19] {
            let (result, seen) = send(20, fails_at);
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(seen.sent <= fails_at + FRAMES_HELD && !seen.is_finished);
        }
    }

    #[test]
    fn an_encoder_that_panics_is_an_error() {
        struct Panics;
        impl Encoder for Panics {
            fn write(&mut self, _: &[u8]) -> io::Result<()> {
                panic!("on purpose")
            }
            fn finish(self: Box<Self>) -> io::Result<()> {
                Ok(())
            }
        }
        let mut thread = EncoderThread::start(Box::new(Panics), FRAMES_HELD, 1).unwrap();
        let sent = (0..2 * FRAMES_HELD).try_for_each(|_| thread.send(&[0]));
        assert!(sent.unwrap_err().to_string().contains("encoder has ended"));
    }

    /// As a decode that fails leaves it, with an encoder that waits for something else.
    #[test]
    fn a_thread_that_is_dropped_is_stopped() {
        struct Waits(Arc<(Mutex<bool>, Condvar)>);
        impl Encoder for Waits {
            fn write(&mut self, _: &[u8]) -> io::Result<()> {
                let (is_stopped, changed) = &*self.0;
                let guard = is_stopped.lock().unwrap();
                drop(changed.wait_while(guard, |is_stopped| !*is_stopped).unwrap());
                Err(io::ErrorKind::Interrupted.into())
            }
            fn finish(self: Box<Self>) -> io::Result<()> {
                unreachable!("the video is not complete")
            }
            fn stop(&self) -> Option<Stop> {
                let state = self.0.clone();
                Some(Box::new(move || {
                    *state.0.lock().unwrap() = true;
                    state.1.notify_all();
                }))
            }
        }
        let mut thread = EncoderThread::start(Box::new(Waits(Arc::default())), 1, 1).unwrap();
        thread.send(&[1]).unwrap();
        drop(thread);
    }
}
